"""MONAI Label and MONAI Deploy, really run in their own environments, against the predict command.

The environments are installed by the project's own script where they are absent (10 GB, some minutes, once).
"""

from __future__ import annotations

import email
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dicom_fixtures
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from canal_fixtures import bright_canal_net
from conftest import SMALL
from csv_rows import read_rows
from tiny_models import SIZE, write_t2

from bundle.assemble import NAME, assemble
from bundle.deploy_folder import deploy
from bundle.environments import install
from bundle.export import export
from bundle.label import prepare_app, server_command, server_environment
from scripts import checkpoints
from scripts.canal import localiser
from scripts.files import read_json, write_json
from scripts.inference.predict import predict
from scripts.networks import CordCompressionNet
from scripts.readers import SeriesReader
from scripts.records import MEASURE_COLUMNS, PATIENT_RULES, TASK_FINDINGS, probability
from scripts.tasks import TASKS

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]
TOLERANCE = 1e-4
THRESHOLD = 0.119
LEVELS = (0.25, 0.5, 0.75)


@pytest.fixture(scope="module")
def weights(axial_series, tmp_path_factory) -> Path:
    """A random network whose probabilities spread over all levels of the heat map, and straddle the threshold.

    The calibration changes the call of one phantom slice: its logit is -1.5.
    """
    torch.manual_seed(2)
    network = CordCompressionNet(SMALL["head"], architecture=SMALL["architecture"])
    own = {name: value for name, value in SMALL.items() if name in checkpoints.SETTINGS}
    settings = checkpoints.describe(**own, profile="imagenet")
    folder = tmp_path_factory.mktemp("weights")
    path = folder / "model.pt"
    network.head.logit.weight.data.mul_(200)
    checkpoints.save(path, network, settings, trained_on={"phantom": True})
    assert predict(str(axial_series), out=str(folder / "out"), weights=str(path), precision="fp32") == 0
    logits = sorted(logits_of(next(folder.glob("out/*/slices.csv")).parent))
    network.head.logit.bias.data -= logits[len(logits) // 2] + 1.5
    checkpoints.save(path, network, settings, trained_on={"phantom": True})
    return path


@pytest.fixture(scope="module")
def operating_points(weights, tmp_path_factory) -> str:
    """What `report` writes: a calibration of slope 2 and intercept 0.5, and the threshold 0.119 on its scale."""
    content = {
        "points": {"youden": {"logit": (math.log(THRESHOLD / (1 - THRESHOLD)) - 0.5) / 2, "status": "chosen"}},
        "patient_level": {"points": {"youden": {rule: {"score": -1e6, "status": "chosen"} for rule in PATIENT_RULES}}},
        "calibration": {"slope": 2.0, "intercept": 0.5},
        "baseline": {"slope": 1.0, "intercept": 0.0, "pos_weight": None},
        "chosen_on": {"n_patients": 12, "n_slices": 402},
        "facts": {"weights_sha256": checkpoints.sha256(weights), "phantom": True},
    }
    path = tmp_path_factory.mktemp("points") / "operating_points.json"
    path.write_text(json.dumps(content))
    return str(path)


def in_float32(packed: Path, **changes: Any) -> Path:
    """Let a packed bundle score in float32, as Deploy does everywhere, and change other keys of its inference.json."""
    config = packed / "configs" / "inference.json"
    write_json(config, {**read_json(config), "precision": "fp32", **changes})
    return packed


@pytest.fixture(scope="module")
def packed(weights, operating_points, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("build")
    assemble(out=str(out), weights=str(weights), local=True, operating_points=operating_points)
    return in_float32(out / NAME)


@pytest.fixture(scope="module")
def volume(axial_series, tmp_path_factory) -> Path:
    """The phantom series as NIfTI."""
    pixels, meta = SeriesReader().get_data([str(axial_series)])
    path = tmp_path_factory.mktemp("nifti") / "series.nii.gz"
    nibabel.save(nibabel.Nifti1Image(pixels, meta["affine"]), path)
    return path


@pytest.fixture(scope="module")
def predicted(axial_series, volume, weights, operating_points, tmp_path_factory) -> dict[str, Path]:
    """Results of the predict command: ``dicom`` and ``nifti``."""
    out = tmp_path_factory.mktemp("predicted")
    call = {"weights": str(weights), "operating_points": operating_points, "allow_phantom_weights": True}
    call |= {"precision": "fp32"}
    for name, source in (("dicom", axial_series), ("nifti", volume)):
        assert predict(str(source), out=str(out / name), **call) == 0
    return {name: next((out / name).glob("*/slices.csv")).parent for name in ("dicom", "nifti")}


def logits_of(folder: Path) -> list[float]:
    return [float(row["logit"]) for row in read_rows(folder / "slices.csv")]


def assert_same_slices(found: list[dict[str, Any]], folder: Path) -> None:
    """Compare the slices of a client with those that predict wrote, calls included."""
    table = read_rows(folder / "slices.csv")
    assert [one["sop_uid"] for one in found] == [row["sop_uid"] for row in table]
    for name in ("logit", "probability", "threshold", "position_mm", "thickness_mm"):
        wanted = [float(row[name]) for row in table]
        assert [one[name] for one in found] == pytest.approx(wanted, abs=TOLERANCE)
    assert [one["compressed"] for one in found] == [int(row["compressed"]) for row in table]
    assert [one["status"] for one in found] == [row["status"] for row in table]


@pytest.fixture(scope="module")
def shuffled(axial_series, tmp_path_factory) -> Path:
    """The phantom's DICOM files under names whose order says nothing."""
    folder = tmp_path_factory.mktemp("shuffled")
    files = sorted(axial_series.iterdir())
    random.Random(5).shuffle(files)
    for number, path in enumerate(files):
        shutil.copy(path, folder / f"x{number}.bin")
    return folder


class Label:
    """A running MONAI Label server."""

    def __init__(self, url: str, bundle: Path, log: Path) -> None:
        self.url, self.bundle, self.log = url, bundle, log

    def request(self, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[bytes, str]:
        request = urllib.request.Request(self.url + path, data=body or None, method=method)
        if kind:
            request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=600) as answer:
            return answer.read(), answer.headers["Content-Type"]

    def form(self, method: str, path: str, **parts: tuple[str, bytes] | str) -> tuple[bytes, str]:
        """Send a multipart form of texts and files ``(name, content)``."""
        border = uuid.uuid4().hex
        body = b""
        for name, part in parts.items():
            file, content = part if isinstance(part, tuple) else ("", part.encode())
            head = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{file}"' if file else "")
            body += f"--{border}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"
        return self.request(
            method, path, body + f"--{border}--\r\n".encode(), f"multipart/form-data; boundary={border}"
        )

    def infer(self, query: str = "", **parts: Any) -> tuple[dict[str, Any], bytes]:
        """Give the JSON and the heat map that a viewer gets."""
        content, kind = self.form("POST", f"/infer/{NAME}{query}", **{"params": "{}", **parts})
        message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + content)
        found = {part.get_param("name", header="Content-Disposition"): part.get_payload(decode=True)
                 for part in message.get_payload()}  # fmt: skip
        return json.loads(found["params"]), found["image"]


@pytest.fixture(scope="module")
def label(packed, volume, tmp_path_factory) -> Iterator[Label]:
    with served(packed, volume, tmp_path_factory.mktemp("label")) as running:
        yield running


@contextmanager
def served(packed: Path, volume: Path, folder: Path) -> Iterator[Label]:
    """Run MONAI Label on a copy of a packed bundle."""
    python = install("label")
    bundle = folder / NAME
    shutil.copytree(packed, bundle)
    (folder / "studies").mkdir()
    for name in ("one", "two"):
        shutil.copy(volume, folder / "studies" / f"{name}.nii.gz")
    app = prepare_app(python, folder, bundle)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = server_command(python, app, folder / "studies", "127.0.0.1", port)
    environment = {**server_environment(), "OMP_NUM_THREADS": "1", "MONAI_LABEL_SESSION_PATH": str(folder / "sessions")}
    log = folder / "server.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=environment, cwd=folder, start_new_session=True
        )
    try:
        running = Label(f"http://127.0.0.1:{port}", bundle, log)
        deadline = time.monotonic() + 300
        while True:
            try:
                running.request("GET", "/info/")
                break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(1)
        yield running
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def read_map(content: bytes, tmp_path: Path) -> nibabel.Nifti1Image:
    path = tmp_path / f"{uuid.uuid4().hex}.nii.gz"
    path.write_bytes(content)
    return nibabel.load(path)


