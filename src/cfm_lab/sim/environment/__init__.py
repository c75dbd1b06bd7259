"""What the processes of a simulated node live in: time, luck, faults, network, disks, SAN and metadata files.

Nothing here knows a process.  `shared` holds one of each of these things for a whole node.
"""
