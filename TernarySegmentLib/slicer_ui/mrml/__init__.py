"""The scene: the only place that knows node classes. Knows no widget."""
