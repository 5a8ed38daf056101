"""Many scans at once: find them, segment them on one machine or many, resume, and sum up in a table and a page.

Nothing here imports Slicer or Qt. Dask is imported by :mod:`TernarySegmentLib.cohort.cluster` only, when it is used.
"""
