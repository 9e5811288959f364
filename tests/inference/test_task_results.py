"""What further tasks found reaches every output: summary, series.csv, MONAI Label, reports, pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import torch
from conftest import SMALL
from csv_rows import read_rows
from pydicom.sr.codedict import codes
from test_dicom_results import SUMMARY, errors_of, rows_for
from tiny_models import SIZE, write_t2

from scripts import checkpoints
from scripts.__main__ import main
from scripts.heatmaps.overlays import source_overlays
from scripts.inference.dicom_results import coding
from scripts.inference.dicom_results.captures import secondary_captures
from scripts.inference.dicom_results.reports import structured_report
from scripts.inference.dicom_results.sources import headers, save
from scripts.inference.results import findings_in_words, result_warnings
from scripts.inference.task_results import calls_in_words, chance_of_call, task_findings
from scripts.networks import CordCompressionNet
from scripts.records import TASK_FINDINGS
from scripts.tasks import TASKS, result_columns

NAMES = [task.name for task in TASKS]


def row(
    index: int, grade: str | None, shares: tuple[float, ...] = (), kind: str = "none", t2: str = "no", odd: str = ""
) -> dict[str, Any]:
    if grade is None:
        return {**dict.fromkeys(result_columns(TASKS)), "slice_index": index, "contradiction": None}
    cells = {"grade_called": grade, "kind_called": kind, "t2_signal_called": t2, "t2_signal_probability": 0.625}
    cells |= {f"grade_probability_{number}": share for number, share in enumerate(shares)}
    cells |= {f"kind_probability_{name}": 0.75 if name == kind else 0.125 for name in TASKS[2].classes}
    return {**cells, "slice_index": index, "contradiction": odd}


ROWS = [
    row(0, "0", (0.75, 0.125, 0.0625, 0.0625)),
    row(1, "2", (0.125, 0.25, 0.5, 0.125), "partial", "yes", "not compressed, but grade 2 and kind partial"),
    row(2, "2", (0.125, 0.125, 0.5, 0.25), "circumferential", odd="not compressed, but grade 2 and kind partial"),
    row(3, None),
    row(4, "1", (0.25, 0.5, 0.125, 0.125), "partial", odd="compressed, but grade 1"),
]


def test_a_series_has_its_highest_grade_and_the_slice_that_shows_it_best():
    assert task_findings(ROWS) == {
        "highest_grade": 2,
        "highest_grade_slice": 2,  # P(2 or higher) is 0.75 there, 0.625 in slice 1
        "n_partial": 2,
        "n_circumferential": 1,
        "n_t2_signal": 1,
        "n_contradictory": 3,
    }
    assert tuple(task_findings(ROWS)) == TASK_FINDINGS


def test_a_series_has_findings_of_the_tasks_of_its_network_only():
    assert task_findings([]) == task_findings([{"slice_index": 0, "compressed": 1}]) == {}
    assert task_findings([{"t2_signal_called": "yes", "contradiction": ""}]) == {"n_t2_signal": 1, "n_contradictory": 0}
    assert task_findings([row(0, None)]) == {
        "highest_grade": None, "highest_grade_slice": None, "n_partial": 0, "n_circumferential": 0, "n_t2_signal": 0,
        "n_contradictory": 0,
    }  # fmt: skip


def test_contradictions_are_warnings_each_with_its_slices():
    plain = {"canal_offset_mm": None, "crop": "", "status": "scored"}
    found = result_warnings([{**one, **plain} for one in ROWS])
    assert found == ["slice 1, 2: not compressed, but grade 2 and kind partial", "slice 4: compressed, but grade 1"]


def test_calls_and_their_chances():
    assert calls_in_words(ROWS[1]) == "grade 2, kind partial, t2_signal yes"
    assert calls_in_words(ROWS[3]) == calls_in_words({"probability": 0.5}) == ""
    assert [chance_of_call(ROWS[1], name) for name in NAMES[1:]] == [0.625, 0.75, 0.625]
    counts = {"n_compressed": 1, "n_evaluated": 4, "n_slices": 5, "patient_compressed": None, **task_findings(ROWS)}
    assert findings_in_words(counts) == (
        "1 of 4 slices compressed, highest grade 2 in slice 2, 1 not evaluable; no patient-level call"
    )


@pytest.fixture
def report(tmp_path) -> tuple[list[pydicom.Dataset], list[dict], dict]:
    """Sources, rows and summary of four slices; the second has no score."""
    images = sorted(headers(write_t2(tmp_path / "series")), key=lambda image: image.ImagePositionPatient[2])
    rows = [{**one, **more} for one, more in zip(rows_for(images), [ROWS[0], ROWS[3], ROWS[1], ROWS[4]], strict=True)]
    for number, one in enumerate(rows):
        one["slice_index"] = number
    warnings = "; ".join(f"slice {one['slice_index']}: {one['contradiction']}" for one in rows if one["contradiction"])
    return images, rows, {**SUMMARY, **task_findings(rows), "heatmap_task": "grade", "warnings": warnings}


def test_the_report_codes_what_the_tasks_found_and_is_valid(report, tmp_path):
    (path,) = save([structured_report(*report)], tmp_path / "out")
    assert errors_of(path) == []
    found = highdicom.sr.srread(path)
    summary, *groups = found.content.get_image_measurement_groups()
    for one, group in zip(report[1], groups, strict=True):
        said = {item.name.value: item.value for item in group.get_qualitative_evaluations()}
        chances = {item.name.value: item.value for item in group.get_measurements()}
        if one["grade_called"] is None:
            assert not {"GRADE", "KIND", coding.T2_SIGNAL.value, "CONSISTENCY"} & set(said)
            continue
        assert (said["GRADE"].value, said["GRADE"].scheme_designator) == (f"GRADE_{one['grade_called']}", "99CORD")
        assert (said["KIND"].meaning.lower(), said["KIND"].scheme_designator) == (one["kind_called"], "SCT")
        assert said[coding.T2_SIGNAL.value] == (
            codes.SCT.Present if one["t2_signal_called"] == "yes" else codes.SCT.Absent
        )
        assert ("CONSISTENCY" in said) == bool(one["contradiction"])
        assert [chances[name] for name in ("GRADE_P", "KIND_P", "T2_SIGNAL_P")] == [
            chance_of_call(one, name) for name in NAMES[1:]
        ]
    said = {item.name.value: item.value for item in summary.get_qualitative_evaluations()}
    assert said["HIGHEST_GRADE"].value == "GRADE_2"
    assert said[coding.T2_SIGNAL.value] == codes.SCT.Present
    counts = {item.name.value: item.value for item in summary.get_measurements()}
    wanted = {"PARTIAL": 2, "CIRCUMFERENTIAL": 0, "T2_SIGNAL": 1, "N_CONTRADICTORY": 2}
    assert wanted.items() <= counts.items()
    comments = " ".join(item.TextValue for item in found.ContentSequence if item.ValueType == "TEXT")
    assert "slice 3: compressed, but grade 1" in comments


def test_codes_of_a_report_fit_their_fields_and_standard_ones_are_in_the_dictionary():
    own = [value for value in vars(coding).values() if isinstance(value, coding.Code)]
    own += [*coding.CHANCES.values(), *coding.COUNTS.values()]
    for name, values in coding.CALLS.values():
        own += [name, *values.values()]
    assert all(len(one.value) <= 16 and len(one.meaning) <= 64 for one in own)
    assert len({(one.value, one.scheme_designator) for one in own}) == len({one.meaning for one in own})
    assert codes.RADLEX.T2Hyperintensity == coding.T2_SIGNAL
    kinds = coding.CALLS["kind"][1]
    assert [codes.SCT.None_, codes.SCT.Partial, codes.SCT.Circumferential] == list(kinds.values())
    assert set(coding.CALLS) == set(coding.CHANCES) == set(NAMES[1:])
    assert all(
        tuple(values) == task.classes for task, (_, values) in zip(TASKS[1:], coding.CALLS.values(), strict=True)
    )


def test_captures_say_which_task_their_heat_explains_and_are_valid(report, tmp_path):
    images, rows, summary = report
    colour = [np.zeros((SIZE, SIZE, 3), np.uint8)] * 4
    paths = save(secondary_captures(images, rows, summary, colour), tmp_path / "out")
    assert [errors_of(path) for path in paths] == [[]] * 4
    captures = [pydicom.dcmread(path) for path in paths]
    assert {one.SeriesDescription for one in captures} == {"Cord compression heat map: grade (RESEARCH USE ONLY)"}
    explains = [one.DerivationDescription.rsplit("it explains ")[1] for one in captures]
    assert explains == ["grade 1+ 0.25", "-", "grade 2+ 0.62", "grade 1+ 0.75"]
    assert "probability 0.625: not compressed; grade 2, kind partial, t2_signal yes; not compressed, but" in (
        captures[2].ImageComments
    )


def test_an_overlay_names_what_its_heat_explains(report):
    _, rows, summary = report
    pixels, heat = np.random.default_rng(0).random((96, 96, 4)), np.zeros((96, 96, 4))
    sides = [("R", "L")] * 4

    def drawn(about):
        return source_overlays(pixels, heat, rows, about, sides)

    plain = drawn({**summary, "heatmap_task": "compressed"})
    assert [np.array_equal(*both) for both in zip(plain, drawn(summary), strict=True)] == [False] * 4
    without = {name: value for name, value in summary.items() if name != "heatmap_task"}
    assert all(np.array_equal(*both) for both in zip(plain, drawn(without), strict=True))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A network that says the same of every slice: not compressed, grade 3, kind partial, T2 signal."""
    torch.manual_seed(2)
    network = CordCompressionNet(SMALL["head"], architecture=SMALL["architecture"], tasks=NAMES)
    ends = [network.head.logit, *(branch.head.logit for branch in network.branches.values())]
    for layer, bias in zip(ends, ([-1.0], [2.0, 2.0, 2.0], [0.0, 1.0, 0.0], [3.0]), strict=True):
        layer.weight.data.mul_(1e-3)
        layer.bias.data = torch.tensor(bias)
    own = {name: value for name, value in SMALL.items() if name in checkpoints.SETTINGS}
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    checkpoints.save(path, network, checkpoints.describe(**own, profile="imagenet", tasks=NAMES))
    return path


