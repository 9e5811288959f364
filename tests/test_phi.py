"""Who may read whom: the scan of all outputs of a seeded cohort for all its identifiers.

Two kinds of outputs: what *may travel* (the copy that `deidentify` makes; checkpoints, TensorBoard, figures, metrics,
the model card, the packed bundle; the report, whose tables name patients as the cohort does), and what *stays* where
the images are (the tables and DICOM files of `predict`, the index, datalists). docs in SECURITY.md say the same.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import logging
import re
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from conftest import ROOT, SMALL
from csv_rows import write_rows
from dicom_fixtures import uid
from PIL import Image
from pydicom import dcmread
from tiny_models import picture, write_t2

from scripts.cohort.describe import describe
from scripts.cohort.index import index
from scripts.cohort.split import split
from scripts.deidentification.command import deidentify
from scripts.dicom.silence import quiet
from scripts.dicom.sources import one_stack, scan
from scripts.errors import InputError
from scripts.inference.dicom_results.sources import headers
from scripts.inference.predict import predict
from scripts.report.command import report
from scripts.runner import run_config

PATIENTS = [f"case{number}" for number in range(8)]
ODD = "case1"
"""A patient with a series number that is none: it stops what is made of the headers, with a message that quotes it."""
IDENTIFYING = {
    "PatientName": "{0}^{0}X", "OtherPatientIDs": "{0}", "PatientBirthDate": "{0}", "PatientAddress": "{0} street",
    "PatientComments": "{0}", "InstitutionName": "{0}", "InstitutionAddress": "{0}", "OperatorsName": "{0}^{0}",
    "ReferringPhysicianName": "{0}", "AccessionNumber": "{0}", "StudyID": "{0}", "StationName": "{0}",
    "DeviceSerialNumber": "{0}", "StudyDescription": "spine {0}", "SeriesDescription": "t2 {0}",
    "ProtocolName": "{0}", "ImageComments": "{0}", "RequestedProcedureDescription": "{0}", "StudyTime": "{0}",
    "PatientTelephoneNumbers": "{0}", "PatientMotherBirthName": "{0}", "IssuerOfPatientID": "{0}",
}  # fmt: skip


def token(*parts: str) -> str:
    """Return a word of letters that stands nowhere else."""
    digest = hashlib.sha256("/".join(parts).encode()).hexdigest()[:12]
    return "ZQ" + digest.translate(str.maketrans("0123456789abcdef", LETTERS))


def patient_id(name: str) -> str:
    return token(name, "PatientID")


LETTERS = "GHJKLMNPRSTUVWXY"
WORD = re.compile(rb"ZQ[GHJKLMNPRSTUVWXY]{12}")
WIDE = re.compile(rb"Z\0Q\0(?:[GHJKLMNPRSTUVWXY]\0){11}[GHJKLMNPRSTUVWXY]")
BASE64 = re.compile(rb"[A-Za-z0-9+/]{20,}")


def words_in(content: bytes) -> set[str]:
    """Return the words that some bytes hold as UTF-8, UTF-16 or, in text, base64."""
    found = {*WORD.findall(content), *(word.replace(b"\0", b"") for word in WIDE.findall(content))}
    for run in BASE64.findall(content) if b"\0" not in content[:4096] else []:
        for shift in range(4):
            length = (len(run) - shift) // 4 * 4
            found.update(WORD.findall(base64.b64decode(run[shift : shift + length])))
    return {word.decode() for word in found}


def contents(path: Path) -> Iterator[bytes]:
    """Yield the name of a file and what is in it, unpacked."""
    content = path.read_bytes()
    yield path.name.encode()
    yield content
    if path.name.endswith(".gz"):
        yield gzip.decompress(content)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                yield member.filename.encode()
                if member.compress_type != zipfile.ZIP_STORED:  # else it is there as it is
                    yield archive.read(member)
    if path.suffix == ".png":
        yield repr(Image.open(BytesIO(content)).info).encode()


def short(parts: list[bytes]) -> list[bytes]:
    """Return what is small enough to be searched word by word."""
    return [part for part in parts if len(part) < 1 << 16]


def found_in(folder: Path, words: dict[str, str]) -> dict[str, set[str]]:
    """Return, by file and folder name, which of some words are there."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*")):
        parts = list(contents(path)) if path.is_file() else [path.name.encode()]
        held = set().union(*map(words_in, parts))
        there = {
            name for name, word in words.items() if word in held or any(word.encode() in part for part in short(parts))
        }
        if there:
            found[path.relative_to(folder).as_posix()] = there
    return found


IDS = {f"{name} PatientID": patient_id(name) for name in PATIENTS}
OTHERS = {f"{name} {keyword}": token(name, keyword) for name in PATIENTS for keyword in (*IDENTIFYING, "private")}
OTHERS[f"{ODD} SeriesNumber"] = token(ODD, "SeriesNumber")


