"""The localiser's training, its checkpoints, and a classifier that is trained and used behind it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from canal_fixtures import bright_localiser, spots
from conftest import SMALL
from csv_rows import read_rows
from monai.transforms import Compose

from scripts import checkpoints
from scripts.__main__ import main
from scripts.canal.localiser import describe, load_localiser, localiser_of
from scripts.canal.network import CanalNet
from scripts.canal.training import CanalDataset, CanalFieldsd, CanalLoss, centre_error, known_errors
from scripts.checks import check_training
from scripts.errors import InputError
from scripts.files import read_json
from scripts.models.files import weights_sha256
from scripts.networks import CordCompressionNet
from scripts.runner import run_config

TINY = {"channels": [8, 16, 16], "image_size": 32}


def target(size: int = 16, at: tuple[int, int] | None = (5, 9)) -> torch.Tensor:
    drawn = torch.zeros(1, 3, size, size)
    if at is not None:
        drawn[0, 0, at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2] = 1
        drawn[0, 1, at[0] - 2 : at[0] + 3, at[1] - 2 : at[1] + 3] = 1
        drawn[0, 2, at[0], at[1]] = 1
    return drawn


def perfect(wanted: torch.Tensor) -> torch.Tensor:
    return torch.where(wanted > 0.5, 40.0, -40.0)


def test_the_loss_of_a_perfect_answer_is_the_spread_of_its_target():
    wanted = target()
    found = CanalLoss()(perfect(wanted), wanted)
    # nine equal pixels: an entropy of ln 9, in units of ln 256; the masks cost nothing
    assert float(found) == pytest.approx(math.log(9) / math.log(256) / 3, abs=1e-4)
    assert float(CanalLoss()(-perfect(wanted), wanted)) > 10 * float(found)


def test_what_is_not_known_gives_no_gradient():
    wanted = target().repeat(2, 1, 1, 1)
    wanted[0, 1] = wanted[1, 2] = math.nan
    logits = torch.zeros_like(wanted, requires_grad=True)
    CanalLoss()(logits, wanted).backward()
    assert logits.grad.flatten(2).abs().amax(2).gt(0).tolist() == [[True, False, True], [True, True, False]]
    assert float(CanalLoss()(logits.detach(), torch.full_like(wanted, math.nan))) == 0


def test_where_no_canal_is_in_the_picture_an_even_map_is_best():
    wanted = target(at=None)
    even, sure = torch.full((1, 3, 16, 16), -40.0), torch.full((1, 3, 16, 16), -40.0)
    even[:, 0] = 0
    sure[0, 0, 3, 3] = 40
    assert float(CanalLoss()(even, wanted)) == pytest.approx(1 / 3, abs=0.34)
    assert float(CanalLoss()(sure, wanted)) > float(CanalLoss()(even, wanted)) + 1


def test_the_error_of_a_centre_is_its_distance_as_a_share_of_the_side():
    wanted = torch.cat([target(at=(5, 9)), target(at=None)])
    logits = torch.full((2, 3, 16, 16), -1e4)
    logits[:, 0, 8, 13] = 0
    found = centre_error(logits, wanted)
    assert float(found[0]) == pytest.approx(5 / 16)
    assert math.isnan(found[1])
    assert known_errors({"pred": logits, "label": wanted}).tolist() == [[pytest.approx(5 / 16)]]


def test_two_fields_of_view_show_the_same_canal_and_the_third_another_place(tmp_path):
    image = spots([(60.0, 50.0)], size=(200, 160), mm=(0.9, 0.9))
    drawn = torch.cat([image.as_tensor() / 1000, image.as_tensor() / 1000, torch.zeros(2, *image.shape[1:])])
    data = {"image": type(image)(drawn, affine=image.affine)}
    fields = CanalFieldsd("image", 32, side_mm=40, margin=0.25)(data)["image"]
    assert fields.shape == (12, 48, 48, 1)
    for first, mm in ((0, 200 * 0.9 / 32), (4, 40 / 32)):
        grey, centre = fields[first, ..., 0].numpy(), fields[first + 1, ..., 0].numpy()
        place = np.unravel_index(int(centre.argmax()), centre.shape)
        assert grey[place] > 0.9
        wanted = (23.5, 23.5) if first else (23.5 + (60 - 99.5) * 0.9 / mm, 23.5 + (50 - 79.5) * 0.9 / mm)
        assert np.abs(np.array(place) - wanted).max() <= 1.5
    assert float(fields[9].max()) < 0.05  # 63 and 49 mm off: nothing of the canal


def test_weights_have_one_hash_whatever_their_layout_and_another_for_any_change():
    state = {"a": torch.arange(24.0).reshape(2, 3, 2, 2), "b": torch.tensor(3)}
    wide = {"b": state["b"].clone(), "a": state["a"].to(memory_format=torch.channels_last)}
    assert weights_sha256(state) == weights_sha256(wide)
    changed = {**state, "a": state["a"] + torch.eye(2) * 1e-6}
    others = [changed, {"a": state["a"]}, {"c": state["a"], "b": state["b"]}, {**state, "b": torch.tensor(3.0)}]
    assert len({weights_sha256(one) for one in [state, *others]}) == 5


@pytest.fixture(scope="module")
def localiser_weights(tmp_path_factory) -> Path:
    """A localiser without training."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("canal") / "model.pt"
    network = CanalNet(TINY["channels"], TINY["image_size"])
    checkpoints.save(path, network, describe(TINY["channels"], TINY["image_size"]))
    return path


