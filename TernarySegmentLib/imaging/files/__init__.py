"""Files: CT in, masks and DICOM segmentations out.

``reading`` opens any of them; ``nifti``, ``stored`` (NRRD, MetaImage), ``dicom_headers``, ``slice_geometry`` and
``dicom_series`` know one format each. ``writing`` and ``dicom_seg`` write through ``atomic``; ``outputs`` checks names.
"""