def test_predict_writes_the_findings_everywhere_and_the_map_of_the_task(axial_series, weights, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["predict", str(axial_series), "--out", str(out), "--weights", str(weights), "--heatmap_task", "grade"]
    assert main(arguments) == 0
    (folder,) = (path.parent for path in out.glob("*/summary.json"))
    summary, rows = json.loads((folder / "summary.json").read_text()), read_rows(folder / "slices.csv")
    n = len(rows)
    wanted = {"highest_grade": 3, "n_partial": n, "n_circumferential": 0, "n_t2_signal": n, "n_contradictory": n}
    assert wanted.items() <= summary.items()
    assert summary["heatmap_task"] == "grade"
    listed = ", ".join(map(str, range(n)))
    assert f"slice {listed}: not compressed, but grade 3 and kind partial" in summary["warnings"]
    assert f"warning: slice {listed}: not compressed" in capsys.readouterr().out
    (series,) = read_rows(out / "series.csv")
    assert {name: series[name] for name in wanted} == {name: str(value) for name, value in wanted.items()}
    assert tuple(series)[-6:] == TASK_FINDINGS
    assert main([*arguments, "--resume", "true"]) == 0
    assert read_rows(out / "series.csv")[0] == {**series, "status": "kept"}
    assert main([*arguments[:-1], "kind", "--resume", "true"]) == 0  # another map is another result
    assert read_rows(out / "series.csv")[0]["status"] == "scored"


@pytest.mark.parametrize("name", ["nope", "grade"])
def test_predict_refuses_a_task_of_the_map_that_the_network_lacks(axial_series, small_weights, tmp_path, capsys, name):
    arguments = ["--out", str(tmp_path / "out"), "--weights", str(small_weights), "--heatmap_task", name]
    assert main(["predict", str(axial_series), *arguments]) == 2
    message = "heatmap_task must be one of the tasks of the network (compressed), got " + repr(name)
    assert re.search(re.escape(message), capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
