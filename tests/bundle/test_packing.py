"""Packing, checking and exporting the bundle."""

from __future__ import annotations

import ast
import json
import math
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from conftest import HOSTILE, ROOT, SMALL
from csv_rows import read_rows
from monai.bundle import ConfigParser
from tiny_models import write_t2

from bundle import checks, environments
from bundle.__main__ import COMMANDS
from bundle.assemble import NAME, assemble, compress, describe_weights
from bundle.deploy_folder import deploy
from bundle.export import export
from bundle.exporting import TOLERANCE, compare, write_torchscript
from bundle.label import label
from bundle.verify import verify
from scripts import checkpoints
from scripts.__main__ import main
from scripts.errors import InputError
from scripts.files import read_json, write_json
from scripts.records import PATIENT_RULES

VERSION = read_json(ROOT / "configs" / "metadata.json")["version"]


def operating_points(**facts) -> dict:
    return {
        "points": {"youden": {"logit": -1.25}, "sensitivity_95": {"logit": None, "status": "unattained"}},
        "patient_level": {"points": {"youden": {rule: {"score": 1.25, "status": "chosen"} for rule in PATIENT_RULES}}},
        "calibration": {"slope": 2.0, "intercept": 0.5},
        "baseline": {"slope": 1.0, "intercept": -1.335},
        "chosen_on": {"n_patients": 12, "n_slices": 402},
        "facts": facts,
    }


@pytest.fixture(scope="module")
def packed(small_weights, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("build") / HOSTILE
    points = out / "operating_points.json"
    write_json(points, operating_points(weights_sha256=checkpoints.sha256(small_weights), phantom=True))
    assemble(out=str(out), weights=str(small_weights), local=True, operating_points=str(points))
    return out / NAME


@pytest.fixture
def copied(packed, tmp_path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / NAME))


def test_only_what_the_allow_list_names_travels(packed):
    top = {path.name for path in packed.iterdir()}
    assert top == {"LICENSE", "configs", "docs", "scripts", "models"}
    suffixes = {path.suffix for path in (packed / "scripts").rglob("*") if path.is_file()}
    assert suffixes == {".py", ".html"}
    assert checks.check_files(packed, local=True) == []


def test_packed_configs_describe_the_network_of_the_weights(packed):
    for name in ("inference.json", "train.json"):
        config = read_json(packed / "configs" / name)
        assert {key: config[key] for key in ("architecture", "head", "image_size", "crop_fraction")} == {
            key: SMALL[key] for key in ("architecture", "head", "image_size", "crop_fraction")
        }
    metadata = read_json(packed / "configs" / "metadata.json")
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [64, 64]
    assert "synthetic phantom" in metadata["description"]


def test_several_tasks_are_described_in_configs_and_metadata(tmp_path):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    tasks = ["compressed", "grade", "kind", "t2_signal"]
    content = checkpoints.describe("timm:resnet18", [8], 64, 0.5, "imagenet", tasks=tasks, branch="layer4")
    describe_weights(tmp_path, content, local=True)
    for name in ("inference.json", "train.json"):
        config = read_json(tmp_path / "configs" / name)
        assert {key: config[key] for key in checkpoints.SETTINGS} == {key: content[key] for key in checkpoints.SETTINGS}
    metadata = read_json(tmp_path / "configs" / "metadata.json")
    assert metadata["network_interface"]["output"]["logits"] == content["interface"]["output"]["logits"]
    assert metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == 8
    assert checks.check_interface(tmp_path, metadata) == []
    assert checks.check_schema(metadata) == []


def test_the_operating_point_becomes_the_threshold_of_all_clients(packed):
    inference, metadata = (read_json(packed / "configs" / f"{name}.json") for name in ("inference", "metadata"))
    threshold = inference["displayable_configs"]["threshold"]
    assert math.log(threshold / (1 - threshold)) == pytest.approx(0.5 + 2 * -1.25)
    source = "operating point youden, chosen on 12 phantom patients, calibrated"
    calibration = {"slope": 2.0, "intercept": 0.5}
    of_patients = {"rule": "top_3_mean", "threshold": 1.25, "source": source.removesuffix(", calibrated")}
    stated = {"probability": threshold, **calibration, "source": source, "patient_level": of_patients}
    assert metadata["threshold"] == stated
    assert {name: inference["patient_level"][name] for name in of_patients} == of_patients
    assert inference["threshold_source"] == source
    assert {name: inference["calibration"][name] for name in calibration} == calibration


