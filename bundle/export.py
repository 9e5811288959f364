"""``python -m bundle export``."""

from __future__ import annotations


def export(bundle: str = "build/cervical_cord_compression", weights: str = "", out: str = "", images: str = "") -> int:
    """Write OUT/model.ts (TorchScript), model.onnx and model.pt2 (torch.export), and compare each with the original.

    All take batches of any size. model.ts carries metadata and inference config, as MONAI Deploy wants it. The
    comparison runs every export on the slices of IMAGES: no logit may differ by 1e-4 or more. OUT/exports.json says
    what was found, and how long a slice takes on this machine.

    Args:
        bundle: the packed folder (of `python -m bundle assemble`), also as first argument; default
            build/cervical_cord_compression.
        weights: a checkpoint; default models/model.pt in the bundle.
        out: folder of the exports; default exports/ beside the bundle.
        images: axial T2 series, DICOM or NIfTI; default a patient of the phantom.

    Returns:
        0 if all exports agree, 1 otherwise.
    """
    from .exporting import write_all

    return write_all(bundle, weights, out, images)
