"""Taking identities out of MR images and tables: what is kept is listed, everything else goes.

The profile is DICOM PS3.15's Basic Application Level Confidentiality Profile with the options "Retain Longitudinal
Temporal Information with Modified Dates" (unless dates are removed) and "Clean Descriptors". It is done with pydicom
and a list of what may stay, because the libraries there are work the other way round: dicognito replaces a list of
names and leaves private tags and free text; deid runs recipes that everyone writes anew; dicom-anonymizer knows the
whole of Table E.1-1 but does not look into nested sequences and draws new UIDs on every run. A list of what stays
cannot forget a tag that nobody thought of. The tests hold it against Table E.1-1 as dicom-anonymizer has it.

Modules: ``rules`` (one dataset), ``linkage`` (the secret key and who is who), ``identifiers`` and ``vocabulary`` (is
anything left), ``selections`` (which files may be copied), ``tables`` (labels and patients), ``copying``, ``command``.
"""
