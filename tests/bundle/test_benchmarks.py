"""The benchmarks: what each prints, and how it is held against its goal."""

from __future__ import annotations

import json
import pkgutil
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

from bundle.benchmarks.command import BENCHMARKS, benchmarks, table, verdict
from bundle.benchmarks.inference import differences
from bundle.benchmarks.machine import machine
from bundle.benchmarks.rows import Goal, Options, Row
from bundle.benchmarks.scaling import exponent, growth
from bundle.benchmarks.training import HANDLERS, parsed, trainer_of
from bundle.campaigns.processes import Run
from scripts.errors import InputError
from scripts.study.page import check_page

TINY = {"pairs": 8, "image_size": 64, "architecture": "resnet18"}


def test_heat_maps_have_a_ratio_per_layer(capsys, tmp_path):
    status = benchmarks(**TINY, slices=2, out=str(tmp_path / "numbers.json"))
    printed = capsys.readouterr().out
    rows = {row["label"]: row["value"] for row in json.loads((tmp_path / "numbers.json").read_text())["rows"]}
    assert set(rows) == {"layer4", "layer3"}
    assert f"layer4: {rows['layer4']:.3f}, the goal of at most 1.05 is " in printed
    assert status == int(rows["layer4"] > 1.05)


def test_a_training_is_compared_with_its_bare_steps(tmp_path):
    """The share is of a speed: what surrounds the steps can only make it smaller, but for the noise of a machine."""
    benchmarks("training", pairs=8, slices=4, image_size=32, architecture="resnet18", out=str(tmp_path / "a.json"))
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert "images/s against" in rows[0]["note"]
    assert 0.2 < rows[0]["value"] < 1.5
    if torch.cuda.is_available():
        assert len(rows) == 6
    else:
        assert [row["label"] for row in rows] == ["training on a CPU, batch 4"]


