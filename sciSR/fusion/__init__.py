"""Many frames of one field fused into one super-resolved frame.

Papoulis' generalised sampling (IEEE Trans. Circuits Syst. 24, 652, 1977): frames shifted by fractions of a pixel
hold more than any one of them, because each mixes the aliased parts of the sharp spectrum in another way.
"""