def assert_same_place_and_levels(found: nibabel.Nifti1Image, folder: Path) -> None:
    wanted = nibabel.load(folder / "heatmap.nii.gz")
    assert np.allclose(found.affine, wanted.affine, atol=1e-3)
    assert found.get_data_dtype() == np.uint8
    heat = wanted.get_fdata()
    clear = np.all([abs(heat - level) > 1e-3 for level in LEVELS], axis=0)
    assert np.array_equal(found.get_fdata()[clear], np.digitize(heat, LEVELS)[clear])
    assert set(np.unique(np.digitize(heat, LEVELS))) == {0, 1, 2, 3}


def test_label_scores_shuffled_dicom_like_predict_and_puts_the_map_in_its_place(label, shuffled, predicted, tmp_path):
    result, heatmap = label.infer(f"?image={shuffled}")
    assert_same_slices(result["slices"], predicted["dicom"])
    summary = json.loads((predicted["dicom"] / "summary.json").read_text())
    for name in (
        *("threshold", "n_slices", "n_evaluated", "n_compressed", "longest_run_slices", "longest_run_mm"),
        *("patient_rule", "patient_threshold", "patient_compressed"),
    ):
        assert result[name] == summary[name], name
    assert result["threshold"] == pytest.approx(THRESHOLD)
    assert result["class"] == "compressed"
    assert result["label_names"] == {"heat_low": 1, "heat_medium": 2, "heat_high": 3}
    assert_same_place_and_levels(read_map(heatmap, tmp_path), predicted["dicom"])


