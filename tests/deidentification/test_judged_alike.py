"""A copy without identity is judged as its source: what refuses an image does not vanish with the private elements."""

from __future__ import annotations

import pytest
from dicom_fixtures import axial_t2, item, write
from pydicom.dataelem import DataElement
from pydicom.uid import RLELossless

from scripts.deidentification.command import deidentify
from scripts.dicom.judgements import judge
from scripts.dicom.sources import scan


def private(ds, group: int, creator: str, number: int, vr: str, value) -> None:
    ds.add(DataElement((group, 0x11), "LO", creator))
    ds.add(DataElement((group, 0x1100 + number), vr, value))


SOURCES = {
    "b-value of Philips": lambda ds: private(ds, 0x2001, "Philips Imaging DD 001", 0x03, "FL", 800.0),
    "b-value of GE": lambda ds: private(ds, 0x0043, "GEMS_PARM_01", 0x39, "IS", ["1000000800", "8", "0", "0"]),
    "direction of Siemens": lambda ds: private(ds, 0x0019, "SIEMENS MR HEADER", 0x0D, "CS", "DIRECTIONAL"),
    "comment of Canon": lambda ds: setattr(ds, "ImageComments", "b=800(0.4,0.0,0.9)"),
    "average, compressed": lambda ds: setattr(ds, "DerivationDescription", "Average of 4, lossless JPEG compression"),
    "resampled": lambda ds: setattr(ds, "DerivationDescription", "MEDCOM RESAMPLED"),
    "code": lambda ds: setattr(ds, "DerivationCodeSequence", item(CodeValue="113085", CodeMeaning="resampled")),
    "compressed": lambda ds: setattr(ds, "DerivationDescription", "Lossless JPEG compression, ratio 2.1"),
    "plain": lambda ds: None,
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_copy_is_judged_as_its_source(tmp_path, name):
    derived = name in ("average, compressed", "resampled", "code", "compressed")
    for index in range(2):
        ds = axial_t2("P1", "T2", index)
        if derived:
            ds.ImageType = ["DERIVED", "PRIMARY", "M"]
        SOURCES[name](ds)
        write(ds, tmp_path / "in" / str(index))
        if derived:
            ds.compress(RLELossless, generate_instance_uid=False)
            ds.save_as(tmp_path / "in" / str(index))
    deidentify(str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "linkage.csv"))
    (source,), (copy,) = (scan(tmp_path / folder)[0] for folder in ("in", "out"))
    assert judge(copy) == judge(source)
    assert judge(copy).accepted == (name in ("compressed", "plain"))
    assert "Average" not in copy.derivation + copy.description
