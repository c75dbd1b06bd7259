"""What the worker does: disks, transfers, its state file, and its talk with the controller."""
