"""Fakes of what is slow or real: each passes the same conformance checks as what it stands for."""
