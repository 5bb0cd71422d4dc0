"""What can be believed: is the input like what the network learned from, is each feature backed by the data."""
