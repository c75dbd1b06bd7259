"""What happens to a simulated node by itself: ordinary days, and the faults of the form *event*."""
