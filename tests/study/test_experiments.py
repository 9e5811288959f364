"""Sweep, search and cross-validation: real, tiny trainings."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import sys
import weakref
from pathlib import Path

import pytest
import torch
from conftest import HOSTILE, SMALL
from csv_rows import read_rows

from scripts import runner
from scripts.__main__ import main
from scripts.errors import InputError
from scripts.evaluation.slices import slice_metrics
from scripts.records import SECTIONS
from scripts.runner import run_config
from scripts.study import cross_validate as cross_validation
from scripts.study import experiments, search, sweep
from scripts.study.experiments import Experiment

TINY = {**{name: value for name, value in SMALL.items() if name != "head"}, "max_epochs": 1, "min_epochs": 1}
OVERRIDES = json.dumps(TINY)


@pytest.fixture
def trainings(monkeypatch) -> list[list[str]]:
    """Every config run from here on."""
    seen: list[list[str]] = []
    original = runner.run_config

    def counting(files, **overrides):
        seen.append([Path(name).stem for name in files])
        return original(files, **overrides)

    monkeypatch.setattr(runner, "run_config", counting)
    return seen


def test_a_sweep_compares_heads_by_validation_loss_and_carries_the_winner_to_the_holdout(cohort, tmp_path, trainings):
    sweep.sweep(str(cohort), out=str(tmp_path), heads="1,5", overrides=OVERRIDES)
    table = read_rows(tmp_path / "sweep.csv")
    # resnet18 has 512 features: 512 * 256 + 256 + 256 + 1, and another hidden layer of 256 * 256 + 256
    assert [(row["model"], int(row["head_parameters"])) for row in table] == [("1", 131_585), ("5", 197_377)]
    assert {row["phantom"] for row in table} == {"yes"}
    assert "synthetic phantom" in (tmp_path / "sweep.md").read_text()
    n_runs = sum("evaluate" not in files for files in trainings)
    sweep.sweep(str(cohort), out=str(tmp_path), heads="1,5", overrides=OVERRIDES, holdout=True, external=str(cohort))
    assert sum("evaluate" not in files for files in trainings) == n_runs  # nothing is trained again
    winner = min(table, key=lambda row: float(row["val_loss"]))["model"]
    weights = hashlib.sha256((tmp_path / f"model_{winner}" / "models" / "model.pt").read_bytes()).hexdigest()
    for name in ("winner", "winner_external"):
        assert json.loads((tmp_path / name / "metrics.json").read_text())["weights_sha256"] == weights
    assert sorted(path.parent.name for path in tmp_path.glob("*/predictions.csv")) == ["winner", "winner_external"]
    assert read_rows(tmp_path / "winner" / "predictions_validation.csv")


def test_an_experiment_leaves_no_network_behind(cohort, tmp_path):
    """Trainers and their handlers refer to each other; a search of a hundred trials would fill the memory."""
    left = []
    for number in range(2):
        common = {"dataset_dir": str(cohort), "output_dir": str(tmp_path / str(number)), "head": [4]}
        parser = run_config(["train.json"], run_id="train#trainer", **TINY, **common)
        left.append(weakref.ref(parser.get_parsed_content("network")))
        del parser
    assert left[0]() is None


def test_a_search_is_continued_where_it_stopped(cohort, tmp_path, trainings, monkeypatch):
    search.search(str(cohort), out=str(tmp_path), trials=1, overrides=OVERRIDES, seed=4)
    (first,) = read_rows(tmp_path / "search.csv")
    assert (first["status"], first["phantom"]) == ("finished", "yes")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiments, "run_experiment", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search.search(str(cohort), out=str(tmp_path), trials=2, overrides=OVERRIDES, seed=4)
    search.search(str(cohort), out=str(tmp_path), trials=2, overrides=OVERRIDES, seed=4)
    table = read_rows(tmp_path / "search.csv")
    assert sorted(row["trial"] for row in table) == ["trial_000", "trial_001"]
    assert [row for row in table if row["trial"] == "trial_000"] == [first]
    assert [float(row["val_loss"]) for row in table] == sorted(float(row["val_loss"]) for row in table)
    assert sum("evaluate" not in files for files in trainings) == 2
    for row in table:
        assert 1e-6 <= float(row["learning_rate"]) <= 1e-2
        assert 0.5 <= float(row["beta1"]) <= 0.99


FINISHED = dict.fromkeys(experiments.COLUMNS, 1)


def results(*outcomes):
    """A stand-in for `run_experiment`: one validation loss per call, or the exception to raise."""
    left = iter(outcomes)

    def run(experiment):
        outcome = next(left)  # a call too many ends the test
        if isinstance(outcome, BaseException):
            raise outcome
        return {**FINISHED, "val_loss": outcome}

    return run


@pytest.mark.parametrize("moment", ["ask", "suggest", "folder", "told", "requeue"])
def test_a_search_killed_between_any_two_entries_of_its_database_ends_as_if_it_had_not_been(
    cohort, tmp_path, monkeypatch, moment
):
    """Trials have the number, the folder and the values that they have in a search that nobody stops."""
    import optuna

    def fake(experiment):
        return {"val_loss": experiment.overrides["learning_rate"]}

    monkeypatch.setattr(experiments, "run_experiment", fake)
    search.search(str(cohort), str(tmp_path / "whole"), trials=3, overrides=OVERRIDES)
    out = str(tmp_path / "killed")
    search.search(str(cohort), out, trials=1, overrides=OVERRIDES)

    def killed(*_, **__):
        raise KeyboardInterrupt

    def killed_at_folder(trial, key, value):
        if key == "folder":
            raise KeyboardInterrupt

    places = {
        "ask": (optuna.trial.Trial, "suggest_float", killed),
        "suggest": (optuna.trial.Trial, "set_user_attr", killed_at_folder),
        "folder": (experiments, "run_experiment", killed),
        "told": (optuna.study.Study, "tell", killed),
        "requeue": (optuna.study.Study, "tell", killed),
    }
    for _ in range(2):
        # "requeue": killed once more, while it puts the interrupted trial back
        for place in ("folder", "requeue") if moment == "requeue" else (moment,):
            with monkeypatch.context() as patch:
                patch.setattr(*places[place])
                with pytest.raises(KeyboardInterrupt):
                    search.search(str(cohort), out, trials=3, overrides=OVERRIDES)
    search.search(str(cohort), out, trials=3, overrides=OVERRIDES)
    tables = [read_rows(tmp_path / name / "search.csv") for name in ("whole", "killed")]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 3


def test_a_search_is_continued_with_the_same_settings_and_cohort_only(cohort, tmp_path, monkeypatch):
    """Trials of different settings are not comparable, so they never share a table."""
    monkeypatch.setattr(experiments, "run_experiment", results(0.5, 0.4))
    shutil.copytree(cohort, tmp_path / "cohort")
    content = json.loads((cohort / "datalist.json").read_text())
    datalist, overlay = tmp_path / "cohort" / "datalist.json", tmp_path / "overlay.json"
    datalist.write_text(json.dumps(content))
    overlay.write_text('{"dropout": 0.2}')

    def run(trials: int = 2, overlay: Path | str = overlay, overrides: str = OVERRIDES) -> None:
        search.search(str(datalist), str(tmp_path / "out"), trials, str(overlay), overrides)

    run(trials=1)
    with pytest.raises(InputError, match=r"overrides was .*'max_epochs': 1.*, now .*'max_epochs': 2.*another --out"):
        run(overrides=json.dumps({**TINY, "max_epochs": 2}))
    with pytest.raises(InputError, match=r"configs was .*'overlay.json'\], now \['train.json'\]"):
        run(overlay="")
    overlay.write_text('{"dropout": 0.4}')
    with pytest.raises(InputError, match=r"settings \(overlay_sha256 was"):
        run()
    overlay.write_text('{"dropout": 0.2}')
    datalist.write_text(json.dumps({**content, "training": content["training"][1:]}))
    with pytest.raises(InputError, match=r"settings \(datalist_sha256 was"):
        run()
    datalist.write_text(json.dumps(content))
    run()
    assert [row["val_loss"] for row in read_rows(tmp_path / "out" / "search.csv")] == ["0.4", "0.5"]


def test_a_diverged_trial_ends_is_ranked_last_and_never_repeated(cohort, tmp_path, monkeypatch):
    out = tmp_path / "out"
    diverged = experiments.DivergenceError("the training diverged")
    monkeypatch.setattr(experiments, "run_experiment", results(0.5, diverged, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        search.search(str(cohort), str(out), trials=4, overrides=OVERRIDES)
    monkeypatch.setattr(experiments, "run_experiment", results(0.4, diverged))
    search.search(str(cohort), str(out), trials=4, overrides=OVERRIDES)
    search.search(str(cohort), str(out), trials=4, overrides=OVERRIDES)  # nothing is left to do
    table = read_rows(out / "search.csv")
    assert [row["val_loss"] for row in table] == ["0.4", "0.5", "", ""]
    assert [row["status"] for row in table] == ["finished", "finished", "diverged", "diverged"]
    # the interrupted trial is the one that went on
    assert [row["trial"] for row in table[:3]] == ["trial_002", "trial_000", "trial_001"]
    last = (out / "search.md").read_text().splitlines()[-1]
    assert "diverged | undefined" in last


@pytest.mark.parametrize("name", [HOSTILE, "%41"])
def test_a_search_is_kept_in_its_own_folder_whatever_the_name(cohort, tmp_path, monkeypatch, name):
    monkeypatch.setattr(experiments, "run_experiment", results(0.5, 0.4))
    for trials in (1, 2):
        search.search(str(cohort), str(tmp_path / name), trials=trials, overrides=OVERRIDES)
    assert {path.name for path in (tmp_path / name).iterdir()} >= {"search.db", "search.csv"}
    assert [row["val_loss"] for row in read_rows(tmp_path / name / "search.csv")] == ["0.4", "0.5"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_trial_of_a_stranger_stays_in_the_folder_of_the_search(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "run_experiment", results(0.5, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        search.search(str(cohort), str(tmp_path / "out"), trials=2, overrides=OVERRIDES)
    with sqlite3.connect(tmp_path / "out" / "search.db") as database:
        database.execute("UPDATE trial_user_attributes SET value_json = ? WHERE key = 'folder'", ('"../elsewhere"',))
    with pytest.raises(InputError, match="leads out of"):
        search.search(str(cohort), str(tmp_path / "out"), trials=2, overrides=OVERRIDES)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_that_is_no_search_is_refused_with_its_name(cohort, tmp_path):
    (tmp_path / "search.db").write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match=r"search\.db .*choose another --out"):
        search.search(str(cohort), str(tmp_path), trials=1, overrides=OVERRIDES)


def test_a_search_without_any_loss_says_so(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "run_experiment", results(*[experiments.DivergenceError("diverged")] * 2))
    with pytest.raises(InputError, match=r"every trial in .* diverged"):
        search.search(str(cohort), str(tmp_path), trials=2, overrides=OVERRIDES)
    assert [row["status"] for row in read_rows(tmp_path / "search.csv")] == ["diverged", "diverged"]


def write_history(folder: Path, *losses: str) -> None:
    lines = [f"{epoch},{loss},2.0" for epoch, loss in enumerate(losses, start=1)]
    (folder / "history.csv").write_text("\n".join(["epoch,val_loss,seconds", *lines, ""]))


def test_the_best_epoch_is_the_lowest_finite_one(small_weights, tmp_path):
    (tmp_path / "models").mkdir()
    shutil.copy(small_weights, tmp_path / "models" / "model.pt")
    write_history(tmp_path, "nan", "0.7", "0.6", "inf", "nan")
    found = experiments.summarise(tmp_path, {})
    assert (found["best_epoch"], found["val_loss"], found["epochs"]) == (3, 0.6, 5)


def test_a_training_without_a_finite_loss_has_diverged_and_other_failures_have_not(cohort, tmp_path, monkeypatch):
    def failing(configs, **overrides):
        raise InputError("training saw no finite val_loss")

    monkeypatch.setattr(runner, "run_config", failing)
    with pytest.raises(InputError, match="saw no finite") as failure:
        experiments.run_experiment(Experiment(tmp_path, ["train.json"], str(cohort)))
    assert not isinstance(failure.value, experiments.DivergenceError)
    write_history(tmp_path, "nan", "inf")
    with pytest.raises(experiments.DivergenceError, match="none of 2 epochs had a finite val_loss"):
        experiments.run_experiment(Experiment(tmp_path, ["train.json"], str(cohort)))


@pytest.mark.parametrize("logit", [float("nan"), float("inf")])
def test_the_metrics_of_a_diverged_network_are_undefined(logit):
    logits, labels = torch.tensor([[logit], [0.0], [1.0]]), torch.tensor([[0], [1], [1]])
    metrics = slice_metrics(labels.ravel(), logits.ravel(), 0.5)
    assert {metrics[name] for name in ("auc", "sensitivity", "specificity", "f1", "accuracy")} == {None}
    assert (metrics["n_slices"], metrics["prevalence"]) == (3, pytest.approx(2 / 3))


def fold(cohort: Path, name: str, patients: str = "", **changes: object) -> str:
    """A datalist beside the cohort's own; its test patients are others where ``patients`` is put before their names."""
    content = json.loads((cohort / "datalist.json").read_text())
    for entry in content["testing"]:
        entry["patient_id"] = patients + entry["patient_id"]
    path = cohort / name
    path.write_text(json.dumps({**content, **changes}))
    return str(path)


