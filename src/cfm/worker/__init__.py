"""cfw, the worker of one server: it lists, measures, serves, receives and deletes files, on order."""