def test_label_scores_an_uploaded_zip_like_its_folder(label, shuffled, predicted, tmp_path):
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as content:
        for path in shuffled.iterdir():
            content.write(path, path.name)
    result, heatmap = label.infer(file=("study.zip", archive.read_bytes()))
    assert [one["logit"] for one in result["slices"]] == pytest.approx(logits_of(predicted["dicom"]), abs=TOLERANCE)
    assert_same_place_and_levels(read_map(heatmap, tmp_path), predicted["dicom"])


def test_label_scores_nifti_uploaded_or_from_its_studies_like_predict(label, volume, predicted, tmp_path):
    for query, parts in (("", {"file": ("any.nii.gz", volume.read_bytes())}), ("?image=one", {})):
        result, heatmap = label.infer(query, **parts)
        assert [one["logit"] for one in result["slices"]] == pytest.approx(logits_of(predicted["nifti"]), abs=TOLERANCE)
        assert_same_place_and_levels(read_map(heatmap, tmp_path), predicted["nifti"])


def test_label_refuses_a_folder_of_several_stacks_with_the_reason(label, cohort):
    with pytest.raises(urllib.error.HTTPError) as caught:
        label.infer(f"?image={cohort / 'dicom'}")
    caught.value.close()
    deadline = time.monotonic() + 30
    while "stacks where one is expected" not in label.log.read_text():  # the log follows the answer
        assert time.monotonic() < deadline, label.log.read_text()[-3000:]
        time.sleep(0.2)


