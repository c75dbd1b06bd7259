"""What the worker answers over HTTP: the API, the content of files, and the metrics."""