def classifier(path: Path, localiser: Path | None, side_mm: float | None = 60.0, **changes: object) -> Path:
    torch.manual_seed(2)
    canal = load_localiser(None if localiser is None else str(localiser))
    settings = checkpoints.describe("resnet18", [16], 64, 1.0, "imagenet", side_mm=side_mm, canal=canal)
    network = CordCompressionNet([16], architecture="resnet18")
    checkpoints.save(path, network, {**settings, **changes}, trained_on={"phantom": True})
    return path


def test_a_classifier_carries_its_localiser(tmp_path, localiser_weights):
    path = classifier(tmp_path / "model.pt", localiser_weights)
    alone, kept = load_localiser(str(localiser_weights)), localiser_of(str(path), 60.0)
    assert alone.sha256 == kept.sha256 == checkpoints.read(path)["canal_sha256"]
    image = spots([(40.0, 30.0)])
    assert alone(image) == kept(image) == load_localiser(str(path))(image)
    assert localiser_of(str(path), None) is None


def test_a_localiser_that_was_exchanged_or_taken_away_is_refused(tmp_path, localiser_weights):
    torch.manual_seed(1)
    other = CanalNet(TINY["channels"], TINY["image_size"])
    content = {**TINY, "side_mm": 60.0, "model": other.state_dict()}
    for name, changes in {"exchanged": {"canal": content}, "removed": {"canal": None}, "no": {"canal": {}}}.items():
        path = classifier(tmp_path / f"{name}.pt", localiser_weights, **changes)
        with pytest.raises(InputError, match="localiser"):
            checkpoints.read(path)
    added = classifier(tmp_path / "added.pt", None, canal=content)
    with pytest.raises(InputError, match="not the one that its network was trained with"):
        checkpoints.read(added)


def test_resuming_with_another_localiser_is_refused(tmp_path, localiser_weights):
    path = classifier(tmp_path / "model.pt", localiser_weights)
    torch.manual_seed(1)
    checkpoints.save(tmp_path / "c.pt", CanalNet(TINY["channels"], 32), describe(TINY["channels"], 32))
    other = load_localiser(str(tmp_path / "c.pt"))
    settings = checkpoints.describe("resnet18", [16], 64, 1.0, "imagenet", side_mm=60.0, canal=other)
    with pytest.raises(InputError, match=r"canal_sha256.*--canal_weights "):
        checkpoints.read(path, settings)


def test_a_localiser_without_a_crop_is_refused_before_training(tmp_path, localiser_weights):
    canal = load_localiser(str(localiser_weights))
    settings = checkpoints.describe("resnet18", [16], 64, 1.0, "imagenet", canal=canal)
    with pytest.raises(InputError, match="side_mm is null"):
        check_training(None, str(tmp_path), False, settings, 0.3, None, 3.8, 0, "fp32", "fp32")


