"""The measures of the trust report, each with an answer known beforehand, and the command on a small network."""

from __future__ import annotations

import copy
import json
import shutil
from collections import OrderedDict

import numpy as np
import pytest
import torch
from conftest import ROOT
from scipy import stats
from tiny_models import Brightness, checkpoint
from torch import nn

from scripts.errors import InputError
from scripts.networks import CordCompressionNet
from scripts.phantom.cohort import make_cohort
from scripts.trust import samples
from scripts.trust.command import trust
from scripts.trust.experiments import drop_when_blurred, explain, planted, randomised, teach_marker
from scripts.trust.findings import Findings
from scripts.trust.measures import hottest, likeness, over_patients, pointing, precision, side_right


@pytest.fixture
def disc() -> np.ndarray:
    rows, columns = np.mgrid[:64, :64]
    return ((rows - 40) ** 2 + (columns - 20) ** 2 <= 64)[None]


def test_the_interval_is_students_over_patients_whatever_the_number_of_slices():
    values, patients = np.array([0.0, 0.2, 0.5, 0.9]), np.array(["a", "a", "b", "c"])
    found = over_patients(values, patients)
    means = np.array([0.1, 0.5, 0.9])
    low, high = stats.t.interval(0.95, 2, means.mean(), stats.sem(means))
    assert found == pytest.approx((0.5, low, high, 3, 4))
    assert over_patients(values.repeat(5), patients.repeat(5))[:3] == pytest.approx(found[:3])
    assert np.isnan(over_patients([0.3], ["a"]).low)


def test_a_map_equals_itself_and_not_another(disc):
    heat = disc.astype(np.float32)
    assert likeness(heat, 7 * heat) == pytest.approx(1.0, abs=1e-5)
    assert likeness(heat, heat[:, ::-1, ::-1].copy()) < 0.9
    assert np.isnan(likeness(0 * heat, 0 * heat))


def test_precision_is_1_on_the_truth_and_the_prevalence_without_knowledge(disc):
    assert precision(disc.astype(float), disc) == pytest.approx(1.0)
    assert precision(np.ones(disc.shape), disc) == pytest.approx(disc.mean())


def test_pointing_counts_the_hottest_pixel_within_reach(disc):
    heat = np.zeros(disc.shape)
    assert pointing(heat, disc, 3) == 0
    heat[0, 40, 31] = 1  # three pixels beyond the disc
    assert pointing(heat, disc, 3) == 1
    assert pointing(heat, disc, 2) == 0


def test_the_side_of_a_lesion_is_where_there_is_more_heat(disc):
    heat, middle = disc.astype(float), np.array([[40.0, 32.0]])
    assert side_right(heat, middle, np.array([False]), 30) == 1
    assert side_right(heat, middle, np.array([True]), 30) == 0
    assert side_right(0 * heat, middle, np.array([True]), 30) == 0.5


def test_the_hottest_share_is_found_and_flat_maps_mark_no_corner(disc):
    assert np.array_equal(hottest(disc.astype(float), disc.mean()), disc)
    assert abs(np.argwhere(hottest(np.zeros(disc.shape), 0.2)[0]).mean(0) - 31.5).max() < 2


def test_blurring_hot_places_costs_the_logit_and_an_inverted_map_is_found_out(disc):
    network, image = Brightness().eval(), disc.astype(np.float32)[:, None]
    heat = explain(network, image, "paper", "layer4")[1]
    assert drop_when_blurred(network, image, heat, "paper", "layer4", 0.03) > 0
    assert drop_when_blurred(network, image, heat.max() - heat, "paper", "layer4", 0.03) < 0


def test_randomisation_goes_from_the_output_backwards_and_leaves_the_network_as_it_was():
    torch.manual_seed(0)
    network = CordCompressionNet([8], architecture="resnet18").eval()
    before = copy.deepcopy(network.state_dict())
    names = []
    for name, broken in randomised(network, seed=1):
        names.append(name)
        same = torch.equal(broken.features.conv1.weight, before["features.conv1.weight"])
        assert same == (name != "conv1")
        assert not torch.equal(broken.head.logit.weight, before["head.logit.weight"])
    assert names == ["head", "layer4", "layer3", "layer2", "layer1", "bn1", "conv1"]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Spots(nn.Module):
    """A network with the layers that are taught, small enough to be taught in a moment."""

    def __init__(self) -> None:
        super().__init__()
        layer4 = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())
        self.features = nn.Sequential(OrderedDict(layer3=nn.AvgPool2d(8), layer4=layer4))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(8, 1)


