"""What cfm reads: metadata files, the load balancer's event log, the SAN.

Everything here turns something outside into a value of `model` or a Polars frame, and says what it
could not read.  Nothing here decides what is copied or deleted.
"""
