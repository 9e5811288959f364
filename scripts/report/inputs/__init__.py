"""Reading what a report is made from.

A *run* is a folder with ``predictions.csv`` and, where they exist, ``predictions_validation.csv`` (same columns),
``operating_points.json``, and ``run.json`` or ``metrics.json`` with the facts of `records.RunFacts`. A *cohort* is a
folder with ``patients.csv`` and, where they exist, ``labels.csv`` (readers), ``geometry.csv`` (geometry, scanner, disc
level; up to version 0.2.0 called ``slices.csv``), ``datalist.json`` and, of a phantom, ``truth.csv``. ``geometry.csv``
has ``series_uid, sop_uid, frame`` and any of ``position_mm`` (of the slice centre along its normal), ``thickness_mm``,
``stack`` (where one series holds several), ``disc`` (nearest disc, e.g. C5/C6; ``level`` stands for it in tables
without), ``manufacturer`` and others for subgroups. ``truth.csv`` has the same key, ``indentation_mm`` and
``area_ratio``.
"""
