"""The morphometry command: measures of a cohort, their errors, and a classifier of shape that a report accepts.

The cohort is made of soft elliptic spots. `Bright` outlines where they are brighter than half (canal) and 0.7 (cord).
"""

from __future__ import annotations

import json
import math
import re
import shutil

import nibabel
import numpy as np
import pytest
import torch
from canal_fixtures import bright_localiser
from conftest import SMALL
from csv_rows import read_rows
from sklearn.metrics import roc_auc_score
from torch import nn

from scripts import checkpoints, datalists
from scripts.__main__ import main
from scripts.canal.localiser import Localiser, describe, load_localiser
from scripts.canal.measures import FEATURES, shape_features
from scripts.canal.measuring import MeasureSlices, measure_errors, measured_rows, true_measures
from scripts.canal.network import CanalNet
from scripts.canal.truth import Truth
from scripts.datasets import SliceDataset
from scripts.dicom.loaded import identities, slice_geometry_mm
from scripts.errors import InputError
from scripts.evaluation.morphometry import baseline_logits, fit_baseline
from scripts.files import read_json, sha256
from scripts.networks import CordCompressionNet
from scripts.records import SECTIONS, section_path
from scripts.study import morphometry as command
from scripts.trust.samples import preprocessing

SEEN = {"image_size": 64, "crop_fraction": 1.0, "side_mm": 40.0, "context": 0, "outlines": False}
SIZE, MM, SLICES = (100, 80), 0.8, 8
COUNTS = dict(zip(SECTIONS, (4, 2, 3), strict=True))
SIGMA_MM = {0: (5.0, 6.0), 1: (3.5, 6.5)}  # rows (AP) and columns (RL) of the spots, by label
CANAL, CORD = math.sqrt(2 * math.log(2)), math.sqrt(2 * math.log(1 / 0.7))  # radius over sigma
localiser_and_crop = command.localiser_and_crop  # which a fixture replaces
BLANK = 3  # a slice of every volume that shows nothing


def spot(sigma_mm, centre_px):
    rows, columns = (np.arange(n, dtype=float) for n in SIZE)
    away = [
        (axis - place) * MM / sigma for axis, place, sigma in zip((rows, columns), centre_px, sigma_mm, strict=True)
    ]
    return np.sqrt(away[0][:, None] ** 2 + away[1][None] ** 2)


def save(path, slices, kind):
    """Write slices, rows to posterior and columns to the left, most caudal first."""
    volume = np.stack(slices, -1).transpose(1, 0, 2).astype(kind)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-MM, -MM, 3.0, 1.0])), path)


