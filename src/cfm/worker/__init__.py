"""cfw: lists, counts, deletes, serves and receives the files of one server, and decides nothing else."""
