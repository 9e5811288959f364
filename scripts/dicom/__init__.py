"""DICOM headers to geometric stacks of slices, ordered and judged; needs pydicom (2.4 or 3) and numpy only.

Volume files (NIfTI, NRRD, MetaImage) are judged beside them; ``volumes`` alone needs nibabel and ITK.

    found = contents_of(list_files("disk"))           # zips too; every file is in a stack, a volume, or left out
    stacks, left_out = scan("disk")                  # the DICOM files that lie there themselves
    for stack in stacks:
        decision, reason = judge(stack)               # "accept" | "refuse", from tags and geometry
    stack = one_stack("series_folder")                # file, list of files, or folder with one stack; else InputError
    stack.slices[0].path                              # most caudal first for axial stacks

``Stack`` holds ``slices`` (``path, frame, sop_uid, position_mm, origin_mm, slope, intercept``) along its ``normal``,
and what they share (``Facts``: ``series_uid``, ``rows``, ``te_ms`` and more). ``stack.defects`` make it unusable as a
volume (``judge`` refuses it, ``one_stack`` raises), ``stack.warnings`` do not. Nothing depends on file names or order.

Modules, in the order data flows: ``elements`` (bytes of one file), ``pixels`` (are they all there), ``frames`` (a file
to its frames), ``weightings``, ``geometry``, ``copies`` and ``stacks`` (frames to stacks), ``judgements``, ``sources``
(paths). Before them, ``listings`` walks through folders, zips and discs, ``archives`` unpacks, and ``own_results``
knows what this program wrote itself; ``names`` lets ITK open files whose names are no UTF-8.
"""
