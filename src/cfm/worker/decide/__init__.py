"""What the worker decides: pure functions and machines.  Events go in; instructions come out."""
