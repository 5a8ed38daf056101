"""Files: CT in, masks and DICOM segmentations out."""
