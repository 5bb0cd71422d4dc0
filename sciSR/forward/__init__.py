"""Forward models: how a sharp scene becomes the observed pixels.

One definition for training, consistency, fusion, evaluation and ``scisr degrade``. Each operator has ``apply`` (fine to
coarse), ``adjoint``, and ``pinv`` where an inverse makes sense; it acts on the last two axes of a tensor (a slice
profile on one), and is aligned at the image's edges. NumPy and torch are all that they need.
"""
