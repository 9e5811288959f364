"""Text of any character set that pydicom knows, in tables as in DICOM results."""

from __future__ import annotations

from pathlib import Path

import pytest
from dicom_fixtures import axial_t2, write
from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement

from scripts.deidentification.identifiers import value as element_value
from scripts.deidentification.rules import patient_of
from scripts.dicom.sources import scan
from scripts.inference.dicom_results.sources import headers, text_of

TEXTS = {
    "Japanese": (r"\ISO 2022 IR 87", b"Yamada=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada=山田^太郎"),
    "Japanese alone": ("ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B", "山田"),
    "Japanese katakana": (r"ISO_IR 13\ISO 2022 IR 87", b"\xd4\xcf\xc0\xde=\x1b$B;3ED\x1b(J", "ﾔﾏﾀﾞ=山田"),
    "Japanese supplement": (r"\ISO 2022 IR 159", b"\x1b$(D\x30\x21\x1b(B x", "丂 x"),
    "Korean": (r"\ISO 2022 IR 149", b"Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "Hong=洪^吉洞"),
    "Chinese": (r"\ISO 2022 IR 58", b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang=张^小东"),
    "GB18030": ("GB18030", "王^小东".encode("gb18030"), "王^小东"),
    "UTF-8": ("ISO_IR 192", "Müller 山田".encode(), "Müller 山田"),
    "Latin-1": ("ISO_IR 100", b"M\xfcller", "Müller"),
    "Latin-9": ("ISO_IR 203", b"\xbcuvre\xa4", "Œuvre€"),
    "Latin-9 with extensions": ("ISO 2022 IR 203", b"\xbduvre\xbe", "œuvreŸ"),
    "Latin-9 with Cyrillic": (r"ISO 2022 IR 203\ISO 2022 IR 144", b"\xbc=\x1b-L\xbb\xee\xda", "Œ=Люк"),
    "Latin-9 by escape": (r"\ISO 2022 IR 203", b"Su=\x1b-b\xbcuvre", "Su=Œuvre"),
    "Latin-9 and Greek by escape": (r"\ISO 2022 IR 126\ISO 2022 IR 203", b"\x1b-b\xa8=\x1b-F\xeb^\x1b-b\xb8", "š=λ^ž"),
    "Cyrillic by escape": (r"\ISO 2022 IR 144", b"\x1b-L\xbb\xee\xda", "Люк"),
    "Thai": ("ISO_IR 166", "ทดสอบ".encode("iso8859_11"), "ทดสอบ"),
    "none declared": ("", b"Plain", "Plain"),
    "unknown": ("ISO_IR 999", b"M\xfcller", "Müller"),
    "broken escape": (r"\ISO 2022 IR 87", b"Yam\x1b$B;3", "Yam山"),
}  # fmt: skip


def image(charset: str, value: bytes) -> Dataset:
    ds = axial_t2("P1", "T2", 0)
    ds.SpecificCharacterSet = charset.split("\\")
    for keyword in ("PatientID", "SeriesDescription"):
        ds[keyword] = DataElement(keyword, "OB", value + b" " * (len(value) % 2))
    return ds


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TEXTS)
def test_text_is_read_in_the_character_set_that_its_file_declares(tmp_path: Path, name):
    charset, value, expected = TEXTS[name]
    write(image(charset, value), tmp_path / "0", "1.2.840.10008.1.2")  # implicit, so that the VR is the dictionary's
    ((stack,), _) = scan(tmp_path)
    assert (stack.patient_id, stack.description) == (expected, expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in TEXTS if name.startswith("Latin")])
def test_latin_text_is_the_same_in_dicom_results_and_for_deidentification(tmp_path: Path, name):
    charset, value, expected = TEXTS[name]
    path = write(image(charset, value), tmp_path / "0", "1.2.840.10008.1.2")
    (header,) = headers([path])
    assert text_of(header, "SeriesDescription") == expected
    assert element_value(dcmread(path), "SeriesDescription") == expected
    ((stack,), _) = scan(tmp_path)
    assert patient_of(dcmread(path)) == stack.patient_id == expected


def test_the_name_in_dicom_results_holds_no_escape_sequence():
    ds = Dataset()
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 58"]
    ds.StudyDescription = "Zhang=\x1b$)A张^\x1b$)A小东"  # as pydicom reads it
    assert text_of(ds, "StudyDescription") == "Zhang=张^小东"