def test_no_patient_is_tested_in_two_folds_and_phantoms_stay_apart_from_patients(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "run_experiment", results())  # nothing may be trained
    shutil.copytree(cohort, tmp_path / "cohort")
    one, same = (fold(tmp_path / "cohort", name) for name in ("one.json", "same.json"))
    patient = min(entry["patient_id"] for entry in json.loads(Path(one).read_text())["testing"])
    with pytest.raises(InputError, match=f"patient {patient} is in testing of both {one} and {same}"):
        cross_validation.cross_validate(one, same, out=str(tmp_path / "out"))
    clinical = fold(tmp_path / "cohort", "clinical.json", patients="other", phantom=False)
    with pytest.raises(InputError, match=f"{one} is a phantom cohort, {clinical} is not"):
        cross_validation.cross_validate(one, clinical, out=str(tmp_path / "out"))


def test_cross_validation_averages_folds(cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / HOSTILE)
    content = json.loads((tmp_path / HOSTILE / "datalist.json").read_text())
    turned = dict(zip(SECTIONS, ("training", "testing", "validation"), strict=True))
    folds = [tmp_path / HOSTILE / f"fold_{number}.json" for number in (1, 2)]
    folds[0].write_text(json.dumps(content))
    folds[1].write_text(json.dumps({**content, **{name: content[other] for name, other in turned.items()}}))
    cross_validation.cross_validate(*map(str, folds), out=str(tmp_path / HOSTILE / "out"), overrides=OVERRIDES)
    first, second, mean = read_rows(tmp_path / HOSTILE / "out" / "cross_validation.csv")
    assert {row["phantom"] for row in (first, second, mean)} == {"yes"}
    average = (float(first["auc"]) + float(second["auc"])) / 2
    assert mean["auc"].startswith(f"{average:.3f} (")
    assert int(mean["n_slices"]) == int(first["n_slices"]) + int(second["n_slices"])


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda c, o: sweep.sweep(c, out=o, heads="1,9"), "heads are 1 to 7"),
        (lambda c, o: sweep.sweep(c, out=o, external=c), "--external is for the winner alone"),
        (lambda c, o: sweep.sweep(c, out=o, overrides="{max"), "must be a JSON object"),
        (lambda c, o: sweep.sweep(c, out=o, overrides='{"epochs": 3}'), "epochs, which configs/train.json does not"),
        (lambda c, o: sweep.sweep(c, out=o, overlay="none.json"), "overlay none.json does not exist"),
        (lambda c, o: sweep.sweep(c, out=o, overrides='{"head": [8]}'), "names head, which this command sets itself"),
        (lambda c, o: sweep.sweep(c, out=o, overrides='{"resume": true}'), "names resume, which this command sets"),
        (
            lambda c, o: search.search(c, out=o, overrides='{"learning_rate": 1e-3, "beta1": 0.9}'),
            "learning_rate, beta1",
        ),
        (lambda c, o: search.search(c, out=o, trials=0), "--trials must be a whole number from 1"),
        (lambda c, o: cross_validation.cross_validate(c, out=o), "at least two folds"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(cohort, tmp_path, run, message):
    with pytest.raises(InputError, match=message):
        run(str(cohort), str(tmp_path))


def test_a_folder_of_another_experiment_is_not_continued(cohort, tmp_path):
    (tmp_path / "model_1").mkdir()
    (tmp_path / "model_1" / "experiment.json").write_text("{}")
    with pytest.raises(InputError, match="other settings or another cohort"):
        sweep.sweep(str(cohort), out=str(tmp_path), heads="1", overrides=OVERRIDES)


def one_class(cohort: Path, folder: Path, section: str) -> Path:
    """A copy of a cohort whose section holds compressed slices only."""
    shutil.copytree(cohort, folder)
    content = json.loads((folder / "datalist.json").read_text())
    content[section] = [entry for entry in content[section] if entry["label"]]
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def nothing_made(trainings, tmp_path):
    """The folder of results, which must not come into being, and no config may run."""
    out = tmp_path / "out"
    yield out
    assert trainings == []
    assert not out.exists() or out.is_file()


SWEEP = ["sweep", "COHORT", "OUT", "--overrides", OVERRIDES]
SEARCH = ["search", "COHORT", "OUT", "--overrides", OVERRIDES]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([*SWEEP[:-1], json.dumps({**TINY, "learning_rate": -1})], "cannot be trained: Invalid learning rate"),
        ([*SWEEP[:-1], json.dumps({**TINY, "architecture": "vgg16"})], "must be a torchvision ResNet"),
        ([*SWEEP[:-1], json.dumps({**TINY, "profile": "ct"})], "cannot be trained: profile must be"),
        ([*SWEEP[:-1], json.dumps({**TINY, "batch_size": 0})], "batch_size must be a whole number from 1"),
        (
            [*SWEEP[:-1], json.dumps({**TINY, "seed": 2**63})],
            "seed must be a whole number from 0 to 9223372036854775807",
        ),
        ([*SWEEP[:-1], json.dumps({**TINY, "weights": "none.pt"})], "got 'none.pt', which is no file"),
        ([*SWEEP, "--heads", "1,1"], "each once"),
        ([*SEARCH, "--seed", str(2**63)], "--seed must be a whole number from 0 to"),
        ([*SEARCH, "--trials", "0"], "--trials must be a whole number from 1"),
        ([*SEARCH[:-1], json.dumps({**TINY, "dropout": 2})], "dropout in [0, 1)"),
    ],
)
def test_an_impossible_setting_is_refused_before_anything_is_made(cohort, nothing_made, capsys, command, message):
    words = [{"COHORT": str(cohort), "OUT": str(nothing_made)}.get(word, word) for word in command]
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "section"),
    [
        (command, section)
        for command in ("sweep", "search", "cross-validate")
        for section in SECTIONS
        if (command, section) != ("search", "testing")  # a search never opens the held-out patients
    ],
)
def test_a_section_with_one_class_is_refused_before_anything_is_made(
    cohort, nothing_made, tmp_path, capsys, command, section
):
    poor = one_class(cohort, tmp_path / "cohort", section)
    words = [command, str(poor), f"--out={nothing_made}", f"--overrides={OVERRIDES}"]
    if command == "cross-validate":
        other = fold(poor, "other.json", "other")
        words[1:2] = [str(poor / "datalist.json"), other]
    if section == "testing" and command == "sweep":
        words.append("--holdout")
    assert main(words) == 2
    assert f"section '{section}' of" in capsys.readouterr().err


