"""The command line: `cfm` and `cfw`."""
