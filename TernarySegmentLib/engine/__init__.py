"""Bit-packed ternary convolution: numpy, numba when present, nothing else."""
