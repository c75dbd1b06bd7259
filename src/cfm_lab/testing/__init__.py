"""Stand-ins that are products: they behave, on real sockets and folders, as what they stand for."""