@pytest.mark.parametrize("profile", ["imagenet", "paper"])
def test_whoever_follows_the_metadata_alone_gets_the_probabilities_of_predict(profile, tmp_path, small_weights):
    content = torch.load(small_weights, weights_only=True) | {"profile": profile}
    weights = tmp_path / "weights.pt"
    torch.save(content, weights)
    points = tmp_path / "operating_points.json"
    write_json(points, operating_points(weights_sha256=checkpoints.sha256(weights)))
    assemble(out=str(tmp_path), weights=str(weights), local=True, operating_points=str(points))
    configs, model = tmp_path / NAME / "configs", tmp_path / "model.ts"
    parser = ConfigParser(read_json(configs / "inference.json"))
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(content["model"])
    write_torchscript(network, model, read_json(configs / "metadata.json"), configs / "inference.json")
    files = write_t2(tmp_path / "study", PixelSpacing=[1.7, 1.7])
    main(["predict", str(tmp_path / "study"), "--out", str(tmp_path / "out"), "--weights", str(weights),
          "--operating_points", str(points), "--precision", "fp32", "--allow_phantom_weights", "true"])  # fmt: skip

    # from here on, only the metadata in the exported model speak
    extra = {"metadata.json": ""}
    network = torch.jit.load(str(model), _extra_files=extra).eval()
    said = json.loads(extra["metadata.json"])
    takes, gives = said["network_interface"]["input"], said["network_interface"]["output"]
    grey = parser.get_parsed_content("preprocessing")({"image": [str(path) for path in files]})["image"].as_tensor()[0]
    mean, std = (torch.tensor(takes[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    image = (grey.permute(2, 0, 1)[:, None].expand(-1, 3, -1, -1) - mean) / std
    low, high = said["network_data_format"]["inputs"]["image"]["value_range"]
    assert low - 1e-5 <= image.min() < image.max() <= high + 1e-5
    with torch.no_grad():
        logits = network(image)
    assert gives["logits"] == ["compressed"]
    assert gives["activation"] == "sigmoid"
    probabilities = torch.sigmoid(gives["intercept"] + gives["slope"] * logits.double())[:, 0]
    rows = read_rows(next((tmp_path / "out").glob("*/slices.csv")))
    assert probabilities.tolist() == pytest.approx([float(row["probability"]) for row in rows], abs=1e-5)
    assert len({row["probability"] for row in rows}) > 1


def test_the_zip_holds_the_folder_and_the_same_content_gives_the_same_bytes(packed, tmp_path):
    with zipfile.ZipFile(packed.with_suffix(".zip")) as archive:
        names = set(archive.namelist())
    assert names == {str(path.relative_to(packed.parent)) for path in packed.rglob("*") if path.is_file()}
    compress(packed / "configs", tmp_path / "a.zip")
    compress(packed / "configs", tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_large_weights_need_an_address_and_are_named_with_their_hash(small_weights, tmp_path, monkeypatch):
    assert small_weights.stat().st_size > checks.LARGEST_WEIGHTS_BYTES
    monkeypatch.setattr("bundle.assemble.check", lambda *_: [])  # the checks have tests of their own
    with pytest.raises(InputError, match="give its address with --url"):
        assemble(out=str(tmp_path), weights=str(small_weights))
    assert list(tmp_path.iterdir()) == []
    url = "https://example.org/model.pt"
    assemble(out=str(tmp_path), weights=str(small_weights), url=url)
    (entry,) = yaml.safe_load((tmp_path / NAME / "large_files.yml").read_text())["large_files"]
    digest = checkpoints.sha256(small_weights)
    assert entry == {"path": "models/model.pt", "url": url, "hash_val": digest, "hash_type": "sha256"}
    assert not (tmp_path / NAME / "models").exists()


def test_nothing_is_replaced_unasked_and_nothing_left_half_done(packed, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="exists; choose another --out"):
        assemble(out=str(packed.parent))
    monkeypatch.setattr("bundle.assemble.check", lambda *_: ["something is wrong"])
    with pytest.raises(InputError, match="something is wrong"):
        assemble(out=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "point", "message"),
    [
        (operating_points(), "specificity", "no operating point 'specificity'; it has youden, sensitivity_95"),
        (operating_points(), "sensitivity_95", "no threshold: unattained"),
        ({"points": {"youden": {"logit": 0.0}}}, "youden", "is not an operating_points.json .*facts.* make it anew"),
        (operating_points() | {"calibration": {"slope": -1, "intercept": 0}}, "youden", "slope above 0, got -1"),
        ([], "youden", "is not an operating_points.json .* make it anew"),
    ],
)
def test_an_operating_point_that_is_not_there_is_refused(tmp_path, content, point, message):
    write_json(tmp_path / "points.json", content)
    with pytest.raises(InputError, match=message):
        assemble(out=str(tmp_path / "out"), operating_points=str(tmp_path / "points.json"), operating_point=point)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", "9.9.9", f"pyproject.toml has version {VERSION}, metadata.json 9.9.9"),
        ("version", "9.9.9", "version 9.9.9 is not in metadata.json's changelog"),
        ("task", 3, "metadata.json, $.task: 3 is not of type 'string'"),
        ("authors", None, "'authors' is a required property"),
        ("threshold", {"probability": 0.9}, "inference.json has the threshold"),
        ("threshold", {"slope": 3.0}, "inference.json has the slope 2.0, metadata.json 3.0"),
        ("network_interface", {}, "metadata.json's network_interface is {}, inference.json gives"),
    ],
)
def test_each_mistake_in_the_metadata_is_found(copied, key, value, message):
    path = copied / "configs" / "metadata.json"
    metadata = read_json(path)
    metadata[key] = value
    if value is None:
        del metadata[key]
    write_json(path, metadata)
    problems = checks.check(copied, local=True)
    assert [problem for problem in problems if message in problem], problems


def test_references_among_the_training_handlers_are_found_for_monai_label(copied):
    path = copied / "configs" / "train.json"
    config = read_json(path)
    config["train"]["handlers"].append("@train#history")
    write_json(path, config)
    (problem,) = checks.check_keys(copied)
    assert problem == "configs/train.json: train#handlers holds references; MONAI Label needs literal objects"


def test_a_config_that_does_not_instantiate_elsewhere_is_found(copied):
    path = copied / "configs" / "inference.json"
    config = read_json(path)
    config["inferer"]["_target_"] = "scripts.inferers.NoSuchInferer"
    write_json(path, config)
    (problem,) = checks.check_instances(copied)
    assert "NoSuchInferer" in problem


def test_files_that_are_missing_too_large_or_foreign_are_found(copied):
    (copied / "LICENSE").unlink()
    (copied / "docs" / "large.txt").write_bytes(bytes(1_000_001))
    (copied / "tests").mkdir()
    (copied / "tests" / "test_a.py").touch()
    problems = checks.check_files(copied)
    assert "LICENSE is missing" in problems
    assert "docs/large.txt has 1.0 MB, more than the zoo's 1" in problems
    assert "tests/test_a.py must not be in the bundle" in problems
    assert any(problem.startswith("models/model.pt has 4") for problem in problems)


@pytest.mark.slow
def test_the_zoos_gate_passes_on_a_copy_elsewhere_and_fails_on_a_damaged_one(copied, capsys):
    assert verify(str(copied), local=True) == 0
    said = capsys.readouterr().out
    assert re.findall(r"^ok +(.*)$", said, re.M) == [
        *("files", "weights", "version and changelog", "keys", "schema", "threshold"),
        *("network interface", "verify_net_in_out", "ckpt_export", "formatting"),
    ]
    (copied / "models" / "model.pt").unlink()
    path = copied / "scripts" / "losses.py"
    path.write_text(path.read_text() + "x = {'a':1}\n")
    metadata = read_json(copied / "configs" / "metadata.json")
    metadata["network_data_format"]["outputs"]["pred"]["num_channels"] = 2
    write_json(copied / "configs" / "metadata.json", metadata)
    assert verify(str(copied), local=True) == 1
    wrong = re.findall(r"^wrong +(.*)$", capsys.readouterr().out, re.M)
    assert wrong == ["weights", "verify_net_in_out", "ckpt_export", "formatting"]


@pytest.mark.slow
def test_every_export_agrees_with_the_network_on_slices(packed, axial_series, small_weights, tmp_path):
    assert export(bundle=str(packed), out=str(tmp_path), images=str(axial_series)) == 0
    report = read_json(tmp_path / "exports.json")
    assert set(report["exports"]) == {"eager", "model.ts", "model.onnx", "model.pt2"}
    assert report["weights_sha256"] == checkpoints.sha256(small_weights)
    assert report["n_slices"] == len(list(axial_series.iterdir()))
    extra = {"metadata.json": "", "inference.json": ""}
    torch.jit.load(str(tmp_path / "model.ts"), _extra_files=extra)
    assert json.loads(extra["inference.json"]) == read_json(packed / "configs" / "inference.json")
    metadata = read_json(packed / "configs" / "metadata.json")
    known = {"trained_on_phantom": True, "epoch": None, "pos_weight": None, "training_precision": None}
    weights = {"weights_sha256": checkpoints.sha256(small_weights), **known}
    assert json.loads(extra["metadata.json"]) == {**metadata, "weights": weights}


def test_an_export_that_computes_something_else_for_one_slice_is_noticed():
    runs = {"eager": lambda image: image.sum((1, 2, 3))[:, None], "same": lambda image: image.sum((1, 2, 3))[:, None]}
    runs["wrong"] = lambda image: image.sum((1, 2, 3))[:, None] + torch.eye(len(image))[:, -1:] * 2 * TOLERANCE
    report = compare(runs, torch.rand(3, 3, 4, 4))
    assert report["same"]["largest_difference"] == 0
    assert report["wrong"]["largest_difference"] >= TOLERANCE


def test_the_deploy_folder_holds_pipeline_scripts_and_what_the_packager_wants(tmp_path):
    deploy(out=str(tmp_path / "app"))
    assert {path.name for path in (tmp_path / "app").iterdir()} == {
        *("__main__.py", "app.yaml", "requirements.txt", "deploy", "scripts")
    }
    with pytest.raises(InputError, match="exists"):
        deploy(out=str(tmp_path / "app"))
    deploy(out=str(tmp_path / "app"), force=True)
    with pytest.raises(InputError, match="exists"):
        deploy(out=str(tmp_path), force=True)  # no application: never replaced
    application = yaml.safe_load((tmp_path / "app" / "app.yaml").read_text().split("---")[1])
    assert application["application"]["version"] == read_json(ROOT / "configs" / "metadata.json")["version"]
    assert set(application["resources"]) == {"cpu", "gpu", "memory", "gpuMemory"}


# module: the package that brings it
BRINGS = {"PIL": "pillow", "ignite": "pytorch-ignite", "monai.deploy": "monai-deploy-app-sdk"}


def third_parties(path: Path) -> set[str]:
    """Names of the packages that a file imports, its own and Python's left out."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        names |= {"monai.deploy" if name.startswith("monai.deploy") else name.split(".")[0] for name in found}
    return {BRINGS.get(name, name) for name in names} - {*sys.stdlib_module_names, "scripts", "deploy", ""}


def test_deploys_requirements_name_all_that_the_pipeline_imports():
    text = (ROOT / "bundle" / "deploy" / "requirements.txt").read_text()
    required = {re.split(r"[<>=]", line)[0] for line in text.split()}
    imported = set().union(*(third_parties(path) for path in (ROOT / "bundle" / "deploy").glob("*.py")))
    assert imported <= required
    assert {"highdicom", "itk", "tqdm", "pytorch-ignite", "holoscan-cu13"} <= required


def test_an_environment_is_named_after_its_requirements_and_ready_only_when_complete(tmp_path, monkeypatch):
    monkeypatch.setenv("CORD_ENVIRONMENTS", str(tmp_path / "cache"))
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    monkeypatch.setitem(environments.ENVIRONMENTS, "empty", ("empty.txt",))
    (tmp_path / "empty.txt").write_text("")
    assert environments.installed("empty") is None
    python = environments.install("empty")
    assert environments.installed("empty") == python
    ended = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True)
    assert Path(ended.stdout.strip()) == python.parent.parent
    before = environments.environment_folder("empty")
    (tmp_path / "empty.txt").write_text("no-such-package-anywhere-1234 @ file:///nowhere\n")
    assert environments.environment_folder("empty") != before
    with pytest.raises(InputError, match=r"pip could not install empty\.txt"):
        environments.install("empty")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [before.name]
    with pytest.raises(InputError, match="unknown environment 'slicer'; expected label or deploy"):
        environments.install("slicer")


def test_label_says_what_is_missing_and_installs_nothing_by_surprise(copied, tmp_path, monkeypatch):
    monkeypatch.setenv("CORD_ENVIRONMENTS", str(tmp_path / "none"))
    with pytest.raises(InputError, match="not installed; add --install"):
        label(str(tmp_path), bundle=str(copied), workspace=str(tmp_path / "w"))
    with pytest.raises(InputError, match="is no folder; make one"):
        label(str(tmp_path / "absent"), bundle=str(copied))
    (copied / "models" / "model.pt").unlink()
    with pytest.raises(InputError, match=r"no models/model\.pt; pack it"):
        label(str(tmp_path), bundle=str(copied))
    with pytest.raises(InputError, match="is no packed bundle"):
        label(str(tmp_path), bundle=str(tmp_path))


def test_the_packer_lists_its_commands_as_a_program():
    ended = subprocess.run([sys.executable, "-m", "bundle"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert re.findall(r"^  (\w+) ", ended.stdout, re.M) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_packer_explains_itself(name, capsys):
    assert main([name, "--help"], COMMANDS, "bundle") == 0
    said = capsys.readouterr().out
    assert f"python -m bundle {name} - " in said
    assert main([name, "--no-such-flag"], COMMANDS, "bundle") == 2
    assert "unknown option --no-such-flag" in capsys.readouterr().err
