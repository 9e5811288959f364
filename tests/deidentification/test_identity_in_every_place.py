"""Identity in every place of a file that can hold text: nothing of it is in the copy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from dicom_fixtures import axial_t2, enhanced_t2, write
from pydicom import Dataset, dcmread
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from scripts.deidentification.command import deidentify
from scripts.deidentification.rules import KEPT

TEXT = {"AE", "AS", "DA", "DS", "DT", "IS", "LO", "LT", "OB", "PN", "SH", "ST", "TM", "UC", "UI", "UN", "UR", "UT"}
NUMBERS = {"US", "SS", "UL", "SL", "FL", "FD", "AT"}
# pixels, and numbers without which a file counts as damaged or cannot be written
SPARED = (
    *(0x7FE00010, 0x7FE00008, 0x7FE00009, 0x7FE00001, 0x7FE00002, 0x7FE00003),
    *(0x00281052, 0x00281053, 0x00280008, 0x00283006),
)
# in implicit files nothing tells text from binary numbers where there may be any number of them
ANY_NUMBER_OF_NUMBERS = {
    tag for tag, (vr, vm, *_) in DicomDictionary.items() if "n" in vm and set(vr.split(" or ")) & NUMBERS
}
TOKENS: dict[str, int] = {}


@contextmanager
def anything_goes() -> Iterator[None]:
    """Let pydicom write values that no standard allows."""
    settings = pydicom.config.settings
    before = settings.writing_validation_mode, settings.reading_validation_mode
    settings.writing_validation_mode = settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        yield
    finally:
        settings.writing_validation_mode, settings.reading_validation_mode = before


def token(tag: int, nested: str = "") -> str:
    """Return a word that stands in one attribute alone, so that no search for the words of others finds it."""
    digest = hashlib.sha256(f"{tag}{nested}".encode()).hexdigest()[:11]
    word = "ZQ" + digest.translate(str.maketrans("0123456789abcdef", "GHJKLMNPRSTUVWXY"))
    TOKENS[word] = tag
    return word


def uid_of(tag: int) -> str:
    return f"1.2.826.19530417.{tag}"


def marked(ds: Dataset, nested: str = "", keep: Dataset | None = None) -> Dataset:
    """Put a token into every attribute that is not there already, under its own VR or as text under a number's."""
    for tag, (vr, *_) in DicomDictionary.items():
        if tag in ds or tag in SPARED or tag >> 16 in (0x0000, 0x0002, 0x0004, 0xFFFA, 0xFFFE) or tag & 0xFFFF == 0:
            continue
        vrs = set(vr.split(" or "))
        if "UI" in vrs:
            ds.add_new(tag, "UI", uid_of(tag))
        elif vrs & {"DS", "IS"} or vrs & NUMBERS:
            ds.add_new(tag, "LO", token(tag, nested))
        elif vrs & TEXT:
            value = token(tag, nested)
            ds.add_new(tag, (vrs & TEXT).pop(), value.encode() if vrs & {"OB", "UN"} else value)
    return ds


def everything(index: int, enhanced: bool = False) -> Dataset:
    """Return a slice with a token in every attribute, in sequences, private blocks, overlays, curves and icons."""
    ds = enhanced_t2("PATIENTZQ") if enhanced else axial_t2("PATIENTZQ", "T2", index)
    nested = marked(Dataset(), "N")
    deeper = Dataset()
    deeper.ReferencedImageSequence = Sequence([nested])
    private = Dataset()
    private.private_block(0x0029, "ZQCREATOR", create=True).add_new(1, "LO", "ZQPRIVATENESTED")
    for tag, (vr, *_) in DicomDictionary.items():
        if vr == "SQ" and tag not in ds and tag >> 16 not in (0x0000, 0x0002, 0x0004):
            ds.add_new(tag, "SQ", [marked(Dataset(), "S"), deeper, private] if tag in CHOSEN else [private])
    marked(ds)
    for group in (0x0009, 0x0019, 0x0029, 0x0051, 0x7FE1):
        block = ds.private_block(group, f"ZQCREATOR{group:04X}", create=True)
        block.add_new(1, "LO", "ZQPRIVATE")
        block.add_new(2, "OB", "ZQPRIVATEUTF".encode("utf-16-le"))
        block.add_new(3, "SQ", [private])
    for group in (0x5000, 0x6000, 0x601E):
        ds.add_new((group, 0x0022), "LO", "ZQOVERLAYLABEL")
        ds.add_new((group, 0x3000), "OW", b"ZQOVERLAYDATA.")
        ds.add_new((group, 0x4000), "LT", "ZQOVERLAYCOMMENT")
    ds.add_new(0xFFFCFFFC, "OB", b"ZQTRAILINGPADDING.")
    return ds


