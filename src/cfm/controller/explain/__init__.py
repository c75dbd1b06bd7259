"""What the controller says about its decisions: verdict, report, story, and why."""
