"""What does a new series say? Finding, scoring and writing series; `dicom_results` writes them as DICOM."""
