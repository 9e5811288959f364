"""Images derived by lossless compression and nothing else."""

from __future__ import annotations

import pytest
from dicom_fixtures import item, write_series

from scripts.dicom.judgements import judge
from scripts.dicom.sources import scan


def decision(folder, description, **changes) -> str:
    write_series(folder, n=2, ImageType=["DERIVED", "SECONDARY"], DerivationDescription=description, **changes)
    ((stack,), _) = scan(folder)
    return judge(stack).decision


@pytest.mark.parametrize(
    "description",
    [
        "Lossless JPEG compression",
        "Lossless RLE compression",
        "JPEG Lossless Compression",
        "losslessly compressed",
        "Lossless JPEG compression, selection value 1, point transform 0, compression ratio 2.0531",
        "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1]) compression",
        "JPEG 2000 Image Compression (Lossless Only)",
        "JPEG-LS lossless compressed, ratio 1:2.3",
        "Image was compressed with lossless JPEG2000",
        "Lossless JPEG compression; lossless RLE compression",
        "Decompressed from JPEG lossless compression",
    ],
)
def test_a_description_of_compression_alone_is_no_derivation(tmp_path, description):
    assert decision(tmp_path, description) == "accept"


@pytest.mark.parametrize(
    "description",
    [
        "Average of 4 images, then lossless JPEG compression",
        "not lossless compressed, averaged",
        "not lossless compressed",
        "non-lossless compression",
        "Lossless compression of a filtered image",
        "MPR, lossless JPEG compression",
        "Lossless JPEG compression after subtraction",
        "lossless or lossy compression",
        "compressed",
        "lossless",
        "MEDCOM RESAMPLED",
        "",
    ],
)
def test_a_description_of_anything_else_is_one(tmp_path, description):
    assert decision(tmp_path, description) == "refuse"


def test_a_code_for_another_derivation_outweighs_the_description(tmp_path):
    code = item(CodeValue="113085", CodingSchemeDesignator="DCM", CodeMeaning="Spatial resampling")
    assert decision(tmp_path, "Lossless JPEG compression", DerivationCodeSequence=code) == "refuse"
