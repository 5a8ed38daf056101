"""``python -m TernarySegmentLib bench``: this engine against those a user would otherwise run the network with."""
