"""What the controller does: it brings events to the deciding core and carries out the effects."""
