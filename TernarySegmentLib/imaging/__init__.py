"""CT in, mask out, on SimpleITK: reading, checks, grids, post-processing, measures, writing, preview."""
