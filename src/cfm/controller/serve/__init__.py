"""What the controller answers over HTTP: the API, the pages for people, and the metrics."""
