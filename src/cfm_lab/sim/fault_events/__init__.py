"""What befalls a simulated node by itself: its ordinary days, and the faults of the form *event*."""