def make_cohort(folder, masks=True, phantom=True):
    """A cohort of NIfTI volumes of `COUNTS` patients; half of each one's slices are compressed."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    sections = {}
    for section, count in COUNTS.items():
        sections[section] = []
        for number in range(count):
            patient = f"{section}-{number}"
            labels = [int(index >= SLICES / 2) for index in range(SLICES)]
            away = []
            for index, label in enumerate(labels):
                sigma = np.array(SIGMA_MM[label]) * rng.uniform(0.9, 1.1)
                one = spot(sigma, (rng.uniform(45, 55), rng.uniform(35, 45)))
                away.append(np.full(SIZE, np.inf) if index == BLANK else one)
            path = folder / "images" / f"{patient}.nii.gz"
            save(path, [1000 * np.exp(-(one**2) / 2) for one in away], np.float32)
            if masks:
                for name, radius in (("label-canal_seg", CANAL), ("label-SC_seg", CORD)):
                    save(path.with_name(f"{patient}_{name}.nii.gz"), [one < radius for one in away], np.uint8)
            sections[section] += [
                {"image": f"images/{path.name}", "label": label, "patient_id": patient, "series_uid": patient}
                | {"slice_index": index}
                for index, label in enumerate(labels)
            ]
    datalists.write(folder / "datalist.json", sections, 0, phantom=phantom)
    return folder


@pytest.fixture(scope="module")
def spots_cohort(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("spots") / "cohort")


@pytest.fixture(scope="module")
def bright():
    patch = pytest.MonkeyPatch()
    patch.setattr(command, "localiser_and_crop", lambda _: (bright_localiser(), SEEN))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def out(spots_cohort, bright):
    folder = spots_cohort.parent / "out"
    assert command.morphometry(str(spots_cohort), "bright.pt", str(folder)) == 0
    return folder


def rows_of(out, section="testing"):
    return read_rows(section_path(out, "measures.csv", section))


def test_every_slice_of_every_section_has_a_row_also_where_no_canal_was_found(out):
    for section, count in COUNTS.items():
        rows = rows_of(out, section)
        assert len(rows) == count * SLICES
        assert [row["crop"] for row in rows] == [
            "central" if i % SLICES == BLANK else "canal" for i in range(len(rows))
        ]
        assert all((row["cord_ap_mm"] == "") == (row["crop"] == "central") for row in rows)


def test_spots_have_the_diameters_of_their_closed_form(out):
    """The spots' sizes vary by 10 %; clipping at the slice's percentiles adds up to 10 %, and pixels a little."""
    for row in (one for one in rows_of(out) if one["crop"] == "canal"):
        ap, rl = (2 * CORD * sigma for sigma in SIGMA_MM[int(row["label"])])
        assert 0.9 * ap < float(row["cord_ap_mm"]) < 1.25 * ap
        assert 0.9 * rl < float(row["cord_rl_mm"]) < 1.25 * rl
        assert float(row["cord_ap_rl_ratio"]) == pytest.approx(ap / rl, abs=0.1)
        assert 0.95 < float(row["cord_ap_mm"]) / float(row["true_cord_ap_mm"]) < 1.25


def test_errors_are_those_of_the_rows(out):
    rows = [row for row in rows_of(out) if row["cord_rl_mm"]]
    off = np.array([float(row["cord_rl_mm"]) - float(row["true_cord_rl_mm"]) for row in rows])
    found = read_json(out / "metrics.json")["measures"]
    assert found["errors"]["cord_rl_mm"] == pytest.approx(
        {
            "bias": off.mean(),
            "median": np.median(abs(off)),
            "percentile_95": np.quantile(abs(off), 0.95),
            "n": 21,
            "n_missing": 0,
        }
    )
    assert (found["n_slices"], found["n_no_canal"], found["n_no_cord"]) == (24, 3, 3)
    assert found["dice"]["cord"]["n"] == 21
    assert min(found["dice"][name]["percentile_5"] for name in ("canal", "cord")) > 0.9
    assert "cord_orientation_deg" not in found["errors"]


def test_a_cord_that_has_a_mask_and_was_not_found_is_missing_and_not_counted_as_an_error():
    masks = np.zeros((2, 40, 40), np.uint8)
    masks[0, 5:30, 5:30], masks[1, 10:20, 10:25] = 1, 1
    truth = true_measures(Truth(None, masks[0], masks[1]), (1.0, 1.0))
    assert truth["cord_area_mm2"] == 150
    cord_only = true_measures(Truth(None, None, masks[1]), (1.0, 1.0))
    assert (cord_only["cord_ap_mm"], cord_only["canal_area_mm2"], cord_only["cord_canal_area_ratio"]) == (
        truth["cord_ap_mm"], None, None,
    )  # fmt: skip
    canal_only = true_measures(Truth(None, masks[0], None), (1.0, 1.0))
    assert (canal_only["cord_ap_mm"], canal_only["canal_area_mm2"]) == (None, 625)
    assert set(true_measures(Truth((3.0, 4.0), None, None), (1.0, 1.0)).values()) == {None}
    nothing = dict.fromkeys([*truth, "mscc_percent", "true_mscc_percent", "canal_dice", "cord_dice"])
    row = nothing | {f"true_{name}": value for name, value in truth.items()} | {"crop": "central"}
    found = measure_errors([row])
    assert found["errors"]["cord_ap_mm"] == {
        "bias": None,
        "median": None,
        "percentile_95": None,
        "n": 0,
        "n_missing": 1,
    }
    assert found["dice"]["cord"] == {"median": None, "percentile_5": None, "n": 0, "n_missing": 1}
    assert "mscc_percent" not in found["errors"]


def test_the_baseline_is_fitted_on_the_training_slices_and_writes_what_an_evaluation_writes(out):
    features = {
        section: np.array([[float(row[name] or "nan") for name in FEATURES] for row in rows_of(out, section)])
        for section in SECTIONS
    }
    labels = {section: [int(row["label"]) for row in rows_of(out, section)] for section in SECTIONS}
    fitted = fit_baseline(features["training"], labels["training"], 1.0)  # half are compressed
    for section in ("validation", "testing"):
        table = section_path(out, "predictions.csv", section)
        rows, metrics = read_rows(table), read_json(section_path(out, "metrics.json", section))
        expected = baseline_logits(fitted, features[section])
        assert [float(row["logit"]) for row in rows] == pytest.approx(expected.tolist(), abs=1e-4)
        assert metrics["auc"] == pytest.approx(roc_auc_score(labels[section], expected), abs=1e-3)
        assert metrics["auc"] > 0.9
        assert metrics["predictions_sha256"] == sha256(table)
        assert metrics["architecture"] == "logistic regression on shape"
        assert metrics["section"] == section
        assert metrics["pos_weight"] == 1.0
        assert metrics["phantom"]
        assert metrics["trained_on_phantom"]
    kept = read_json(out / "baseline.json")
    assert kept["features"] == list(FEATURES)
    # of the blank slices nothing is known, but that their neighbours are turned
    assert kept["missing"] == [name for name in FEATURES if name != "torsion_deg"]
    assert kept["medians"] == pytest.approx(np.nanmedian(features["training"], axis=0).tolist(), abs=1e-6)
    assert len(kept["coefficients"]) == 2 * len(FEATURES) - 1
    assert metrics["canal_sha256"] == kept["canal_sha256"] == bright_localiser().sha256


def test_another_fit_has_another_hash(out, tmp_path):
    features, labels = np.random.default_rng(0).normal(size=(20, len(FEATURES))), [0, 1] * 10
    fits = [fit_baseline(features, labels), fit_baseline(features, labels), fit_baseline(features, labels, 2.0)]
    origin = {"canal_sha256": "ab", "pos_weight": 1.0, "trained_on_phantom": True}
    hashes = [command.write_baseline(tmp_path / f"{n}.json", one, origin) for n, one in enumerate(fits)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[0] != command.write_baseline(tmp_path / "b.json", fits[0], origin | {"canal_sha256": "cd"})
    assert re.fullmatch("[0-9a-f]{64}", read_json(out / "metrics.json")["weights_sha256"])


def test_a_report_compares_the_baseline_with_a_network_and_shows_its_errors(out, spots_cohort, tmp_path):
    network = tmp_path / "network"
    network.mkdir()
    rng = np.random.default_rng(0)
    for section in ("validation", "testing"):
        rows = read_rows(section_path(out, "predictions.csv", section))
        lines = [",".join(rows[0])]
        for row in rows:
            logit = float(rng.normal(2 * int(row["label"]) - 1, 1))
            lines.append(",".join((row | {"logit": str(logit), "probability": "0.5"}).values()))
        section_path(network, "predictions.csv", section).write_text("\n".join(lines) + "\n")
    (network / "run.json").write_text('{"phantom": true}')
    assert main(["report", str(network), str(out), "--out", str(tmp_path / "report")]) == 0
    content = read_json(tmp_path / "report" / "report.json")
    (row,) = content["models"]
    assert row["model"] == "out (logistic regression on shape)"
    assert row["n_slices_in_common"] == 24
    assert row["at_own_point"]["point"] == "youden"
    (measures,) = content["measures"]
    assert measures["errors"] == read_json(out / "metrics.json")["measures"]["errors"]
    page = (tmp_path / "report" / "report.html").read_text()
    section = page.partition('<h2 id="measures">')[2].partition("<h2")[0]
    assert "the phantom&#39;s masks" in section
    assert "Run out (phantom)" in section
    assert "cord, AP diameter (mm)" in section
    # alone, it is a run like any other
    assert main(["report", str(out), "--out", str(tmp_path / "alone")]) == 0
    assert read_json(tmp_path / "alone" / "report.json")["cohort"]["facts"]["architecture"] == command.ARCHITECTURE


def test_another_cohort_is_scored_by_the_regression_that_was_fitted_before(out, bright, tmp_path):
    """Its datalist has held-out patients only; the same slices get the same scores."""
    cohort = make_cohort(tmp_path / "elsewhere")
    content = read_json(cohort / "datalist.json")
    (cohort / "datalist.json").write_text(json.dumps({**content, "training": [], "validation": []}))
    kept = str(out / "baseline.json")
    assert (
        main(["morphometry", str(cohort), "--weights", "b.pt", "--out", str(tmp_path / "o"), "--baseline", kept]) == 0
    )
    assert not list((tmp_path / "o").glob("*_training.csv"))
    first, again = (read_rows(folder / "predictions.csv") for folder in (out, tmp_path / "o"))
    assert [row["logit"] for row in again] == [row["logit"] for row in first]
    assert (tmp_path / "o" / "baseline.json").read_text() == (out / "baseline.json").read_text()
    facts = [read_json(folder / "metrics.json") for folder in (out, tmp_path / "o")]
    for name in ("weights_sha256", "pos_weight", "trained_on_phantom", "canal_sha256", "architecture"):
        assert facts[0][name] == facts[1][name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"canal_sha256": "0" * 64}, "was fitted on the outlines of another localiser"),
        ({"means": [0.0]}, r"is no baseline\.json of"),
        ({"scales": [0.0] * (2 * len(FEATURES) - 1)}, r"is no baseline\.json of"),
        ({"coefficients": [math.inf] * (2 * len(FEATURES) - 1)}, r"is no baseline\.json of"),
        ({"missing": ["age"]}, r"is no baseline\.json of"),
        ({"features": ["age"]}, r"is no baseline\.json of"),
        ({"intercept": "0"}, r"is no baseline\.json of"),
    ],
)
def test_a_regression_that_nobody_has_fitted_here_is_refused(spots_cohort, out, bright, tmp_path, change, message):
    (tmp_path / "b.json").write_text(json.dumps({**read_json(out / "baseline.json"), **change}))
    with pytest.raises(InputError, match=message):
        command.morphometry(str(spots_cohort), "b.pt", str(tmp_path / "o"), baseline=str(tmp_path / "b.json"))
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("change", [{"errors": []}, {"n_slices": "40"}, {"dice": {"cord": {"median": 1}}}])
def test_a_report_refuses_measures_that_nobody_writes(out, tmp_path, change):
    run = shutil.copytree(out, tmp_path / "run")
    metrics = read_json(run / "metrics.json")
    (run / "metrics.json").write_text(json.dumps(metrics | {"measures": metrics["measures"] | change}))
    from scripts.report.inputs.cohorts import read_cohort
    from scripts.report.measures import measures_of

    with pytest.raises(InputError, match=r"metrics\.json: measures are not those that"):
        measures_of([read_cohort("internal", run, None, None)])


def test_an_image_that_cannot_be_read_is_listed_and_the_others_are_measured(bright, tmp_path, capsys):
    cohort = make_cohort(tmp_path / "cohort", masks=False, phantom=False)
    (cohort / "images" / "testing-1.nii.gz").write_bytes(b"damaged")
    assert command.morphometry(str(cohort), "bright.pt", str(tmp_path / "out")) == 1
    assert [row["image"] for row in read_rows(tmp_path / "out" / "failures.csv")] == [
        str(cohort / "images" / "testing-1.nii.gz")
    ]
    assert len(rows_of(tmp_path / "out")) == 16
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert (metrics["n_unreadable"], metrics["n_slices"]) == (1, 16)
    assert (metrics["measures"]["errors"], metrics["measures"]["dice"]) == ({}, {})
    assert "no masks are known, so the errors are not" in capsys.readouterr().out


def test_the_results_of_a_network_are_not_overwritten(spots_cohort, out, tmp_path):
    for name in ("models", "history.csv", "predictions.csv"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "history.csv").write_text("")
        with pytest.raises(InputError, match="holds the results of another run"):
            command.morphometry(str(spots_cohort), "bright.pt", str(tmp_path / name))
    command.check_own(out)
    (tmp_path / "network").mkdir()
    shutil.copy(out / "predictions.csv", tmp_path / "network")
    (tmp_path / "network" / "metrics.json").write_text('{"architecture": "resnet50"}')
    with pytest.raises(InputError, match=r"another run \(predictions\.csv\)"):
        command.check_own(tmp_path / "network")


class Drawn(nn.Module):
    """Outlines ellipses in the middle, of a size and turn that depend on the grey values of the slice."""

    def __init__(self):
        super().__init__()
        self.image_size, self.side_mm = 32, 60.0

    def forward(self, image):
        y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
        turn = (image[..., 16:].mean((1, 2, 3)) - image[..., :16].mean((1, 2, 3)))[:, None, None]
        size = 0.2 + 0.2 * image.mean((1, 2, 3))[:, None, None]
        away = torch.hypot((y + turn * x) / size, (x - turn * y) / 0.4)
        return torch.stack([(-50 * torch.hypot(x, y)).expand_as(away), 20 * (1.6 - away), 20 * (1 - away)], 1)


def test_single_files_are_measured_as_their_series_is(cohort):
    """Which slices are neighbours, and the median of the series, come from the headers of all files."""
    localiser = Localiser(Drawn())
    entries = [one for one in datalists.load(cohort / "datalist.json", "testing") if not one["frame"]]
    first = entries[0]["series_uid"]
    entries = [one for one in entries if one["series_uid"] == first]
    chain = preprocessing(SEEN | {"side_mm": 60.0}, localiser)
    measurer = MeasureSlices(chain, localiser, {}, cohort)
    rows, features = measured_rows(SliceDataset(entries, measurer), measurer)
    files = [one["image"] for one in entries]
    whole = chain({"image": files})["image"]
    measures, (position_mm, _) = localiser.measures(whole), slice_geometry_mm(whole)
    expected = shape_features(measures, position_mm.tolist())
    order = [[uid for uid, _ in identities(whole)].index(one["sop_uid"]) for one in entries]
    assert len(order) > 3
    assert np.isfinite(expected[:, FEATURES.index("torsion_deg")]).sum() > 3
    assert features == pytest.approx(expected[order], nan_ok=True)
    assert [row["position_mm"] for row in rows] == pytest.approx(position_mm[order].tolist(), abs=1e-3)
    for row, number in zip(rows, order, strict=True):
        assert row["cord_area_mm2"] == pytest.approx(measures[number]["cord_area_mm2"], rel=1e-4)


def test_a_classifier_s_crop_is_taken_and_a_localiser_s_own_without_one(tmp_path):
    torch.manual_seed(0)
    network = CanalNet([8, 16], 32, 50.0)
    checkpoints.save(tmp_path / "canal.pt", network, describe([8, 16], 32, 50.0))
    localiser, seen = localiser_and_crop(str(tmp_path / "canal.pt"))
    assert seen == {"image_size": 32, "crop_fraction": 1.0, "side_mm": 50.0, "context": 0, "outlines": False}
    kept = load_localiser(str(tmp_path / "canal.pt"))
    own = {name: value for name, value in SMALL.items() if name in checkpoints.SETTINGS}
    classifier = CordCompressionNet(SMALL["head"], architecture=SMALL["architecture"])
    for name, canal, side_mm in (("crop", kept, 44.0), ("field", None, None)):
        settings = checkpoints.describe(**own, profile="imagenet", side_mm=side_mm, canal=canal, context=1)
        checkpoints.save(tmp_path / f"{name}.pt", classifier, settings)
    found, seen = localiser_and_crop(str(tmp_path / "crop.pt"))
    assert found.sha256 == localiser.sha256
    assert seen == {"image_size": 64, "crop_fraction": 0.5, "side_mm": 44.0, "context": 0, "outlines": False}
    with pytest.raises(InputError, match=r"field\.pt holds no localiser of the canal"):
        localiser_and_crop(str(tmp_path / "field.pt"))
