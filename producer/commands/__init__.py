"""The verbs of the command line. What they need is imported when they run, so that help costs nothing."""
