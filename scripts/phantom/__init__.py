"""Synthetic cervical patients as DICOM or BIDS, with known answers; an analytic phantom that ships no images.

Where to look: `anatomy` and `lesions` (sizes), `cross_sections` (cord in canal, the truth), `labels` (rule),
`readings` (raters), `sampling` (who is in a cohort), `findings` (rare ones), `neck`, `spine`, `bones`, `pictures`
(painting), `acquisition`, `artefacts` (coil, noise, metal, motion), `scanners`, `layouts`, `series`, `dicom`, `bids`
(files), `cohort` and `command`.

Axes throughout: rows to posterior, columns to the patient's left, slice 0 most caudal.
"""