def test_labels_threshold_is_the_users(label, shuffled):
    params = json.dumps({"threshold": 1e-9})
    result, _ = label.infer(f"?image={shuffled}", params=params)
    assert (result["class"], result["n_compressed"]) == ("compressed", len(result["slices"]))


def test_label_and_predict_agree_on_a_real_scan(label, real_data, weights, tmp_path):
    source = real_data / "gm_challenge_t2star" / "sub-9418_run-1_T2starw.nii.gz"
    call = {"weights": str(weights), "allow_phantom_weights": True, "precision": "fp32"}
    assert predict(str(source), out=str(tmp_path), **call) == 0
    result, _ = label.infer(f"?image={source}")
    wanted = logits_of(next(tmp_path.glob("*/slices.csv")).parent)
    assert [one["logit"] for one in result["slices"]] == pytest.approx(wanted, abs=TOLERANCE)


def test_wrong_weights_are_an_error_in_label_and_no_random_numbers(label, shuffled, weights):
    model = label.bundle / "models" / "model.pt"
    other = CordCompressionNet([8], architecture=SMALL["architecture"])
    try:
        checkpoints.save(model, other, {})
        with pytest.raises(urllib.error.HTTPError) as caught:
            label.infer(f"?image={shuffled}")
        caught.value.close()
        assert caught.value.code == 500
        deadline = time.monotonic() + 30
        while "the weights belong to another network" not in label.log.read_text():  # the log follows the answer
            assert time.monotonic() < deadline, label.log.read_text()[-3000:]
            time.sleep(0.2)
    finally:
        shutil.copyfile(weights, model)


