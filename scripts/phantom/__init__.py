"""Synthetic cervical patients as DICOM, with known answers: an analytic phantom that ships no images and reads none.

Where to look: `anatomy` and `lesions` (sizes), `cross_sections` (cord in canal, the truth), `labels` (rule),
`readings` (raters), `sampling` (who is in a cohort), `neck`, `spine`, `pictures` (painting), `acquisition` (coil,
noise), `scanners`, `series`, `dicom` (files), `cohort` and `command`.

Axes throughout: rows to posterior, columns to the patient's left, slice 0 most caudal.
"""
