"""The workers as seen from the controller: who is up, what each holds, and how to talk to them."""