@contextmanager
def as_users_see(capfd, caplog) -> Iterator[list[str]]:
    """Collect all that is printed, logged and warned of, at every level."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG, logger="pydicom"):
        warnings.simplefilter("always")
        yield said
    captured = capfd.readouterr()
    said += [captured.out, captured.err, caplog.text, *(str(one.message) for one in warned)]


def write_hospital(folder: Path) -> None:
    """Write eight patients whose every identifier is a word of its own, with values that pydicom complains of."""
    for name in PATIENTS:
        changes = {keyword: form.format(token(name, keyword)) for keyword, form in IDENTIFYING.items()}
        changes |= {"PatientID": patient_id(name), "SpecificCharacterSet": "ISO_IR 100"}
        seed = 1000 * PATIENTS.index(name)
        changes["PixelData"] = lambda index, seed=seed: picture(seed + index).tobytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for path in write_t2(folder / "dicom" / name, name, n=4, **changes):
                ds = dcmread(path)
                block = ds.private_block(0x0029, "ACME", create=True)
                block.add_new(1, "LO", token(name, "private"))
                if name == ODD:
                    ds.add_new("SeriesNumber", "LO", token(name, "SeriesNumber"))
                ds.save_as(path)
                path.write_bytes(path.read_bytes().replace(b"\x20\x00\x11\x00LO", b"\x20\x00\x11\x00IS"))
    keys = {"rater": "a", "reading": "1", "role": "reference", "status": "evaluable"}
    rows = [
        {"patient_id": patient_id(name), "series_uid": uid(name, "T2"), "sop_uid": uid(name, "T2", slice_index)}
        | {**keys, "label": slice_index % 2}
        for name in PATIENTS
        for slice_index in range(4)
    ]
    write_rows(folder / "labels.csv", rows)
    people = [
        {"patient_id": patient_id(name), "site": "A", "age": 50 + n, "sex": "F"} for n, name in enumerate(PATIENTS)
    ]
    write_rows(folder / "patients.csv", people)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    write_hospital(folder)
    return folder


def test_the_scan_finds_a_word_in_every_kind_of_file(tmp_path):
    word = token("a")
    (tmp_path / "a.csv").write_text(word)
    (tmp_path / "b.txt").write_text(word, encoding="utf-16")
    (tmp_path / "c.html").write_bytes(base64.b64encode(f"ab{word}cd".encode()))
    (tmp_path / "d.nii.gz").write_bytes(gzip.compress(word.encode()))
    (tmp_path / word).mkdir()
    with zipfile.ZipFile(tmp_path / "e.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", word)
    (tmp_path / "f.txt").write_text("nothing")
    assert sorted(found_in(tmp_path, {"word": word})) == sorted(["a.csv", "b.txt", "c.html", "d.nii.gz", "e.pt", word])


def test_the_copy_of_deidentify_holds_no_identifier_and_nothing_of_it_is_said(hospital, tmp_path, capfd, caplog):
    tables = f"{hospital / 'labels.csv'},{hospital / 'patients.csv'}"
    with as_users_see(capfd, caplog) as said:
        deidentify(str(hospital / "dicom"), str(tmp_path / "out"), str(tmp_path / "linkage.csv"), tables=tables)
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 32
    originals = {f"uid {name}": uid(name, "T2") for name in PATIENTS}
    assert found_in(tmp_path / "out", IDS | OTHERS | originals) == {}
    assert [name for name, word in (IDS | OTHERS).items() if any(word in text for text in said)] == []


def test_predict_and_index_say_nothing_of_a_header_and_write_only_what_they_promise(
    hospital, small_weights, tmp_path, capfd, caplog
):
    with as_users_see(capfd, caplog) as said:
        index(str(hospital / "dicom"), out=str(tmp_path / "index" / "index.csv"), benchmark=True)
        predict(
            str(hospital / "dicom" / "case0"), str(hospital / "dicom" / ODD), out=str(tmp_path / "out"),
            weights=str(small_weights), dicom=True, overlays=True, raw_heatmap=True, allow_phantom_weights=True,
        )  # fmt: skip
        with pytest.raises(InputError) as caught:
            one_stack(hospital / "dicom")
        said.append(str(caught.value))
    assert [name for name, word in (IDS | OTHERS).items() if any(word in text for text in said)] == []
    indexed = found_in(tmp_path / "index", IDS | OTHERS)
    kinds = {path: {name.partition(" ")[2] for name in names} for path, names in indexed.items()}
    assert kinds == {"index.csv": {"PatientID", "SeriesDescription"}, "index_slices.csv": {"PatientID"}}
    kinds = {}
    for path, names in found_in(tmp_path / "out", IDS | OTHERS).items():
        kind = Path(path).suffix if "/dicom/" in path else Path(path).name
        kinds.setdefault(kind, set()).update(name.partition(" ")[2] for name in names)
    # the standard wants patient and study in DICOM results, or nobody could file them
    patient_and_study = {"PatientID", "PatientName", "AccessionNumber", "StudyID", "ReferringPhysicianName"}
    assert kinds.pop(".dcm", set()) <= patient_and_study | {"StudyDescription", "IssuerOfPatientID"}
    assert kinds.pop("failures.csv", set()) <= {"PatientID"}
    assert kinds == {name: {"PatientID"} for name in ("series.csv", "slices.csv", "summary.json", "worklist.csv")}
    assert len(list((tmp_path / "out").glob("*/overlays/*.png"))) == 8


@pytest.mark.slow
def test_what_a_training_leaves_names_nobody_but_by_the_patient_ids_of_the_cohort(hospital, tmp_path, capfd, caplog):
    """Also where a cohort was not de-identified: no header reaches weights, logs, figures, the card or the bundle."""
    cohort, run, card = tmp_path / "cohort", tmp_path / "run", tmp_path / "card.md"
    shutil.copytree(hospital, cohort)
    card.write_text("<!-- performance: begin -->\n<!-- performance: end -->\n")
    folders = {"dataset_dir": str(cohort), "output_dir": str(run), "ckpt_dir": str(run / "models")}
    small = {**SMALL, **folders, "max_epochs": 1, "min_epochs": 1}
    with as_users_see(capfd, caplog) as said:
        tables = (str(cohort / "labels.csv"), str(cohort / "patients.csv"))
        split(*tables, str(cohort / "dicom"), out=str(cohort / "datalist.json"))
        run_config(["train.json"], **small)
        run_config(["train.json", "evaluate.json"], **small)
        report(str(run), out=str(run / "report"), card=str(card))
        describe(str(cohort / "datalist.json"), tables[1], out=str(run / "table1.csv"))
    assert [name for name, word in (IDS | OTHERS).items() if any(word in text for text in said)] == []
    assert found_in(run, OTHERS) == {}
    assert found_in(cohort, OTHERS).keys() <= {
        path.relative_to(cohort).as_posix() for path in (cohort / "dicom").rglob("*")
    }
    named = {"predictions.csv", "heatmaps/patients.csv"}
    assert set(found_in(run, IDS)) <= {
        *named,
        *(f"report/{name}" for name in ("report.json", "report.html", "coding.csv")),
    }
    for must in ("models/model.pt", "metrics.json", "roc.png", "report/figures/roc.png", "table1.md"):
        assert (run / must).is_file(), must
    assert list((run / "tensorboard").glob("events*"))
    assert "held-out patients" in card.read_text()
    assert found_in(card.parent, IDS | OTHERS).keys() & {"card.md"} == set()


def test_a_damaged_file_is_named_by_the_kind_of_damage_alone(tmp_path):
    (tmp_path / "a").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\x00\x05\x00CS\x04\x00ZQZQ" + b"\x02" * 64)
    _, unreadable = scan(tmp_path)
    assert unreadable
    assert "ZQZQ" not in str(unreadable)
    with pytest.raises(InputError) as caught:
        headers([tmp_path / "absent"])
    assert str(caught.value) == f"{tmp_path / 'absent'} cannot be read as DICOM (FileNotFoundError)"


def test_threads_that_read_at_once_stay_quiet_and_leave_everything_as_it_was():
    before, filters = list(warnings.filters), list(logging.getLogger("pydicom").filters)
    said: list[str] = []

    def work(_: int) -> None:
        with quiet(), quiet():
            warnings.warn("ZQNAME", UserWarning, stacklevel=1)
            logging.getLogger("pydicom").warning("ZQNAME")

    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("pydicom").addHandler(handler)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(400)))
        assert said == []
        logging.getLogger("pydicom").warning("heard")
        assert said == ["heard"]
    finally:
        logging.getLogger("pydicom").removeHandler(handler)
    assert list(warnings.filters) == before
    assert logging.getLogger("pydicom").filters == filters


def test_every_use_of_pydicom_that_reads_files_is_silenced():
    """Modules that read with ``dcmread`` import ``quiet`` or what is built on it; some read phantoms only."""
    for path in sorted([*(ROOT / "scripts").rglob("*.py"), *(ROOT / "bundle").rglob("*.py")]):
        text = path.read_text(encoding="utf-8")
        if "dcmread(" in text and not {"phantom", "campaigns"} & set(path.parts) and path.name != "identifiers.py":
            assert "quiet()" in text, path
