"""Checking and correcting a mask: suspicious regions, seeds, one region again, what changed. Runs without Slicer."""
