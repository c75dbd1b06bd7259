"""A whole node on one machine: real cfm and cfw processes, a made-up library, made-up viewers.

`library` makes up what there is to watch and who wants it, `metadata` writes it as the real files,
`scenario` says what happens when, `stage` lays out folders and settings, `processes` starts and ends the
programs, `truth` walks the disks and holds the programs to what they promise, `play` runs it all.
"""
