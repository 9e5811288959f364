"""DICOM results: valid, complete, and where their sources are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_fixtures import enhanced_t2, write
from pydicom.sr.codedict import codes
from tiny_models import SIZE, write_t2

from scripts.errors import InputError
from scripts.heatmaps.overlays import source_overlays
from scripts.inference.dicom_results import sources
from scripts.inference.dicom_results.captures import secondary_captures
from scripts.inference.dicom_results.reports import COMPRESSION, structured_report
from scripts.inference.dicom_results.sources import headers, save

SUMMARY = {
    "series_uid": "1.2.3",
    "model_name": "Cervical cord compression",
    "model_version": "1.2.3",
    "weights_sha256": "ab" * 32,
    "trained_on_phantom": True,
    "threshold": 0.5,
    "threshold_source": "chosen on validation",
    "n_slices": 4,
    "n_evaluated": 3,
    "n_compressed": 1,
    "longest_run_slices": 1,
    "longest_run_mm": 2.5,
    "max_probability": 0.875,
    "smallest_cord_ap_mm": 6.25,
    "largest_mscc_percent": None,
    "patient_rule": "max",
    "patient_threshold": 1.5,
    "patient_threshold_source": "operating point youden, chosen on 24 patients",
    "patient_score": 1.75,
    "patient_compressed": 1,
    "warnings": "",
}


def errors_of(path: Path) -> list[str]:
    if shutil.which("dciodvfy") is None:
        pytest.fail("dciodvfy is not installed; run tests/install_tools.sh")
    found = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    lines = (found.stdout + found.stderr).splitlines()
    assert any("SR" in line or "SCImage" in line for line in lines), f"dciodvfy did not recognise {path}: {lines}"
    return [line for line in lines if line.startswith("Error")]


def rows_for(images: list[pydicom.Dataset]) -> list[dict]:
    scored = {"frame": "", "threshold": 0.5, "status": "scored"}
    rows = [
        {**scored, "sop_uid": str(image.SOPInstanceUID), "slice_index": index, "probability": 0.125 * (2 * index + 1)}
        for index, image in enumerate(images)
    ]
    for row in rows:
        row["compressed"] = int(row["slice_index"] == 3)
    rows[1] |= {"probability": None, "compressed": None, "status": "not evaluable: blank slice"}
    return rows


@pytest.fixture
def scored(tmp_path):
    images = sorted(headers(write_t2(tmp_path / "series")), key=lambda image: image.ImagePositionPatient[2])
    return images, rows_for(images)


def test_the_report_is_valid_and_says_what_was_found_in_each_slice(scored, tmp_path):
    images, rows = scored
    (path,) = save([structured_report(images, rows, SUMMARY)], tmp_path / "out")
    assert errors_of(path) == []
    report = highdicom.sr.srread(path)
    assert (report.PatientID, report.StudyInstanceUID) == (images[0].PatientID, images[0].StudyInstanceUID)
    assert report.ContentQualification == "RESEARCH"
    summary, *groups = report.content.get_image_measurement_groups()
    assert len(groups) == 4
    for row, group in zip(rows, groups, strict=True):
        (source,) = group.source_images
        assert source.referenced_sop_instance_uid == row["sop_uid"]
        values = [measured.value for measured in group.get_measurements(codes.DCM.Probability)]
        assert values == ([] if row["probability"] is None else [row["probability"]])
        (evaluation,) = group.get_qualitative_evaluations(COMPRESSION)
        wanted = "Not Evaluated" if row["probability"] is None else ("Absent", "Present")[row["compressed"]]
        assert evaluation.value.meaning == wanted
    measured = {one.name.meaning: one.value for one in summary.get_measurements()}
    assert measured["Number of compressed slices"] == 1
    assert measured["Length of the longest run of compressed slices"] == 2.5
    comments = [item.TextValue for item in report.ContentSequence if item.ValueType == "TEXT"]
    for needed in (
        "Research use only",
        "synthetic phantom",
        "abababab",
        "1.2.3",
        "blank slice",
        "chosen on validation",
    ):
        assert needed in " ".join(comments)


def test_captures_are_valid_and_lie_where_their_sources_lie(scored, tmp_path):
    images, rows = scored
    colour = [np.full((SIZE, SIZE, 3), 40 * index, np.uint8) for index in range(4)]
    paths = save(secondary_captures(images, rows, SUMMARY, colour), tmp_path / "out")
    for path, image, picture in zip(paths, images, colour, strict=True):
        assert errors_of(path) == []
        capture = pydicom.dcmread(path)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"):
            assert capture[keyword].value == image[keyword].value
        assert list(capture.PatientOrientation) == ["L", "P"]
        assert np.array_equal(capture.pixel_array, picture)
        assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
        assert capture.SOPInstanceUID != image.SOPInstanceUID
        assert capture.SeriesInstanceUID != image.SeriesInstanceUID
        assert "Research use only" in capture.ImageComments


def test_frames_of_an_enhanced_image_are_told_apart(tmp_path):
    image = enhanced_t2(n=4)
    path = write(image, tmp_path / "enhanced")
    images = headers([path])
    rows = [
        {**row, "sop_uid": str(image.SOPInstanceUID), "frame": str(4 - n)} for n, row in enumerate(rows_for(images * 4))
    ]
    colour = [np.zeros((image.Rows, image.Columns, 3), np.uint8)] * 4
    results = [structured_report(images, rows, SUMMARY), *secondary_captures(images, rows, SUMMARY, colour)]
    paths = save(results, tmp_path / "out")
    assert [errors_of(one) for one in paths] == [[]] * 5
    frames = [
        group.source_images[0] for group in highdicom.sr.srread(paths[0]).content.get_image_measurement_groups()[1:]
    ]
    assert [frame.referenced_frame_numbers for frame in frames] == [[4], [3], [2], [1]]
    assert [float(result.ImagePositionPatient[2]) for result in results[1:]] == [-9.0, -6.0, -3.0, 0.0]


@pytest.mark.parametrize(
    "damage",
    [
        {"PatientSex": "N/A"}, {"PatientBirthDate": "unknown"}, {"StudyTime": "late"}, {"PatientName": "ANON123"},
        {"StudyID": None}, {"PatientName": None}, {"AccessionNumber": None},
    ],
    ids=str,
)  # fmt: skip
def test_headers_that_de_identification_damaged_still_give_valid_results(scored, tmp_path, damage):
    images, rows = scored
    with pydicom.config.disable_value_validation():
        for image in images:
            for keyword, value in damage.items():
                if value is None:
                    image.pop(keyword, None)
                else:
                    setattr(image, keyword, value)
    colour = [np.zeros((SIZE, SIZE, 3), np.uint8)] * 4
    results = [structured_report(images, rows, SUMMARY), *secondary_captures(images, rows, SUMMARY, colour)]
    assert [errors_of(path) for path in save(results[:2], tmp_path / "out")] == [[], []]


def test_real_headers_give_valid_results(real_data, tmp_path):
    images = headers(sorted((real_data / "toshiba_axial_dicom").glob("*"))[:4])
    colour = [np.zeros((image.Rows, image.Columns, 3), np.uint8) for image in images]
    results = [
        structured_report(images, rows_for(images), SUMMARY),
        *secondary_captures(images, rows_for(images), SUMMARY, colour),
    ]
    assert [errors_of(path) for path in save(results[:2], tmp_path / "out")] == [[], []]


def test_results_are_never_written_over_each_other(scored, tmp_path):
    images, rows = scored
    first, second = (structured_report(images, rows, SUMMARY) for _ in range(2))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    save([first, second], tmp_path)
    assert len(list(tmp_path.glob("*.dcm"))) == 2
    with pytest.raises(InputError, match="cannot be written"):
        save([first], tmp_path)


def test_the_hot_spot_of_an_overlay_is_where_the_map_is_hot():
    pixels = np.random.default_rng(0).normal(100, 1, (260, 240, 2)).astype(np.float32)  # columns, rows, slices
    heat = np.zeros_like(pixels)
    heat[150, 130, 1] = 1
    row = {"status": "scored", "probability": 0.9, "compressed": 1}
    cold, hot = source_overlays(pixels, heat, [row, row], SUMMARY, [("R", "L")] * 2)
    assert hot.shape == (240, 260, 3)
    colourful = np.ptp(hot.astype(int), axis=-1)
    colourful[:60] = colourful[:, :20] = colourful[:, -20:] = 0  # the caption, and the patient's sides
    assert np.unravel_index(colourful.argmax(), colourful.shape) == (130, 150)
    assert np.ptp(cold[60:, 20:-20].astype(int), axis=-1).max() == 0


def test_what_does_not_belong_together_is_refused(scored):
    images, rows = scored
    with pytest.raises(InputError, match="no place in DICOM results"):
        structured_report(images, [{**rows[0], "sop_uid": ""}], SUMMARY)
    with pytest.raises(InputError, match="no image with SOPInstanceUID 9"):
        structured_report(images, [{**rows[0], "sop_uid": "9"}], SUMMARY)
    with pytest.raises(InputError, match=r"96 rows and 96 columns"):
        secondary_captures(images, rows[:1], SUMMARY, [np.zeros((8, 8, 3), np.uint8)])
    images[0].StudyInstanceUID = "1.2.99"
    with pytest.raises(InputError, match="one study"):
        structured_report(images, rows, SUMMARY)


def test_without_highdicom_the_message_says_how_to_install_it(scored, monkeypatch):
    monkeypatch.setattr(sources, "HAS_HIGHDICOM", False)
    with pytest.raises(InputError, match=r"pip install -e '\.\[dicom\]'"):
        structured_report(*scored, SUMMARY)


NAME = "Name^Ä日本語"
CHARACTER_SETS = [
    *(None, "", "ISO_IR 6", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 126", "ISO_IR 127"),
    *(
        "ISO_IR 138",
        "ISO_IR 144",
        "ISO_IR 148",
        "ISO_IR 166",
        "ISO_IR 13",
        "ISO_IR 203",
        "ISO_IR 192",
        "GB18030",
        "GBK",
    ),
    *("ISO 2022 IR 6", "ISO 2022 IR 100", "ISO 2022 IR 101", "ISO 2022 IR 144", "ISO 2022 IR 13", "ISO 2022 IR 203"),
    *(["", "ISO 2022 IR 87"], ["ISO 2022 IR 13", "ISO 2022 IR 87"], ["", "ISO 2022 IR 149"], ["", "ISO 2022 IR 58"]),
    *(["ISO 2022 IR 6", "ISO 2022 IR 159"], ["ISO 2022 IR 100", "ISO 2022 IR 126"], ["ISO_IR 192", "ISO 2022 IR 87"]),
    *("ISO IR 100", "latin1", "nonsense", ["GB18030", "ISO_IR 100"], ["", ""], "ISO_IR_192"),
]


def with_texts(path: Path, declared: str | list[str] | None, name: bytes) -> Path:
    """Give a file a SpecificCharacterSet and a PatientName that hold these bytes, valid or not."""
    image = pydicom.dcmread(path)
    del image.PatientName
    image.save_as(path)
    stored = path.read_bytes()
    terms = "\\".join([declared] if isinstance(declared, str) else declared).encode() if declared is not None else None
    for tag, before, vr, value in (
        (b"\x10\x00\x10\x00", b"\x10\x00\x20\x00LO", b"PN", name),
        (b"\x08\x00\x05\x00", b"\x08\x00\x08\x00CS", b"CS", terms),
    ):
        if value is not None:
            value += b" " * (len(value) % 2)
            place = stored.index(before)
            stored = stored[:place] + tag + vr + len(value).to_bytes(2, "little") + value + stored[place:]
    path.write_bytes(stored)
    return path


@pytest.mark.parametrize("declared", CHARACTER_SETS, ids=str)
def test_results_are_utf8_whatever_the_source_declares(tmp_path, declared, recwarn):
    """The bytes of the name are those of the character set where it can hold some, or no text of any."""
    term = declared if isinstance(declared, str) else (declared or [""])[-1]
    codec = {"ISO_IR 192": "utf-8", "GB18030": "gb18030", "GBK": "gbk", "ISO_IR 100": "latin1"}.get(term, "ascii")
    for raw in (NAME.encode(codec, "ignore"), b"Name^\xff\xfe\x81\x8d\x1b(Z\xc4"):
        images = headers([with_texts(path, declared, raw) for path in write_t2(tmp_path / "series", n=2)])
        rows = rows_for(images)
        colour = [np.zeros((SIZE, SIZE, 3), np.uint8)] * 2
        results = [structured_report(images, rows, SUMMARY), *secondary_captures(images, rows, SUMMARY, colour)]
        for path in save(results, tmp_path / "out"):
            result = pydicom.dcmread(path)
            assert result.SpecificCharacterSet == "ISO_IR 192"
            assert str(result.PatientName).startswith("Name^")
            assert not re.search(r"[\x00-\x1f]", str(result.PatientName))
            if codec != "ascii" and raw.startswith(NAME.encode(codec, "ignore")) and isinstance(declared, str):
                assert str(result.PatientName) == NAME.encode(codec, "ignore").decode(codec)
    assert [one for one in recwarn if "Name" in str(one.message)] == []


def test_results_of_a_foreign_name_are_valid(tmp_path):
    paths = write_t2(tmp_path / "series")
    for path in paths:
        image = pydicom.dcmread(path)
        image.SpecificCharacterSet, image.PatientName = ["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"
        image.save_as(path)
    images = headers(paths)
    (path,) = save([structured_report(images, rows_for(images), SUMMARY)], tmp_path / "out")
    assert errors_of(path) == []
    assert str(pydicom.dcmread(path).PatientName) == "Hong^Gildong=洪^吉洞=홍^길동"
