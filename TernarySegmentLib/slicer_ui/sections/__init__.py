"""The sections of the panel, a file each, as they are seen from top to bottom."""
