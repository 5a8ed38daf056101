"""What people look at: preview, one-page report, surface. Knows no Slicer."""
