"""MR and CT for sciSR: NIfTI and DICOM. Research use only, not for diagnosis."""