@pytest.mark.parametrize(
    "content", [{}, {"model": {}}, {"channels": [8], "image_size": 32, "side_mm": 60, "model": {}}, [1]]
)
def test_what_is_no_localiser_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(InputError, match="holds no localiser"):
        load_localiser(str(tmp_path / "a.pt"))


def test_a_localiser_that_is_missing_is_named():
    with pytest.raises(InputError, match=r"no localiser at nowhere.pt; train one with configs/canal/train.json"):
        load_localiser("nowhere.pt")
    assert load_localiser(None) is load_localiser("null") is None


def test_the_canal_network_refuses_sizes_it_cannot_halve():
    with pytest.raises(InputError, match="multiple of 4"):
        CanalNet([8, 8, 8], 30)
    assert sum(value.numel() for value in CanalNet().parameters()) < 2_000_000


SHRUNK = {**TINY, "batch_size": 8, "num_workers": 0, "precision": "fp32", "max_epochs": 2, "min_epochs": 1}


@pytest.fixture(scope="module")
def trained(cohort, tmp_path_factory) -> Path:
    """The localiser of configs/canal/train.json, then a classifier behind it, both trained for two short epochs."""
    out = tmp_path_factory.mktemp("trained")
    configs = ["train.json", "canal/train.json"]
    run_config(configs, dataset_dir=str(cohort), output_dir=str(out / "canal"), ckpt_dir=str(out / "canal"), **SHRUNK)
    changes = {**SMALL, "side_mm": 50.0, "canal_weights": str(out / "canal" / "model.pt")}
    run_config(
        ["train.json"],
        dataset_dir=str(cohort),
        output_dir=str(out / "run"),
        ckpt_dir=str(out / "run" / "models"),
        **{**changes, "max_epochs": 1, "min_epochs": 1},
    )
    return out


