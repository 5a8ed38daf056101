"""Everything that touches slicer, qt, ctk or MRML. Never imported by the rest of the library."""
