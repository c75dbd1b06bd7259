"""What the controller decides: pure functions over its state.  Events go in; changes and effects come out."""