def test_the_localisers_training_writes_what_every_training_writes(trained):
    history = read_rows(trained / "canal" / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert 0 < float(history[1]["val_centre_error"]) < 1
    assert float(history[1]["train_loss"]) < float(history[0]["train_loss"])
    assert (trained / "canal" / "training_curve.png").stat().st_size > 0
    content = checkpoints.read(trained / "canal" / "model.pt")
    assert (content["kind"], content["channels"], content["trained_on"]["phantom"]) == ("canal", TINY["channels"], True)


def test_the_localisers_training_can_be_resumed(trained, cohort, tmp_path):
    whole = checkpoints.read(trained / "canal" / "model_last.pt")
    common = {"dataset_dir": str(cohort), "output_dir": str(tmp_path), "ckpt_dir": str(tmp_path), **SHRUNK}
    run_config(["train.json", "canal/train.json"], **{**common, "max_epochs": 1})
    run_config(["train.json", "canal/train.json"], **common, resume=True)
    again = checkpoints.read(tmp_path / "model_last.pt")
    assert all(torch.equal(again["model"][name], value) for name, value in whole["model"].items())


def test_the_classifiers_checkpoint_is_enough_to_predict_behind_the_localiser(trained, axial_series, tmp_path):
    weights = trained / "run" / "models" / "model.pt"
    content = checkpoints.read(weights)
    assert (content["side_mm"], content["canal_sha256"]) == (50.0, load_localiser(str(weights)).sha256)
    assert main(["predict", str(axial_series), "--out", str(tmp_path), "--weights", str(weights)]) == 0
    (table,) = tmp_path.glob("*/slices.csv")
    rows = read_rows(table)
    assert {row["crop"] for row in rows} <= {"canal", "central"}
    assert all(0 <= float(row["canal_confidence"]) <= 1 for row in rows)
    if {row["crop"] for row in rows} == {"central"}:  # after two short epochs it may be unsure everywhere
        assert {row["status"] for row in rows} == {"not evaluable: no spinal canal found in the series"}


def test_a_series_behind_a_localiser_is_cropped_measured_and_mapped(axial_series, tmp_path, monkeypatch, capsys):
    """A localiser that looks for brightness, so that the result does not hang on a short training."""
    import nibabel

    from scripts.canal import localiser as module
    from scripts.inference import crops

    monkeypatch.setattr(module, "make_localiser", lambda *_: bright_localiser())
    monkeypatch.setattr(crops, "FAR_MM", -1.0)  # every canal is far from its neighbours
    weights = classifier(tmp_path / "model.pt", None, side_mm=40.0)
    content = {**torch.load(weights, weights_only=True), "canal_sha256": bright_localiser().sha256}
    content["canal"] = {"model": bright_localiser().network.state_dict()}
    torch.save(content, weights)
    assert main(["predict", str(axial_series), "--out", str(tmp_path / "out"), "--weights", str(weights)]) == 0
    (folder,) = (path.parent for path in (tmp_path / "out").glob("*/slices.csv"))
    rows = read_rows(folder / "slices.csv")
    found = [row for row in rows if row["crop"] == "canal"]
    assert found
    volume = nibabel.load(folder / "heatmap.nii.gz")
    heat = np.asarray(volume.dataobj)
    mm = np.abs(volume.header.get_zooms()[:2])
    for row in found:
        one = heat[..., int(row["slice_index"])]
        columns, lines = np.nonzero(one)
        if len(columns):
            reach = [
                np.abs(columns - float(row["canal_column_px"])) * mm[0],
                np.abs(lines - float(row["canal_row_px"])) * mm[1],
            ]
            assert max(map(np.max, reach)) <= 20 + 2 * max(mm)
    summary = read_json(folder / "summary.json")
    assert {"smallest_cord_ap_mm", "largest_mscc_percent"} <= summary.keys()
    assert "off its neighbours' in slice" in summary["warnings"]
    capsys.readouterr()
    again = ["--out", str(tmp_path / "out"), "--weights", str(weights), "--resume", "true"]
    assert main(["predict", str(axial_series), *again]) == 0
    assert "1 kept from an earlier run" in capsys.readouterr().out


def test_an_evaluation_takes_the_localiser_from_the_runs_own_checkpoint(trained, cohort):
    run, weights = trained / "run", str(trained / "run" / "models" / "model.pt")
    places = {"dataset_dir": str(cohort), "output_dir": str(run), "ckpt_dir": str(run / "models")}
    run_config(["train.json", "evaluate.json"], **places, **SMALL, side_mm=50.0, canal_weights=weights, sheets=False)
    assert read_json(run / "metrics.json")["weights_sha256"] == checkpoints.sha256(weights)


def test_localise_measures_its_error_where_the_truth_is_known(trained, cohort, tmp_path, capsys):
    images = sorted({str((cohort / row["image"]).parent) for row in read_rows(cohort / "truth.csv")})[:2]
    weights, table = str(trained / "canal" / "model.pt"), str(cohort / "canal.csv")
    assert main(["localise", *images, "--weights", weights, "--out", str(tmp_path), "--table", table]) == 0
    rows = read_rows(tmp_path / "localised.csv")
    facts = read_json(tmp_path / "localiser.json")
    assert facts["n_known"] == len(rows) > 0
    assert facts["median_error_mm"] == pytest.approx(np.median([float(row["error_mm"]) for row in rows]))
    assert facts["n_flagged"] == sum(row["crop"] != "canal" for row in rows)
    assert (tmp_path / "localised.png").stat().st_size > 0
    assert "centre error in" in capsys.readouterr().out


def test_slices_that_the_table_does_not_know_are_left_out_and_counted(cohort, tmp_path, capsys):
    from scripts.canal.points import canal_table
    from scripts.datalists import load
    from scripts.files import write_csv

    rows = read_rows(Path(canal_table(str(cohort / "datalist.json"))))
    write_csv(tmp_path / "canal.csv", list(rows[0]), rows[:-1])
    entries = load(cohort / "datalist.json", "training") + load(cohort / "datalist.json", "testing")
    entries += load(cohort / "datalist.json", "validation")
    dataset = CanalDataset(entries, str(tmp_path / "canal.csv"), Compose([]), image_size=32)
    assert len(dataset.data) == len(rows) - 1
    assert f"1 of {len(rows)} slices are not in" in capsys.readouterr().out
    write_csv(tmp_path / "none.csv", list(rows[0]), [{**rows[0], "sop_uid": "1.2.3"}])
    with pytest.raises(InputError, match="knows none of the"):
        CanalDataset(entries, str(tmp_path / "none.csv"), Compose([]), image_size=32)
