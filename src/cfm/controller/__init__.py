"""The controller: observes the node, decides through `plan`, and acts."""
