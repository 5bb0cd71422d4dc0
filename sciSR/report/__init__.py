"""What a person looks at after a run: pictures and pages, self-contained."""
