"""predict, MONAI Label and MONAI Deploy write the same slices; no client's environment is needed here.

Deploy's classifier runs as it is; the few names it takes from the SDK are stood in for.
"""

from __future__ import annotations

import json
import sys
import types
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, SMALL
from csv_rows import read_rows
from monai.bundle import ConfigParser
from monai.transforms import Compose
from tiny_models import write_t2

from bundle.exporting import write_torchscript
from scripts import checkpoints
from scripts.dicom.sources import one_stack, scan
from scripts.files import read_json, write_json
from scripts.networks import CordCompressionNet
from scripts.readers import decode
from scripts.records import SeriesSummary, probability
from scripts.runner import run_config

SLOPE, INTERCEPT, THRESHOLD = 2.0, 0.5, 0.119
SETTINGS = {name: value for name, value in SMALL.items() if name in checkpoints.SETTINGS}


def bundle_config(path: str, names: list[str]) -> ConfigParser:
    """Read the configs that an exported model carries, as the SDK does."""
    with zipfile.ZipFile(path) as archive:
        texts = {Path(name).name: archive.read(name) for name in archive.namelist() if name.endswith(".json")}
    parser = ConfigParser()
    parser.read_meta(json.loads(texts["metadata.json"]))
    for name in names:
        parser.read_config(json.loads(texts[f"{name}.json"]))
    return parser


def without(transforms: Compose, patterns: list[str]) -> Compose:
    kept = [one for one in transforms.transforms if not any(fnmatch(type(one).__name__, name) for name in patterns)]
    return Compose(kept)


@pytest.fixture
def sdk(monkeypatch):
    """Stand in for the SDK's names, while Deploy's modules are imported."""
    names: dict[str, dict[str, Any]] = {
        "monai.deploy": {},
        "monai.deploy.core": {"Operator": object},
        "monai.deploy.core.domain": {"DICOMSeries": object, "DICOMStudy": object},
        "monai.deploy.core.domain.dicom_series_selection": {"SelectedSeries": object, "StudySelectedSeries": object},
        "monai.deploy.operators": {},
        "monai.deploy.operators.dicom_series_selector_operator": {"DICOMSeriesSelectorOperator": object},
        "monai.deploy.operators.dicom_series_to_volume_operator": {"DICOMSeriesToVolumeOperator": object},
        "monai.deploy.operators.monai_bundle_inference_operator": {
            "DISALLOW_LOAD_SAVE": ["LoadImage*", "SaveImage*"],
            "filter_compose": without,
            "get_bundle_config": bundle_config,
        },
    }
    for name, content in names.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("bundle.deploy.classification", "bundle.deploy.selection"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in ("bundle.deploy.classification", "bundle.deploy.selection"):
        sys.modules.pop(name, None)


def rows_of(folder: Path) -> list[dict[str, str]]:
    return read_rows(next(folder.glob("*/slices.csv")))


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    write_t2(folder, n=6, PixelSpacing=[1.7, 1.7])
    return folder


@pytest.fixture(scope="module")
def weights(series, tmp_path_factory) -> Path:
    """Random weights under which the calibration changes the call of one slice: its logit is -1.5."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(2)
    network = CordCompressionNet(SMALL["head"], architecture=SMALL["architecture"])
    network.head.logit.weight.data.mul_(80)
    path = folder / "model.pt"
    checkpoints.save(path, network, {**SETTINGS, "profile": "imagenet"})
    overrides = {**SETTINGS, "precision": "fp32", "dataset_dir": str(series), "ckpt_path": str(path)}
    run_config(["inference.json"], **overrides, output_dir=str(folder / "out"))
    logits = sorted(float(row["logit"]) for row in rows_of(folder / "out"))
    network.head.logit.bias.data -= logits[2] + 1.5
    checkpoints.save(path, network, {**SETTINGS, "profile": "imagenet"})
    return path


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """inference.json as packing writes it for calibrated weights, in the precision of TorchScript."""
    config = {**read_json(ROOT / "configs" / "inference.json"), **SETTINGS, "precision": "fp32"}
    config["displayable_configs"]["threshold"] = THRESHOLD
    config["patient_level"]["threshold"] = -1e6
    config["calibration"] |= {"slope": SLOPE, "intercept": INTERCEPT}
    return config


def network_of(weights: Path) -> CordCompressionNet:
    network = CordCompressionNet(SMALL["head"], architecture=SMALL["architecture"])
    network.load_state_dict(checkpoints.read(weights)["model"])
    return network.eval()


@pytest.fixture(scope="module")
def predicted(series, weights, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("predicted")
    run_config(
        ["inference.json"],
        **{**SETTINGS, "dataset_dir": str(series), "ckpt_path": str(weights), "output_dir": str(out)},
        **{"calibration__slope": SLOPE, "calibration__intercept": INTERCEPT},
        displayable_configs__threshold=THRESHOLD,
        precision="fp32",
        patient_level__threshold=-1e6,
    )
    return out


@pytest.fixture
def classify(sdk, weights, config, tmp_path) -> Callable[..., Any]:
    """Deploy's classifier of the calibrated bundle."""
    from bundle.deploy.classification import SeriesClassifier

    write_json(tmp_path / "inference.json", config)
    network = network_of(weights)
    facts = checkpoints.load_network(weights, network, {**SETTINGS, "profile": "imagenet"})
    metadata = {**read_json(ROOT / "configs" / "metadata.json"), "weights": facts}
    write_torchscript(network, tmp_path / "model.ts", metadata, tmp_path / "inference.json")
    return SeriesClassifier(tmp_path / "model.ts")


def assert_same_slices(found: list[dict[str, Any]], wanted: list[dict[str, str]]) -> None:
    assert [one["sop_uid"] for one in found] == [row["sop_uid"] for row in wanted]
    for name in ("logit", "probability", "position_mm", "thickness_mm", "threshold"):
        assert [one[name] for one in found] == pytest.approx([float(row[name]) for row in wanted], abs=1e-4)
    assert [one["compressed"] for one in found] == [int(row["compressed"]) for row in wanted]
    assert [one["status"] for one in found] == [row["status"] for row in wanted]


def test_the_calibration_changes_a_call_here(predicted):
    rows = rows_of(predicted)
    uncalibrated = [probability(float(row["logit"])) >= THRESHOLD for row in rows]
    assert [int(call) for call in uncalibrated] != [int(row["compressed"]) for row in rows]


def test_deploy_applies_the_calibration_slice_by_slice(classify, series, predicted):
    stack = one_stack(str(series))
    scored = classify(decode(stack), stack)
    assert_same_slices(scored.rows, rows_of(predicted))
    summary = read_json(next(predicted.glob("*/summary.json")))
    for name in (
        *("slope", "intercept", "threshold", "n_slices", "n_evaluated", "n_compressed", "longest_run_mm"),
        *("patient_rule", "patient_threshold", "patient_compressed"),
    ):
        assert scored.summary[name] == summary[name], name
    assert set(scored.summary) == SeriesSummary.__required_keys__ <= set(summary)
    assert set(scored.rows[0]) == set(rows_of(predicted)[0])


def test_label_applies_the_calibration_slice_by_slice(series, weights, config, predicted):
    parser = ConfigParser(config)
    data: dict[str, Any] = {"image": str(series), "image_path": str(series)}
    data = parser.get_parsed_content("preprocessing")(data)
    with torch.no_grad():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network_of(weights))[0]
    result = parser.get_parsed_content("postprocessing")(data)["result"]
    wanted = rows_of(predicted)
    assert_same_slices(result["slices"], wanted)
    summary = read_json(next(predicted.glob("*/summary.json")))
    for name in ("threshold", "n_slices", "n_evaluated", "n_compressed", "longest_run_slices", "longest_run_mm"):
        assert result[name] == summary[name], name
    assert result["class"] == "compressed"
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def write_two(folder: Path, **changes: Any) -> Path:
    """Write four slices, and four more of the same series with some elements changed."""
    write_t2(folder / "in", n=4)
    write_t2(folder / "upper", n=4, SOPInstanceUID=lambda index: f"2.25.77{index}", **changes)
    for path in (folder / "upper").iterdir():
        path.rename(folder / "in" / f"upper_{path.name}")
    return folder / "in"