def test_a_network_that_looks_at_a_marker_points_at_it():
    torch.manual_seed(0)
    images = np.random.default_rng(0).random((24, 1, 96, 96)).astype(np.float32) / 2
    taught, right = teach_marker(Spots().eval(), images, "paper", 0.15, 300, 0.03, 0)
    marked, mask = planted(images, 0.15)
    heat = explain(taught, marked, "paper", "layer4")[1]
    assert right == 1
    assert pointing(heat, np.broadcast_to(mask, heat.shape), 4).mean() == 1


def test_the_interval_is_held_against_the_limit_not_the_mean(capsys):
    findings = Findings()
    for name, values in (("sure", [0.4, 0.5, 0.6]), ("unsure", [-0.4, 0.5, 0.9])):
        findings.add(name, over_patients(values, ["a", "b", "c"]), 0.0, None, "")
    findings.add("absent", None, 0.0, None, "")
    assert [row["verdict"] for row in findings.rows] == ["passed", "FAILED", "not measured"]
    assert "FAILED        unsure" in capsys.readouterr().out


def test_the_report_of_an_untrained_network_says_what_failed(tmp_path, capsys, monkeypatch):
    weights = checkpoint(tmp_path / "run" / "models" / "model.pt", phantom=True)
    other = checkpoint(tmp_path / "other.pt", phantom=True, seed=5)
    make_cohort(tmp_path / "run" / "phantom", patients=12, slices=3, matrix=128, distractors=False)
    assert trust(str(tmp_path / "run"), repeat=str(other)) == 1
    report = json.loads((tmp_path / "run" / "trust" / "trust.json").read_text())
    verdicts = {row["measure"]: row["verdict"] for row in report["findings"]}
    assert verdicts["repeatability"] != "not measured"
    assert verdicts["reproducibility"] == "not measured"
    assert {"polarity", "pixel AUPRC against chance", "randomised down to conv1", "planted marker exposed"} < set(
        verdicts
    )
    assert set(report["not_passed"]) == {name for name, verdict in verdicts.items() if verdict != "passed"}
    assert "FAILED" in capsys.readouterr().out
    monkeypatch.setattr(samples, "make_cohort", None)  # what follows is refused before anything is made
    with pytest.raises(InputError, match="reproducibility needs another architecture"):
        trust(str(tmp_path / "run"), reproduce=str(weights))


def test_truth_needs_a_phantom(tmp_path):
    checkpoint(tmp_path / "models" / "model.pt")
    with pytest.raises(InputError, match="is no phantom cohort"):
        trust(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "none.pt"}, "no checkpoint at none.pt"),
        ({"layer": "layer9"}, "layer must be one of .*layer4, got 'layer9'"),
        ({"repeat": "none.pt"}, "no checkpoint at none.pt"),
        ({"limits": "LIMITS", "change": {"slices": "many"}}, "holds no number for slices"),
        ({"limits": "LIMITS", "change": {"slices": 1}}, "slices of .* must be a whole number from 2"),
        ({"limits": "LIMITS", "change": {"seed": 2**63}}, "seed of .* must be a whole number from 0 to"),
        ({"out": "FILE"}, "is a file where a folder is needed"),
        ({"section": "testing"}, "section 'testing' of .* holds compressed slices only"),
        ({"section": "validation"}, "section 'validation' of .* holds compressed slices only"),
    ],
)
def test_a_report_that_cannot_succeed_makes_no_cohort(cohort, tmp_path, monkeypatch, options, message):
    run, options = tmp_path / "run", dict(options)
    checkpoint(run / "models" / "model.pt", phantom=True)
    shutil.copytree(cohort, run / "phantom")
    limits = json.loads((ROOT / "configs" / "trust.json").read_text()) | options.pop("change", {})
    (tmp_path / "limits.json").write_text(json.dumps(limits))
    (tmp_path / "file").write_text("notes")
    if section := options.pop("section", ""):
        content = json.loads((cohort / "datalist.json").read_text())
        content[section] = [entry for entry in content[section] if entry["label"]]
        (run / "phantom" / "datalist.json").write_text(json.dumps(content))
    paths = {"LIMITS": str(tmp_path / "limits.json"), "FILE": str(tmp_path / "file")}
    monkeypatch.setattr(samples, "make_cohort", None)
    with pytest.raises(InputError, match=message):
        trust(str(run), **{name: paths.get(value, value) for name, value in options.items()})
    assert not (run / "trust").exists()
