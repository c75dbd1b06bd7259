"""The simulator: a whole node in virtual time, with faults, and the truth beside the belief."""
