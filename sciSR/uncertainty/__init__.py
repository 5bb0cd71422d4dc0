"""One standard deviation for every output pixel: the input's noise carried through, and the network's own error."""
