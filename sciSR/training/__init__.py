"""Training: patches with their degradation, and a visible loop. Nothing here is needed to use a trained
network."""
