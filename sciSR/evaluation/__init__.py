"""Evaluation: sharp images are degraded as a network's own forward model says, recovered, and compared with the truth.

`mr`, `astronomy` and `natural` are the protocols, `methods` what they compare, `table` what comes out, `card` what a
weights file's card says of it.
"""
