"""What is read of a run is whole: nothing of a run that was killed, and no predictions of other weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import simulated_runs

from scripts.errors import InputError
from scripts.files import sha256
from scripts.report import compose
from scripts.report.command import report
from scripts.report.inputs.predicted import summaries
from scripts.report.inputs.predictions import read_predictions


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return simulated_runs.write(tmp_path_factory.mktemp("runs") / "run", 24, 3, everything=False)


@pytest.fixture
def run(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


def write_metrics(run: Path, **about: str) -> None:
    (run / "metrics.json").write_text(json.dumps(about))


def test_predictions_of_an_evaluation_that_was_stopped_are_refused(run):
    path = run / "predictions.csv"
    assert len(read_predictions(path).slices)
    (run / "history.csv").write_text("epoch\n")
    with pytest.raises(InputError, match=r"no metrics\.json, so its evaluation was stopped"):
        read_predictions(path)
    write_metrics(run, predictions_sha256=sha256(path))
    assert len(read_predictions(path).slices)
    write_metrics(run, predictions_sha256="0" * 64)
    with pytest.raises(InputError, match="was stopped, or the file edited; evaluate the run again"):
        read_predictions(path)


def test_predictions_of_other_weights_than_the_runs_are_refused(run):
    path = run / "predictions.csv"
    (run / "models").mkdir()
    (run / "models" / "model.pt").write_bytes(b"weights")
    write_metrics(run, weights_sha256=sha256(run / "models" / "model.pt"))
    assert len(read_predictions(path).slices)
    (run / "models" / "model.pt").write_bytes(b"trained anew")
    with pytest.raises(InputError, match=r"made with other weights than .*model\.pt has now"):
        read_predictions(path)


def test_of_an_output_folder_only_what_the_last_run_finished_is_read(run, tmp_path):
    out = simulated_runs.as_predict_output(run, tmp_path / "out")
    found = summaries(out)
    (out / "stale").mkdir()
    shutil.copy(found[0].with_name("slices.csv"), out / "stale" / "slices.csv")
    assert summaries(out) == found
    found[0].write_text(json.dumps({"files": ["slices.csv", "heatmap.nii.gz"]}))
    with pytest.raises(InputError, match=r"has lost heatmap\.nii\.gz"):
        summaries(out)
    (out / "series.csv").unlink()
    with pytest.raises(InputError, match=r"no series\.csv, so the run .* was stopped before its end; .*--resume true"):
        summaries(out)
    (out / "series.csv").write_text("status,folder\nscored,../run\n")
    with pytest.raises(InputError, match="leads out of"):
        summaries(out)


def test_a_report_without_one_of_its_figures_is_still_a_report(run, tmp_path, monkeypatch, capsys):
    draw = compose.figures.save

    def fails_for_one(path: Path, *args: object, **kwargs: object) -> None:
        if path.name == "calibration.png":
            raise ValueError("nothing can be drawn today")
        draw(path, *args, **kwargs)

    monkeypatch.setattr(compose.figures, "save", fails_for_one)
    report(str(run), out=str(tmp_path / "out"))
    assert "warning: no figure calibration: nothing can be drawn today" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "figures/calibration.png" not in content["figures"]
    assert "figures/roc.png" in content["figures"]
    assert (tmp_path / "out" / "report.html").is_file()