def test_label_trains_from_labels(label, volume):
    image = nibabel.load(volume)
    mask = np.zeros(image.shape, np.uint8)
    mask[40:60, 40:60, ::2] = 1  # every other slice is labelled compressed
    path = volume.with_name("mask.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, image.affine), path)
    for name in ("one", "two"):
        label.form("PUT", f"/datastore/label?image={name}&tag=final", label=("mask.nii.gz", path.read_bytes()))
    model = label.bundle / "models" / "model.pt"
    before = checkpoints.read(model)
    settings = json.dumps({"max_epochs": 1, "val_split": 0.5, "pretrained": True}).encode()
    label.request("POST", f"/train/{NAME}?run_sync=true", settings, "application/json")
    trained = checkpoints.read(model)
    (epoch,) = read_rows(label.bundle / "runs" / "train" / "history.csv")
    assert (epoch["epoch"], trained["epoch"]) == ("1", 1), label.log.read_text()[-3000:]
    assert trained["trained_on"]["slices"] == image.shape[2]
    assert trained["trained_on"]["phantom"] is False
    assert not torch.equal(trained["model"]["head.logit.weight"], before["model"]["head.logit.weight"])


@pytest.fixture(scope="module")
def application(tmp_path_factory) -> tuple[Path, Path]:
    """The Python of the Deploy environment, and the application's folder."""
    folder = tmp_path_factory.mktemp("deploy") / "app"
    deploy(out=str(folder))
    return install("deploy"), folder


@pytest.fixture(scope="module")
def exported(packed) -> Path:
    assert export(bundle=str(packed)) == 0
    return packed.parent / "exports" / "model.ts"


def run_application(application: tuple[Path, Path], inputs: Path, out: Path, model: Path, **more: str) -> Any:
    python, folder = application
    environment = {**server_environment(), "OMP_NUM_THREADS": "1", **more}
    command = [str(python), str(folder), "-i", str(inputs), "-o", str(out), "-m", str(model)]
    return subprocess.run(command, env=environment, cwd=out.parent, capture_output=True, text=True, check=False)


def changed_copy(source: Path, target: Path, suffix: int, **changes: Any) -> None:
    """Copy a series under new UIDs with some tags changed; a callable gets the number of the file."""
    target.mkdir(parents=True)
    for number, path in enumerate(sorted(source.iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = f"2.25.{suffix}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.{suffix}.{number}"
        for keyword, value in changes.items():
            setattr(dataset, keyword, value(number) if callable(value) else value)
        dataset.save_as(target / path.name)


def test_deploy_agrees_with_predict_among_distractors_and_writes_valid_dicom(
    application, exported, axial_series, shuffled, predicted, tmp_path
):
    study = tmp_path / "study"
    shutil.copytree(shuffled, study / "t2")
    changed_copy(axial_series, study / "t1", 11, EchoTime="10", RepetitionTime="500")
    changed_copy(axial_series, study / "stir", 12, ScanningSequence=["SE", "IR"], InversionTime="150")
    changed_copy(axial_series, study / "map", 13, ImageType=["DERIVED", "SECONDARY", "ADC"])
    (study / "notes.txt").write_text("no image")
    ended = run_application(application, study, tmp_path / "out", exported)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (folder,) = (tmp_path / "out").iterdir()
    result = json.loads((folder / "result.json").read_text())
    table = read_rows(predicted["dicom"] / "slices.csv")
    assert_same_slices(result["slices"], predicted["dicom"])
    uncalibrated = [probability(float(row["logit"])) >= THRESHOLD for row in table]
    assert uncalibrated != [row["compressed"] == "1" for row in table]
    summary = json.loads((predicted["dicom"] / "summary.json").read_text())
    same = (
        "series_uid",
        "slope",
        "intercept",
        "threshold",
        "threshold_source",
        "patient_rule",
        "patient_threshold",
        "patient_threshold_source",
        "patient_compressed",
        "n_compressed",
        "longest_run_slices",
        "longest_run_mm",
        "weights_sha256",
        "trained_on_phantom",
    )
    assert {name: result[name] for name in same} == {name: summary[name] for name in same}
    written = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
    kinds = sorted(dataset.SOPClassUID.name for dataset in written)
    captures = ["Secondary Capture Image Storage"] * len(table)
    assert kinds == sorted(["Basic Text SR Storage", "Comprehensive 3D SR Storage", *captures])
    assert {dataset.StudyInstanceUID for dataset in written} == {result["study_uid"]}


def test_deploys_dicom_passes_the_validator(application, exported, shuffled, tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    # a container keeps its model as models/<name>/<file>
    container = tmp_path / "models" / "cord_compression"
    container.mkdir(parents=True)
    shutil.copy(exported, container)
    ended = run_application(application, shuffled, tmp_path / "out", container.parent)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    files = sorted((tmp_path / "out").glob("*/*.dcm"))
    assert files
    for path in files:
        checked = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        assert [line for line in checked.stderr.splitlines() if line.startswith(("Error", "Abort"))] == []


def test_deploy_says_why_nothing_fits_and_fails(application, exported, packed, axial_series, tmp_path):
    study = tmp_path / "study"
    changed_copy(axial_series, study / "echoes", 23, EchoNumbers=lambda n: str(1 + n % 2))
    changed_copy(axial_series, study / "slopes", 21, RescaleIntercept="0", RescaleSlope=lambda n: str(1 + n))
    changed_copy(axial_series, study / "t1", 22, EchoTime="10", RepetitionTime="500")
    dicom_fixtures.write(dicom_fixtures.enhanced_t2(), study / "enhanced")
    # a bundle's folder serves as model, too
    (packed / "models" / "model.ts").unlink(missing_ok=True)
    shutil.copy(exported, packed / "models")
    ended = run_application(application, study, tmp_path / "out", packed, CORD_ALLOW_PHANTOM_WEIGHTS="true")
    assert ended.returncode == 2
    message = ended.stderr[ended.stderr.index("error: no axial T2 series") :]
    assert "series 2.25.21: RescaleSlope or RescaleIntercept varies by slice" in message
    assert "series 2.25.22: T1-weighted" in message
    assert "series 2.25.23: its series holds" in message
    assert "send one stack per series" in message
    assert "enhanced multi-frame" in message


def test_deploy_lets_phantom_weights_score_no_patient(application, exported, real_data, tmp_path):
    ended = run_application(application, real_data / "nema_axial_dicom", tmp_path / "out", exported)
    assert ended.returncode == 2
    assert "trained on a synthetic phantom and know no real patient" in ended.stderr
    assert "STIR" in ended.stderr


def test_deploy_and_predict_agree_on_a_real_scan(application, exported, real_data, weights, tmp_path):
    source = real_data / "nema_axial_dicom"
    call = {"weights": str(weights), "allow_phantom_weights": True, "precision": "fp32"}
    assert predict(str(source), out=str(tmp_path / "p"), **call) == 0
    allowed = {"CORD_ALLOW_PHANTOM_WEIGHTS": "true"}
    ended = run_application(application, source, tmp_path / "out", exported, **allowed)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = json.loads(next((tmp_path / "out").glob("*/result.json")).read_text())
    wanted = logits_of(next(tmp_path.glob("p/*/slices.csv")).parent)
    assert [one["logit"] for one in result["slices"]] == pytest.approx(wanted, abs=TOLERANCE)


def test_the_packager_reads_the_application(application):
    python, folder = application
    program = (
        "import sys; from pathlib import Path; from holoscan_cli.packager.config_reader import ApplicationConfiguration"
        "; a = ApplicationConfiguration(); a.read(Path(sys.argv[1])); print(a.title())"
    )
    ended = subprocess.run(
        [str(python), "-c", program, str(folder / "app.yaml")], capture_output=True, text=True, check=False
    )
    assert ended.stdout.strip() == "Cervical cord compression", ended.stderr
    command = [str(python), "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index"]
    ended = subprocess.run(
        [*command, "-r", str(folder / "requirements.txt")], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "Would install" not in ended.stdout  # all of it is there, in the versions it names
    assert (folder / "__main__.py").is_file()


@pytest.fixture(scope="module")
def cords(tmp_path_factory) -> Path:
    """A series of bright cords of 12 x 6 mm in canals of 18 x 12 mm, and a slice with neither."""
    rows, columns = np.mgrid[:SIZE, :SIZE]

    def pixels(index: int) -> bytes:
        grey = np.random.default_rng(index).integers(0, 100, (SIZE, SIZE))
        for level, height, width in ((600, 12, 18), (1000, 6, 12)) if index != 3 else ():
            away = ((rows - 44 - index) / height) ** 2 + ((columns - 52 + index) / width) ** 2
            grey[away <= 0.25] = level
        return grey.astype(np.uint16).tobytes()

    folder = tmp_path_factory.mktemp("cords")
    write_t2(folder, n=7, PixelData=pixels)
    return folder


@pytest.fixture(scope="module")
def second(cords, tmp_path_factory) -> tuple[Path, Path]:
    """A bundle with a localiser, all tasks and neighbours in the channels, whose maps explain the grade.

    Returns:
        the packed folder, and the results of the predict command.
    """
    torch.manual_seed(4)
    folder, tasks = tmp_path_factory.mktemp("second"), [task.name for task in TASKS]
    network = CordCompressionNet(SMALL["head"], architecture=SMALL["architecture"], tasks=tasks, branch="layer4")
    for head in (network.head, *(branch.head for branch in network.branches.values())):
        head.logit.weight.data.mul_(10)
    content = {**localiser.describe([1, 1], 64), "model": bright_canal_net().state_dict()}
    settings = checkpoints.describe(
        SMALL["architecture"], SMALL["head"], 64, 1.0, "imagenet", side_mm=60.0, context=1, tasks=tasks,
        canal=localiser.make_localiser(content, "test"), branch="layer4",
    )  # fmt: skip
    weights = folder / "model.pt"
    checkpoints.save(weights, network, settings)
    assemble(out=str(folder / "build"), weights=str(weights), local=True)
    packed = in_float32(folder / "build" / NAME, heatmap_task="grade")
    call = {"weights": str(weights), "heatmap_task": "grade", "precision": "fp32"}
    assert predict(str(cords), out=str(folder / "out"), **call) == 0
    return packed, next(folder.glob("out/*/slices.csv")).parent


def assert_same_results(found: list[dict[str, Any]], folder: Path) -> None:
    """Compare every cell of a client's slices but those of whose they are: logits, crops, measures, tasks."""
    wanted = read_rows(folder / "slices.csv")
    assert len(found) == len(wanted)
    for one, row in zip(found, wanted, strict=True):
        for name in set(row) - {"patient_id", "series_uid", "notice"}:
            cell = "" if one[name] is None else one[name]
            if isinstance(cell, float):
                assert cell == pytest.approx(float(row[name]), rel=TOLERANCE, abs=TOLERANCE), name
            else:
                assert str(cell) == row[name], name


def test_the_second_case_has_crops_measures_calls_and_contradictions(second):
    rows = read_rows(second[1] / "slices.csv")
    assert [row["crop"] for row in rows] == ["canal"] * 3 + ["central"] + ["canal"] * 3
    assert all(any(row[name] for row in rows) for name in (*MEASURE_COLUMNS, "contradiction"))
    summary = read_json(second[1] / "summary.json")
    assert set(TASK_FINDINGS) <= set(summary)
    assert summary["heatmap_task"] == "grade"


def test_label_gives_crops_measures_and_tasks_like_predict(second, volume, cords, tmp_path):
    packed, wanted = second
    with served(packed, volume, tmp_path) as server:
        result, heatmap = server.infer(f"?image={cords}")
    assert_same_results(result["slices"], wanted)
    summary = read_json(wanted / "summary.json")
    same = (*TASK_FINDINGS, "heatmap_task", "n_evaluated")
    assert {name: result[name] for name in same} == {name: summary[name] for name in same}
    assert result["smallest_cord_ap_mm"] == pytest.approx(summary["smallest_cord_ap_mm"], rel=TOLERANCE)
    levels, heat = read_map(heatmap, tmp_path).get_fdata(), nibabel.load(wanted / "heatmap.nii.gz").get_fdata()
    clear = np.all([abs(heat - level) > 1e-3 for level in LEVELS], axis=0)
    assert np.array_equal(levels[clear], np.digitize(heat, LEVELS)[clear])


def test_deploy_gives_crops_measures_and_tasks_like_predict(second, application, cords, tmp_path):
    packed, wanted = second
    assert export(bundle=str(packed), images=str(cords)) == 0
    model = packed.parent / "exports" / "model.ts"  # alone
    ended = run_application(application, cords, tmp_path / "out", model)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (folder,) = (tmp_path / "out").iterdir()
    result, summary = read_json(folder / "result.json"), read_json(wanted / "summary.json")
    assert_same_results(result["slices"], wanted)
    same = (*TASK_FINDINGS, "heatmap_task", "warnings")
    assert {name: result[name] for name in same} == {name: summary[name] for name in same}
    assert len(list(folder.glob("*.dcm"))) == len(result["slices"]) + 2  # each capture, and two reports
    written = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
    (text,) = (one for one in written if one.SOPClassUID.name == "Basic Text SR Storage")
    assert f"Highest grade: {summary['highest_grade']}." in text.ContentSequence[0].TextValue
    assert summary["warnings"] in text.ContentSequence[0].TextValue


def test_the_packed_bundle_runs_by_itself_like_predict(second, cords, tmp_path):
    packed, wanted = second
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    arguments = ["--dataset_dir", str(cords), "--output_dir", str(tmp_path)]
    ended = subprocess.run([*command, *arguments], cwd=packed, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert read_rows(next(tmp_path.glob("*/slices.csv"))) == read_rows(wanted / "slices.csv")
