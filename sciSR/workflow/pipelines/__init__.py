"""Pipeline files: what they say, and what they do to one item."""
