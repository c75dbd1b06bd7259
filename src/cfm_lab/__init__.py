"""The lab: what proves cfm and is not part of it.

The simulator, the fakes that stand in for disks and stores, and stand-ins for the other programs of a node.
The product never imports this package, and the wheel does not contain it.
"""