def test_the_trainer_that_is_measured_is_that_of_the_shipped_config(tmp_path):
    options = Options(8, 4, 32, "resnet18", False, torch.device("cpu"), tmp_path)
    parser = parsed(options, batch_size=4, steps=2, step=None)
    trainer = trainer_of(parser)
    dataset = trainer.data_loader.dataset
    assert len(trainer.data_loader) == 2
    assert len(dataset.augmentation.transforms) == len(parser["train#random_transforms"]) == 5
    assert [one["_target_"].rpartition(".")[2] for one in parser["train#handlers"]] == list(HANDLERS)
    before = [one.clone() for one in trainer.network.parameters()]
    trainer.run()
    trainer.run()
    assert trainer.state.iteration == 2
    assert any(not torch.equal(*pair) for pair in zip(before, trainer.network.parameters(), strict=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_the_benchmark_of_a_gpu_refuses_a_machine_without():
    with pytest.raises(InputError, match="needs a CUDA device, and torch finds none"):
        benchmarks("gpu")


def test_fewer_than_eight_pairs_are_refused():
    with pytest.raises(InputError, match="at least 8 pairs"):
        benchmarks(pairs=2)


def test_predict_is_compared_with_its_slowest_stage(capsys):
    benchmarks("predict", pairs=8, slices=1, image_size=32, architecture="resnet18")
    printed = capsys.readouterr().out
    assert re.search(r"1 series; alone: reading .* s, network .* s, writing .* s; plain is \w+ alone", printed)
    assert re.search(r"predict +\d\.\d{3} times plain \(.* ms a series\)", printed)


def test_the_second_network_has_a_row_for_what_each_part_adds(capsys):
    benchmarks("second-network", **TINY, slices=2)
    printed = capsys.readouterr().out
    assert [line.split("  ")[0] for line in printed.splitlines()[1:4]] == [
        "crop and grade",
        "localiser, crop and grade",
        "localiser, crop, grade and measures",
    ]


def test_numbers_of_a_page_stand_between_the_marks_of_their_benchmark(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- heatmaps: begin -->\nold\n<!-- heatmaps: end -->\nafter\n", encoding="utf-8")
    benchmarks(**TINY, slices=2, doc=str(page))
    text = page.read_text(encoding="utf-8")
    assert text.startswith(
        "before\n<!-- heatmaps: begin -->\n```\npython -m bundle benchmarks heatmaps --pairs 8 --slices 2 "
        "--image_size 64 --architecture resnet18\n```\n\n| what | measured |  | goal |\n| --- | --- | --- | --- |\n"
    )
    assert re.search(r"^\| layer4 \| \d\.\d{3} times plain \| \S+ ms a slice \| at most 1\.05 \|$", text, re.M)
    assert machine() in text
    assert "old" not in text
    assert text.endswith("<!-- heatmaps: end -->\nafter\n")


def test_a_page_without_the_marks_is_refused_before_anything_is_measured(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(InputError, match="needs one line <!-- heatmaps: begin -->"):
        benchmarks(**TINY, doc=str(page))


@pytest.mark.parametrize(
    ("value", "goal", "status"),
    [
        (1.05, Goal(1.05), 0),
        (1.06, Goal(1.05), 1),
        (4.0, Goal(4, at_most=False), 0),
        (3.9, Goal(4, at_most=False), 1),
        (None, Goal(1.05), 0),
    ],
)
def test_a_goal_is_met_at_its_limit_and_nothing_is_said_of_what_was_not_measured(value, goal, status, capsys):
    assert verdict([Row("a", value, "times")], {"a": goal}) == status
    assert ("not measured" in capsys.readouterr().out) == (value is None)


def test_a_row_without_a_number_says_why_in_the_table():
    assert table([Row("a", None, "", "needs a GPU")], {"a": Goal(2)}).endswith("| a | - | needs a GPU | at most 2 |")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_a_goal(name):
    assert BENCHMARKS[name].goals


def test_the_machine_is_named_by_model_and_instructions(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Some CPU @ 2 GHz\nflags\t: fpu amx_bf16 amx_tile avx512_bf16\n", encoding="utf-8")
    assert machine(cpuinfo).startswith("Some CPU @ 2 GHz, ")
    assert "amx_bf16 and avx512_bf16;" in machine(cpuinfo)


def test_the_page_has_a_goal_and_marks_for_every_benchmark():
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for name in BENCHMARKS:
        check_page(ROOT / "docs" / "performance.md", name)
        assert f"| `python -m bundle benchmarks {name}` |" in page


@pytest.mark.parametrize("power", [0.5, 1, 2])
def test_the_exponent_is_the_power_of_what_grows_beyond_the_start(power):
    sizes = (10, 110, 1010)
    assert exponent(sizes, [7 + (size - 10) ** power for size in sizes]) == pytest.approx(power)


def test_growth_names_what_each_more_costs():
    runs = {1: Run(seconds=10, rss_mib=[5, 7]), 11: Run(seconds=11, rss_mib=[8]), 101: Run(seconds=20, rss_mib=[9])}
    rows = list(growth("predict", "series", tuple(runs), runs.__getitem__))
    assert [row.note for row in rows[:3]] == [
        "at most 7 MiB",
        "100.0 ms for each more; at most 8 MiB",
        "100.0 ms for each more; at most 9 MiB",
    ]
    assert rows[3].value == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cold", "evaluate"])
def test_an_evaluation_and_a_cold_start_are_compared_with_the_bare_network(name, tmp_path):
    """One pair, because each run of a pair is a process that imports torch, or a whole evaluation."""
    find = pkgutil.resolve_name(f"bundle.benchmarks.{BENCHMARKS[name].find}")
    options = Options(1, 2, 32, "resnet18", False, torch.device("cpu"), tmp_path, "", "")
    rows = {row.label: row.value for row in find(options)}
    assert set(BENCHMARKS[name].goals) <= set(rows)
    assert all(value > 0 for value in rows.values())


@pytest.mark.slow
def test_inference_has_a_row_for_every_goal_or_says_what_it_needs(cohort, small_weights, tmp_path):
    """In a process of its own, because of OpenVINO."""
    out = tmp_path / "numbers.json"
    options = {**TINY, "slices": 2, "weights": small_weights, "cohort": cohort, "out": out}
    command = [sys.executable, "-m", "bundle", "benchmarks", "inference"]
    command += [f"--{name}={value}" for name, value in options.items()]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    rows = {row["label"]: row for row in json.loads(out.read_text())["rows"]}
    assert rows["CPU, torch fp32, speed"]["value"] > 0
    for label in BENCHMARKS["inference"].goals:
        assert label in rows or rows[f"{label.partition(',')[0]}, changes"]["note"]
    assert 0 < rows["torch bf16, largest change of a probability"]["value"] < 0.02
    assert re.search(r"^torch bf16, change of the AUC: 0\.0\d+, the goal of at most 0\.001 is ", ended.stdout, re.M)
    assert "Traceback" not in ended.stderr


def test_changes_of_results_are_counted():
    exact = np.array([0.1, 0.499, 0.505, 0.9])
    found = np.array([0.1, 0.501, 0.495, 0.8])
    assert differences(np.array([0, 1, 0, 1]), exact, found) == pytest.approx(
        {
            "largest change of a probability": 0.1,
            "change of the AUC": 0.25,
            "calls changed in 1,000": 2,
            "farthest changed call from the threshold": 0.005,
        }
    )
    assert set(differences(np.array([0, 1, 0, 1]), exact, exact).values()) == {0}


@pytest.mark.parametrize(
    "options", [{"weights": "a.pt"}, {"cohort": "c"}, {"weights": "a.pt", "cohort": "c", "name": "help"}]
)
def test_weights_and_cohort_go_together_and_belong_to_inference(options):
    with pytest.raises(InputError, match="--weights and --cohort belong to inference, both or none"):
        benchmarks(**{"name": "inference", **options})
