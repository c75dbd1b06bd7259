"""A whole node on one machine: real cfm and cfw processes, with an invented library and invented viewers.

`library` invents the files and how much they are wanted.  `metadata` writes this in the real file formats.
`scenario` says what happens when.  `stage` prepares folders and settings.  `processes` starts and ends the
programs.  `truth` looks at the disks and checks what the programs promise.  `play` runs it all.
"""