def test_the_external_cohort_is_looked_at_before_the_first_head_is_trained(cohort, nothing_made, tmp_path, capsys):
    words = ["sweep", str(cohort), str(nothing_made), "--overrides", OVERRIDES, "--holdout", "--external"]
    assert main([*words, str(tmp_path / "nowhere")]) == 2
    assert "no datalist at" in capsys.readouterr().err
    assert main([*words, str(one_class(cohort, tmp_path / "poor", "testing"))]) == 2
    assert "compressed slices only" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["sweep", "search", "cross-validate", "quickstart"])
def test_a_file_in_the_place_of_the_output_folder_is_refused(cohort, nothing_made, capsys, command):
    nothing_made.write_text("notes")
    shutil.copy(cohort / "datalist.json", cohort / "again.json")
    inputs = {"quickstart": [], "cross-validate": [str(cohort / "datalist.json"), fold(cohort, "o.json", "other")]}
    assert main([command, *inputs.get(command, [str(cohort)]), "--out", str(nothing_made)]) == 2
    assert "is a file where a folder is needed" in capsys.readouterr().err
    assert nothing_made.read_text() == "notes"


def test_an_obstacle_for_the_fifth_head_is_met_before_the_first_is_trained(cohort, trainings, tmp_path):
    (tmp_path / "model_5" / "models").mkdir(parents=True)
    (tmp_path / "model_5" / "models" / "model_last.pt").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="no checkpoint that can be loaded"):
        sweep.sweep(str(cohort), out=str(tmp_path), overrides=OVERRIDES)
    shutil.rmtree(tmp_path / "model_5")
    (tmp_path / "model_5").write_text("notes")
    with pytest.raises(InputError, match=r"model_5 is a file"):
        sweep.sweep(str(cohort), out=str(tmp_path), overrides=OVERRIDES)
    assert trainings == []
    assert not (tmp_path / "model_1").exists()