CHOSEN = {
    int(pydicom.datadict.tag_for_keyword(keyword) or 0)
    for keyword in ("ReferencedImageSequence", "AnatomicRegionSequence", "IconImageSequence", "DimensionIndexSequence")
}


def write_everything(path: Path, ds: Dataset, syntax: str = "1.2.840.10008.1.2.1") -> None:
    write(ds, path, syntax)
    ds.file_meta.SourceApplicationEntityTitle = "ZQSOURCEAE"
    ds.file_meta.ImplementationVersionName = "ZQIMPLEMENTATION"
    ds.file_meta.PrivateInformationCreatorUID = "1.2.826.19530417.1"
    ds.file_meta.PrivateInformation = b"ZQMETAPRIVATE."
    ds.preamble = b"ZQPREAMBLE".ljust(128, b"!")
    ds.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("everything")
    with anything_goes():
        write_everything(folder / "in" / "ZQFILENAME 1", everything(0))
        write_everything(folder / "in" / "ZQFILENAME 2", everything(1), ImplicitVRLittleEndian)
        write_everything(folder / "in" / "ZQFOLDER" / "a", everything(0, enhanced=True))
    deidentify(str(folder / "in"), str(folder / "out"), str(folder / "linkage.csv"))
    return sorted((folder / "out" / "dicom").rglob("*.dcm"))


def test_of_identity_in_every_attribute_only_what_names_the_scanner_and_codes_is_left(copies):
    """What stays is listed in ``rules.KEPT``; the copy is searched for names, numbers and dates of the source."""
    assert len(copies) == 3
    for path in copies:
        content = path.read_bytes().replace(dcmread(path).PixelData, b"")
        content += str(path).rpartition("/out/")[2].encode()
        allowed = KEPT | (ANY_NUMBER_OF_NUMBERS if dcmread(path).file_meta.TransferSyntaxUID.is_implicit_VR else set())
        left = {tag for word, tag in TOKENS.items() if word.encode() in content}
        assert {keyword_for_tag(tag) or hex(tag) for tag in left - allowed} == set()
        for word in [word for word, tag in TOKENS.items() if tag in left]:
            content = content.replace(word.encode(), b"")
        for text in (b"ZQ", "ZQ".encode("utf-16-le"), "ZQ".encode("utf-16-be"), b"19530417", b"!!!!"):
            assert text not in content, content[content.find(text) - 40 : content.find(text) + 40]


def test_the_copies_are_images_with_new_names_and_an_empty_preamble(copies):
    for path in copies:
        ds = dcmread(path)
        assert ds.preamble == bytes(128)
        assert {element.keyword for element in ds.file_meta} <= {
            "FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID",
            "MediaStorageSOPInstanceUID", "TransferSyntaxUID", "ImplementationClassUID", "ImplementationVersionName",
        }  # fmt: skip
        assert not [tag for tag in ds.keys() if tag.is_private or tag.group >> 8 in (0x50, 0x60)]  # noqa: SIM118
        assert ds.pixel_array.shape[-2:] == (32, 32)
