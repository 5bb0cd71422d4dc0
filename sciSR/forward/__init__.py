"""Forward models: how a sharp scene becomes the observed pixels.

One definition for training, consistency, fusion and evaluation. Each has ``apply`` (fine to coarse),
``adjoint`` and ``pinv``, acts on the last two axes of a tensor, and is aligned at the image's edges.
"""