def test_weights_that_cannot_be_had_are_missed_before_anything_is_made(cohort, nothing_made, monkeypatch, capsys):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", offline)
    overrides = json.dumps({**TINY, "weights": "IMAGENET1K_V1"})
    assert main(["sweep", str(cohort), str(nothing_made), "--overrides", overrides]) == 2
    error = capsys.readouterr().err
    assert "IMAGENET1K_V1 weights of resnet18 could not be downloaded (no network)" in error


def test_a_search_without_optuna_is_refused_before_anything_is_made(cohort, nothing_made, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["search", str(cohort), str(nothing_made)]) == 2
    assert capsys.readouterr().err.endswith("pip install -e '.[study]'\n")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--patients", "7", "8"), ("--epochs", "0", "1"), ("--seed", "-1", "0 to"), ("--seed", str(2**63), "0 to")],
)
def test_a_quickstart_that_cannot_succeed_makes_no_cohort(nothing_made, monkeypatch, capsys, option, value, message):
    monkeypatch.setattr("scripts.phantom.cohort.make_cohort", None)
    assert main(["quickstart", "--out", str(nothing_made), option, value]) == 2
    assert f"{option} must be a whole number from {message}" in capsys.readouterr().err


def test_every_trial_of_every_seed_draws_its_own_values(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "run_experiment", results(*[0.5] * 6))
    drawn = set()
    for seed in (0, 1, 2**63 - 1):
        search.search(str(cohort), str(tmp_path / str(seed)), trials=2, overrides=OVERRIDES, seed=seed)
        drawn |= {row["learning_rate"] for row in read_rows(tmp_path / str(seed) / "search.csv")}
    assert len(drawn) == 6
