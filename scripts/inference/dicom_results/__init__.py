"""Results as DICOM, for any archive: a structured report and colour overlays; needs the extra ``dicom`` (highdicom).

    images = headers(files)                                       # of the scored series, in any order
    report = structured_report(images, rows, summary)             # Comprehensive 3D SR, TID 1500
    pictures = secondary_captures(images, rows, summary, colour)  # one RGB image a slice, where its source lies
    paths = save([report, *pictures], folder)

Datasets and rows in, datasets out; nothing is read or written but by ``headers`` and ``save``. ``rows`` are those of
slices.csv and ``summary`` is summary.json, see `scripts.inference.writing.WriteSeries`. Every result has new UIDs and
series of its own in the study of its source, so that it overwrites nothing in an archive.
"""
