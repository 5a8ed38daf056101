"""Checking and correcting a mask: doubtful places, seeds, one region again, what changed. Runs without Slicer."""
