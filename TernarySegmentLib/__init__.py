"""Pancreas segmentation in CT with a bit-packed ternary network.

Importing this package loads neither numba, torch nor SimpleITK; the layers below do so when they are needed:
``engine`` (numpy, numba when present), ``imaging`` (SimpleITK), ``pipeline`` (the whole job), ``training`` (torch).
"""

__version__ = "0.1.0"
