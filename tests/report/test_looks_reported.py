"""Evaluations and reports count the looks at held-out patients, and say so."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import simulated_runs
import torch

from scripts import datalists
from scripts.cohort import looks
from scripts.handlers import WritePredictions
from scripts.report.command import report
from scripts.report.facts import looks_of
from scripts.report.inputs.cohorts import read_cohort
from scripts.tasks import tasks_of

FIELDS = {"site": "", "series_uid": "1.2", "frame": ""}


def rows_of(patients):
    return [
        {**FIELDS, "image": f"{one}.dcm", "patient_id": one, "sop_uid": f"1.2.{n}", "slice_index": n, "label": n % 2}
        for n, one in enumerate(patients)
    ]


def cohort_at(folder, patients):
    path = folder / "datalist.json"
    rows = rows_of(patients)
    datalists.write(path, {"training": rows[:1], "testing": rows[1:]}, 0, phantom=True)
    return path


def evaluate(folder, datalist, weights, section="testing"):
    """What evaluate.json's handler does once all slices are scored."""
    entries = rows_of("abcd")
    dataset = SimpleNamespace(
        entries=entries,
        tasks=tasks_of(["compressed"]),
        failures=[],
        counts=lambda: {"patients": 4, "unreadable": 0, "phantom": True},
    )
    digest = datalists.datalist_info(datalist)["datalist_sha256"]
    facts = {"datalist": str(datalist), "datalist_sha256": digest, "weights_sha256": weights}
    writer = WritePredictions(dataset, str(folder), section, 0.5, facts)
    writer.write([0, 1, 2, 3], torch.tensor([[-1.0], [1.0], [-2.0], [2.0]]))


def test_an_evaluation_of_held_out_patients_is_a_look_and_of_validation_none(tmp_path, capsys):
    datalist = cohort_at(tmp_path, "tabcd")
    evaluate(tmp_path / "validated", datalist, "w0", "validation")
    assert not (tmp_path / looks.FILE).exists()
    evaluate(tmp_path / "one", datalist, "w1")
    assert "this is look 1 at these held-out patients, with no other network before" in capsys.readouterr().out
    evaluate(tmp_path / "two", datalist, "w2")
    assert "this is look 2 at these held-out patients, with 1 other network before" in capsys.readouterr().out
    evaluate(tmp_path / "one", datalist, "w1")
    assert "looked at with this network before (look 1)" in capsys.readouterr().out
    kept = [json.loads(line) for line in (tmp_path / looks.FILE).read_text().splitlines()]
    assert [one["weights_sha256"] for one in kept] == ["w1", "w2", "w1"]
    assert kept[0]["predictions_sha256"] == kept[2]["predictions_sha256"] != ""


def test_an_evaluation_goes_on_where_looks_cannot_be_counted(tmp_path, capsys):
    datalist = cohort_at(tmp_path, "tabcd")
    (tmp_path / looks.FILE).mkdir()
    evaluate(tmp_path / "one", datalist, "w1")
    assert "warning: this look is not recorded" in capsys.readouterr().out
    assert (tmp_path / "one" / "metrics.json").is_file()


@pytest.fixture
def run(tmp_path):
    folder = simulated_runs.write(tmp_path / "run", 12, 3, everything=False, phantom=True, weights_sha256="w1")
    cohort_at(folder, ["t", "p0001"])
    return folder


def test_a_report_counts_a_network_that_something_else_scored(run):
    cohort = read_cohort("internal", run, None, None)
    assert looks_of(cohort).networks == 1
    assert looks_of(cohort).networks == 1
    assert len((run / looks.FILE).read_text().splitlines()) == 1


def test_without_a_datalist_nobody_counts(tmp_path):
    folder = simulated_runs.write(tmp_path / "run", 12, 3, everything=False, phantom=True)
    assert looks_of(read_cohort("internal", folder, None, None)) is None


def test_a_report_shows_the_looks_and_warns_of_the_second(run, tmp_path):
    digest = datalists.datalist_info(run / "datalist.json")["datalist_sha256"]
    looks.record(run / "datalist.json", digest, "w0", "p")
    (run / looks.FILE).write_bytes((run / looks.FILE).read_bytes() + b"damage\n")
    report(str(run), out=str(tmp_path / "out"), columns="site")
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    found = content["cohort"]["looks"]
    assert (found["networks"], found["number"]) == (2, 2)
    assert found["problems"] == ["looks.jsonl, line 2 is damaged and not counted"]
    assert any("2 networks have been scored on the held-out patients" in one for one in content["warnings"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "2 networks scored since" in page
    assert "this one as number 2" in page
    assert "line 2 is damaged" in page