@pytest.fixture
def two_stacks(tmp_path) -> Path:
    """One series of two stacks: two echoes."""
    return write_two(tmp_path, EchoTime="120")


def test_label_refuses_a_series_of_several_stacks_with_the_reason(two_stacks, chain):
    with pytest.raises(RuntimeError) as caught:
        chain()({"image": str(two_stacks)})
    error: BaseException | None = caught.value
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    assert "holds 2 stacks where one is expected; give the files of one" in str(error)


def test_deploy_refuses_a_series_of_several_stacks_with_the_reason(sdk, two_stacks):
    from bundle.deploy.selection import reason_against

    stacks, _ = scan(two_stacks)
    assert len({stack.series_uid for stack in stacks}) == 1
    loaded = [one.sop_uid for stack in stacks for one in stack.slices]
    for stack in stacks:
        assert "its series holds 8 images, of which only 4 lie in one stack" in reason_against(stack, loaded, False)


def test_deploy_refuses_slices_at_angles_which_its_sdk_would_stack_up(sdk, tmp_path):
    from bundle.deploy.selection import reason_against

    tilted = [1.0, 0.0, 0.0, 0.0, 0.9848077530122081, 0.17364817766693033]
    upper = {"ImagePositionPatient": lambda index: [-8.0, -8.0, 40.0 + 3.0 * index]}
    (stack,), _ = scan(write_two(tmp_path, ImageOrientationPatient=tilted, **upper))
    loaded = [one.sop_uid for one in stack.slices]
    assert "slices stand at angles" in reason_against(stack, loaded, False)
