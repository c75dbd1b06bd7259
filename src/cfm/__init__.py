"""cfm: popularity-driven content placement for video servers."""

__version__ = "0.1.0"
