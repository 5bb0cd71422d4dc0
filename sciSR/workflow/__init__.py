"""From files to files: one input, or a batch in which one bad file does not stop the others."""
