"""The simulator: a whole node in one thread and virtual time, with faults, and the truth beside the belief."""
