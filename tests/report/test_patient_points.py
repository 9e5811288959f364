"""Whole patients are called by thresholds of their own, chosen on enough validation patients, in every client."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import simulated_runs
from csv_rows import read_rows
from tiny_models import checkpoint, write_t2

from scripts import checkpoints
from scripts.errors import InputError
from scripts.evaluation.estimates import NAN
from scripts.evaluation.operating_points import OperatingPoint, choose_for_patients
from scripts.evaluation.patient_rules import patient_score
from scripts.evaluation.platt import Calibration
from scripts.files import write_json
from scripts.inference.predict import predict
from scripts.inference.results import series_findings
from scripts.inference.writing import worklist
from scripts.records import PATIENT_RULES
from scripts.report import operating_points_file as points_file
from scripts.report.command import report
from scripts.report.patient_level import fit_patient_points, scores_of

LINE = Calibration(1.0, 0.0, 0, 0)
SLICE_POINTS = {"youden": OperatingPoint(0.0), "sensitivity_95": OperatingPoint(NAN)}


def cohort(n_with: int, n_free: int) -> pd.DataFrame:
    """Patients of three slices at 0, 4 and 8 mm; those with compression have logits 1, 2 and 3 above their number."""
    rows = []
    for number in range(n_with + n_free):
        has = number < n_with
        for index in range(3):
            logit = number + index + 1.0 if has else -number - index - 1.0
            rows.append((f"p{number:03d}", f"s{number}", f"{number}.{index}", "", index, int(has), logit))
    names = ["patient_id", "series_uid", "sop_uid", "frame", "slice_index", "label", "logit"]
    return pd.DataFrame(rows, columns=names)


def geometry(frame: pd.DataFrame) -> pd.DataFrame:
    keys = frame[["series_uid", "sop_uid", "frame"]]
    return keys.assign(position_mm=(4.0 * frame["slice_index"]).astype(str), thickness_mm="3")


def test_a_threshold_for_patients_needs_ten_of_each_class():
    reference = np.repeat([1, 0], [10, 9])
    few = choose_for_patients(reference, np.arange(19.0))
    assert few["youden"].note == (
        "undefined: 10 validation patients with compression and 9 without; at least 10 of each are needed"
    )
    enough = choose_for_patients(np.repeat([1, 0], 10), np.repeat([5.0, 1.0], 10))
    assert enough["youden"] == OperatingPoint(3.0)


def test_each_rule_gets_a_threshold_of_its_own_between_the_two_classes():
    frame = cohort(10, 10)
    found = fit_patient_points(frame, geometry(frame), LINE, SLICE_POINTS)
    reference, scores = scores_of(frame, geometry(frame), LINE, 0.0)
    assert set(found["points"]["youden"]) == set(PATIENT_RULES) == set(scores)
    for rule, one in found["points"]["youden"].items():
        assert scores[rule][reference == 0].max() < one["score"] <= scores[rule][reference == 1].min()
        assert one["unit"] == PATIENT_RULES[rule]
    # three slices of 3 mm at 0, 4 and 8 mm are a run of 11 mm
    assert scores["longest_run_mm"].tolist() == [11.0] * 10 + [0.0] * 10
    assert found["points"]["youden"]["longest_run_mm"]["score"] == 5.5


def test_without_geometry_only_the_rule_in_mm_has_no_threshold():
    frame = cohort(10, 10)
    found = fit_patient_points(frame, None, LINE, SLICE_POINTS)
    without = {rule for rule, one in found["points"]["youden"].items() if one["score"] is None}
    assert without == {"longest_run_mm"}
    assert found["points"]["youden"]["longest_run_mm"]["status"].startswith("undefined: no position and thickness")


@pytest.mark.parametrize(
    ("rule", "expected"), [("max", 4.0), ("top_3_mean", 3.0), ("expected_count", 1.5), ("longest_run_mm", 7.0)]
)
def test_the_score_of_a_series_is_that_of_a_patient(rule, expected):
    assert patient_score(rule, [1.0, 4.0, 2.0, 3.0], [0.1, 0.9, 0.2, 0.3], 7.0) == pytest.approx(expected)
    assert patient_score(rule, [], [], 0.0) is None


def rows(*logits: float | None) -> list[dict]:
    return [
        {"logit": logit, "probability": None if logit is None else 0.9, "compressed": None if logit is None else 1}
        | {"position_mm": 4.0 * n, "thickness_mm": 3.0, "cord_ap_mm": None, "mscc_percent": None}
        for n, logit in enumerate(logits)
    ]


def test_a_series_whose_slices_are_all_called_is_not_called_without_a_threshold_for_patients():
    found = series_findings([rows(2.0, 3.0)])
    assert (found["n_compressed"], found["patient_score"], found["patient_compressed"]) == (2, 2.5, None)
    assert series_findings([rows(2.0, 3.0)], threshold=2.5)["patient_compressed"] == 1
    assert series_findings([rows(2.0, 3.0)], threshold=2.6)["patient_compressed"] == 0
    nothing = series_findings([rows(None)], threshold=2.6)
    assert (nothing["patient_score"], nothing["patient_compressed"]) == (None, None)


def points(weights: str, score: float | None, status: str = "chosen") -> dict:
    rules = {rule: {"score": score, "status": status} for rule in PATIENT_RULES}
    return {
        "points": {"youden": {"logit": 0.0, "status": "chosen"}},
        "patient_level": {"points": {"youden": rules}},
        "calibration": {"slope": 1.0, "intercept": 0.0},
        "baseline": {"slope": 1.0, "intercept": 0.0, "pos_weight": 1.0},
        "chosen_on": {"n_patients": 24, "n_slices": 402},
        "facts": {"weights_sha256": checkpoints.sha256(weights)},
    }


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("weights") / "model.pt"))


def scored(tmp_path: Path, weights: str, score: float | None, **options: object) -> tuple[Path, dict]:
    write_json(tmp_path / "points.json", points(weights, score, "undefined: too few"))
    given = {"weights": weights, "operating_points": str(tmp_path / "points.json"), "dicom": True, **options}
    assert predict(str(tmp_path / "in"), out=str(tmp_path / "out"), **given) == 0
    (path,) = (tmp_path / "out").glob("*/summary.json")
    return path.parent, json.loads(path.read_text())


def compression(folder: Path) -> list[str]:
    """What the structured report says of the whole series and of each slice."""
    (report_file,) = (one for one in (folder / "dicom").glob("*.dcm") if pydicom.dcmread(one).Modality == "SR")

    def values(item: pydicom.Dataset) -> list[str]:
        own = item.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in item else ""
        found = [item.ConceptCodeSequence[0].CodeMeaning] if own == "Spinal cord compression" else []
        return found + [text for one in item.get("ContentSequence", []) for text in values(one)]

    return values(pydicom.dcmread(report_file))


def test_predict_calls_a_series_by_its_patient_level_threshold_alone(tmp_path, weights):
    write_t2(tmp_path / "in")
    folder, summary = scored(tmp_path, weights, 1e6)  # no series reaches it
    logits = sorted(float(row["logit"]) for row in read_rows(folder / "slices.csv"))
    assert summary["patient_score"] == pytest.approx(np.mean(logits[-3:]))
    assert (summary["patient_compressed"], summary["patient_threshold"]) == (0, 1e6)
    assert compression(folder)[0] == "Absent"
    (row,) = read_rows(tmp_path / "out" / "worklist.csv")
    assert (row["rank"], row["patient_compressed"], row["folder"]) == ("1", "0", folder.name)
    folder, summary = scored(tmp_path, weights, -1e6, patient_rule="max")
    assert (summary["patient_compressed"], summary["patient_rule"]) == (1, "max")
    assert compression(folder)[0] == "Present"


def test_without_a_patient_level_threshold_every_result_says_so(tmp_path, weights, capsys):
    write_t2(tmp_path / "in")
    folder, summary = scored(tmp_path, weights, None)
    assert summary["patient_compressed"] is None
    assert summary["patient_threshold_source"] == "youden: undefined: too few"
    assert compression(folder)[0] == "No patient-level call"
    assert "no patient-level call" in capsys.readouterr().out


def test_an_unknown_rule_is_refused_with_those_there_are(tmp_path, weights):
    write_t2(tmp_path / "in")
    with pytest.raises(InputError, match="must be one of max, top_3_mean, expected_count, longest_run_mm, got 'mean'"):
        predict(str(tmp_path / "in"), out=str(tmp_path / "out"), weights=weights, patient_rule="mean")


def test_the_report_lists_the_patients_by_score_with_the_threshold_between_them(tmp_path):
    run = simulated_runs.write(tmp_path / "run", 12, 5, weights_sha256="ab" * 32)
    frame = cohort(12, 12).assign(patient_id=lambda f: "v" + f["patient_id"], probability=0.5)
    frame = frame.assign(
        series_uid="v" + frame["series_uid"], sop_uid="9." + frame["sop_uid"], logit=frame["logit"] + 9
    )
    frame.to_csv(run / "predictions_validation.csv", index=False)
    report(str(run), out=str(tmp_path / "report"), point="youden")
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    listed = content["patient_level"]["worklist"]
    assert [row["score"] for row in listed] == sorted((row["score"] for row in listed), reverse=True)
    threshold = content["patient_level"]["rules"]["top_3_mean"]["threshold"]
    assert threshold == points_file.read(run / "operating_points.json").patient_point("youden", "top_3_mean").logit
    assert [row["called"] for row in listed] == [int(row["score"] >= threshold) for row in listed]
    page = (tmp_path / "report" / "report.html").read_text()
    n_called = sum(row["called"] for row in listed)
    assert 0 < n_called < len(listed)
    assert page.count('<tr class="threshold">') == 1
    above = page[page.index("Triage list") : page.index('<tr class="threshold">')]
    assert sum(f"<td>{row['patient_id']}</td>" in above for row in listed) == n_called


def test_the_triage_list_begins_with_the_highest_score_and_ends_with_those_that_have_none():
    common = {"study_uid": "", "patient_rule": "max", "patient_threshold": 1.0, "n_evaluated": 1, "n_compressed": 0}
    scores = {"a": -2.0, "b": None, "c": 3.5, "d": 0.0, "e": 3.5}
    records = [
        {**common, "patient_id": name, "series_uid": name, "folder": name, "patient_score": score}
        | {"patient_compressed": None if score is None else int(score >= 1)}
        for name, score in scores.items()
    ]
    listed = worklist(records)  # type: ignore[arg-type]
    assert [row["patient_id"] for row in listed] == ["c", "e", "d", "a", "b"]
    assert [row["rank"] for row in listed] == [1, 2, 3, 4, 5]
    assert [row["patient_compressed"] for row in listed] == [1, 1, 0, 0, None]
