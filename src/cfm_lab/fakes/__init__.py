"""Fakes of disks and stores.  Each passes the same conformance checks as the real thing."""
