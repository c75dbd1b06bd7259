"""What cfm reads: the metadata files, the load balancer's event log, and the SAN.

Everything here turns outside data into values of `model` or a Polars frame, and says what could not be read.
Nothing here decides what is copied or deleted.
"""
