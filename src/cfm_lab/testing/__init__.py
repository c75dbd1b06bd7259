"""Stand-ins for the other programs of a node, and what tests need to run, hurt and check real processes."""
