"""Several tasks on one trunk: labels, losses, probabilities, and a run of the overlay."""

from __future__ import annotations

import json
import math
import shutil
from typing import Any

import pytest
import torch
from conftest import SMALL
from csv_rows import read_rows

from scripts import checkpoints, datalists
from scripts.datasets import SliceDataset
from scripts.errors import InputError
from scripts.inference.predict import predict
from scripts.inference.task_results import with_tasks
from scripts.losses import TaskLoss, slice_losses, task_loss, weighted_bce
from scripts.records import SLICE_COLUMNS, slice_key
from scripts.runner import run_config
from scripts.tasks import (
    TASKS,
    Task,
    class_weights,
    columns_of,
    contradiction,
    exceedance,
    is_tasks,
    label_of,
    predicted,
    prediction_columns,
    probabilities,
    result_columns,
    tasks_of,
)

ALL = ["compressed", "grade", "kind", "t2_signal"]
COMPRESSED, GRADE, KIND, T2_SIGNAL = TASKS
NAN = math.nan


def test_logits_and_columns_of_the_four_tasks():
    names = [name for task in tasks_of(ALL) for name in task.logits]
    assert names[:5] == ["compressed", "grade>0", "grade>1", "grade>2", "kind=none"]
    assert columns_of(TASKS) == {
        "compressed": slice(0, 1),
        "grade": slice(1, 4),
        "kind": slice(4, 7),
        "t2_signal": slice(7, 8),
    }


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["grade"], r"first of the tasks must be compressed, got \['grade'\]"),
        (["grade", "compressed"], "first of the tasks must be compressed"),
        ([], "first of the tasks must be compressed"),
        (["compressed", "compressed"], "each at most once"),
        (["compressed", "level"], "must be a list of compressed, grade, kind, t2_signal"),
        ("compressed", "must be a list of"),
        (["compressed", 3], "must be a list of"),
        (None, "must be a list of"),
    ],
)
def test_lists_that_are_no_tasks_are_refused(names, message):
    assert not is_tasks(names)
    with pytest.raises(InputError, match=message):
        tasks_of(names)


@pytest.mark.parametrize(
    ("task", "cell", "label"),
    [
        (GRADE, 3, 3.0),
        (GRADE, 2.0, 2.0),
        (KIND, "none", 0.0),
        (KIND, "Torsion", 1.0),
        (KIND, "partial", 1.0),
        (KIND, "circumferential", 2.0),
        (T2_SIGNAL, 1, 1.0),
        (COMPRESSED, True, 1.0),
        *((task, missing, NAN) for task in TASKS for missing in (None, "", NAN)),
    ],
)
def test_a_cell_is_a_class_or_missing(task, cell, label):
    assert label_of({task.column: cell}, task) == pytest.approx(label, nan_ok=True)


@pytest.mark.parametrize(
    ("task", "cell", "expected"),
    [
        *((GRADE, cell, "0, 1, 2, 3") for cell in (4, -1, 1.5, "2", True, math.inf, [1])),
        *((KIND, cell, "none, partial") for cell in ("oval", 1, True, "1")),
        *((T2_SIGNAL, cell, "0, 1") for cell in (2, 0.5, "bright")),
    ],
)
def test_another_cell_is_refused_with_its_place(task, cell, expected):
    entry = {"image": "a.dcm", "sop_uid": "1.2", "frame": "", "slice_index": 4, task.column: cell}
    with pytest.raises(InputError, match=rf"a\.dcm 1\.2  4: {task.column} must be one of {expected}.*or train without"):
        label_of(entry, task)


def test_classes_weigh_one_over_their_frequency_and_slices_one_on_average():
    grades = [0, 0, 0, 0, 1, 1, 2, None]
    found = class_weights(["compressed", "grade"], [{"label": 1, "grade": grade} for grade in grades])
    assert found == {"grade": pytest.approx([7 / 12, 7 / 6, 7 / 3, 0.0])}  # nobody has grade 3
    mean = sum(found["grade"][grade] for grade in grades if grade is not None) / 7
    assert mean == pytest.approx(1.0)


def test_the_single_task_counts_nothing():
    assert class_weights(["compressed"], [{"image": "a", "label": "mask.nii.gz"}]) == {}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"label": 1}], "no label for the task t2_signal"),
        ([{"t2_signal": 1}, {"t2_signal": 1}, {}], r"one class only \(yes\) for the task t2_signal"),
    ],
)
def test_a_task_that_cannot_be_learned_is_refused(entries, message):
    with pytest.raises(InputError, match=message):
        class_weights(["compressed", "t2_signal"], entries)


def test_ordinal_probabilities_fall_with_the_class_and_sum_to_one():
    logits = 4 * torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    exceeded, shares = exceedance(logits), probabilities(logits, GRADE)
    assert (exceeded[:, 1:] <= exceeded[:, :-1]).all()
    assert (shares >= 0).all()
    assert torch.allclose(shares.sum(1), torch.ones(200))
    assert torch.allclose(shares[:, 2:].sum(1), exceeded[:, 1], atol=1e-6)
    assert torch.equal(predicted(logits, GRADE), (exceeded > 0.5).sum(1))


@pytest.mark.parametrize(
    ("logits", "task", "shares"),
    [
        ([0.0, 0.0, 0.0], GRADE, [1 / 2, 1 / 4, 1 / 8, 1 / 8]),
        ([math.log(3)], T2_SIGNAL, [1 / 4, 3 / 4]),
        ([0.0, math.log(2), 0.0], KIND, [1 / 4, 1 / 2, 1 / 4]),
    ],
)
def test_probabilities_known_in_closed_form(logits, task, shares):
    assert probabilities(torch.tensor([logits]), task)[0].tolist() == pytest.approx(shares)


@pytest.mark.parametrize(
    ("compressed", "grade", "kind", "words"),
    [
        (True, "2", "partial", ""),
        (False, "1", "none", ""),
        (True, "1", "none", "compressed, but grade 1 and kind none"),
        (False, "3", "none", "not compressed, but grade 3"),
        (True, "3", "none", "compressed, but kind none"),
    ],
)
def test_tasks_that_contradict_the_call_are_named(compressed, grade, kind, words):
    assert contradiction(compressed, {"grade_called": grade, "kind_called": kind}) == words
    assert contradiction(compressed, {"t2_signal_called": "yes"}) == ""


def test_a_slice_that_cannot_be_evaluated_has_no_task():
    rows = [{"compressed": None}, {"compressed": 1}]
    without, with_score = with_tasks(rows, torch.zeros(2, 8), TASKS)
    assert without.keys() == with_score.keys()
    assert set(without.values()) == {None}
    assert with_score["grade_called"] == "0"
    assert with_score["contradiction"] == "compressed, but grade 0 and kind none"
    assert with_tasks(rows, torch.zeros(2, 1), TASKS[:1]) == rows


def test_the_ordinal_loss_is_corns():
    """Equation 7 of the paper, written as it is there: each step over the slices that have reached it."""
    generator = torch.Generator().manual_seed(1)
    logits, grades = torch.randn(40, 3, generator=generator), torch.randint(0, 4, (40,), generator=generator)
    total, n_steps = 0.0, 0
    for step in range(3):
        reached = grades > step - 1
        chance = torch.sigmoid(logits[reached, step])
        exceeds = (grades[reached] > step).float()
        total -= float((exceeds * chance.log() + (1 - exceeds) * (1 - chance).log()).sum())
        n_steps += int(reached.sum())
    found = slice_losses(logits, grades, GRADE)
    assert float(found.sum()) / n_steps == pytest.approx(total / n_steps, rel=1e-5)


@pytest.mark.parametrize("task", [COMPRESSED, GRADE, T2_SIGNAL, KIND], ids=lambda task: task.name)
def test_every_loss_is_minus_the_log_of_the_probability_of_the_class(task):
    """For CORN, too: its steps are a factorisation of the class's probability."""
    logits = torch.randn(20, len(task.logits), generator=torch.Generator().manual_seed(2))
    classes = torch.arange(20) % len(task.classes)
    expected = -probabilities(logits, task).gather(1, classes[:, None])[:, 0].log()
    assert torch.allclose(slice_losses(logits, classes, task), expected, atol=1e-4)


def test_the_single_task_has_the_loss_it_had():
    logits, labels = torch.randn(8, 1), torch.randint(0, 2, (8, 1)).float()
    assert torch.equal(task_loss(["compressed"], 3.8, {})(logits, labels), weighted_bce(3.8)(logits, labels))
    assert type(task_loss()) is torch.nn.BCEWithLogitsLoss


def test_losses_are_summed_and_weighed_by_class():
    logits, labels = torch.randn(6, 8), torch.tensor([[1.0, 3, 2, 1], [0, 0, 0, 0]] * 3)
    weights = {"grade": [1.0, 1, 1, 5], "kind": [2.0, 1, 3], "t2_signal": [0.5, 4.0]}
    loss = TaskLoss(ALL, 3.8, weights)
    expected = weighted_bce(3.8)(logits[:, :1], labels[:, :1])
    for number, task in enumerate(TASKS[1:], 1):
        classes = labels[:, number].long()
        each = slice_losses(logits[:, columns_of(TASKS)[task.name]], classes, task)
        part = (each * torch.tensor(weights[task.name])[classes]).mean()
        assert torch.allclose(loss.part(task.name)(logits, labels), part)
        expected = expected + part
    assert torch.allclose(loss(logits, labels), expected)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_missing_label_has_no_gradient_and_changes_nothing_of_the_others(number):
    labels = torch.tensor([[1.0, 2, 1, 0], [0, 1, 0, 1], [1, 3, 2, 1]])
    missing = labels.clone()
    missing[1, number] = NAN
    gradients = []
    for given in (labels, missing):
        logits = torch.linspace(-1, 1, 24).reshape(3, 8).requires_grad_(True)
        loss = TaskLoss(ALL)(logits, given)
        assert torch.isfinite(loss)
        loss.backward()
        gradients.append(logits.grad)
    own = torch.zeros(3, 8, dtype=torch.bool)
    own[1, columns_of(TASKS)[TASKS[number].name]] = True
    assert (gradients[1][own] == 0).all()
    assert (gradients[0][own] != 0).any()
    assert torch.equal(gradients[0][~own], gradients[1][~own])


def test_a_batch_without_any_label_of_the_other_tasks_trains_compressed_alone():
    logits = torch.randn(4, 8, requires_grad=True)
    labels = torch.full((4, 4), NAN)
    labels[:, 0] = torch.tensor([0.0, 1, 0, 1])
    TaskLoss(ALL)(logits, labels).backward()
    assert (logits.grad[:, 1:] == 0).all()
    assert (logits.grad[:, 0] != 0).all()


def test_a_labelled_slice_counts_the_same_in_whatever_batch_it_comes():
    logits, labels = torch.randn(8, 8), torch.tensor([[1.0, 2, NAN, 0], [0, NAN, 1, NAN]] * 4)
    loss = TaskLoss(ALL)
    halves = [loss(logits[part], labels[part]) for part in (slice(0, 3), slice(3, 8))]
    assert torch.allclose(loss(logits, labels), (3 * halves[0] + 5 * halves[1]) / 8)


def test_the_dataset_gives_a_label_of_every_task(cohort, chain):
    entries = datalists.load(cohort / "datalist.json", "validation")
    wanted = [[float(entry["label"]), float(entry["grade"]), float(entry["t2_signal"])] for entry in entries]
    del entries[0]["grade"]
    wanted[0][1] = NAN
    dataset = SliceDataset(entries, chain(), tasks=["compressed", "grade", "t2_signal"])
    found = torch.stack([dataset[number]["label"] for number in range(len(dataset))])
    assert torch.equal(torch.nan_to_num(found, -1), torch.nan_to_num(torch.tensor(wanted), -1))
    assert SliceDataset(entries, chain())[0]["label"].shape == (1,)


def small(folder: Any, cohort: Any, **changes: Any) -> dict[str, Any]:
    folders = {"dataset_dir": str(cohort), "output_dir": str(folder)}
    return {**SMALL, "batch_size": 16, "image_size": 32, "max_epochs": 1, "min_epochs": 1, **folders, **changes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [row.pop("grade") for row in rows], "no label for the task grade"),
        (lambda rows: [row.update(kind="none") for row in rows], r"one class only \(none\) for the task kind"),
        (lambda rows: rows[0].update(grade=4), "grade must be one of 0, 1, 2, 3, or absent; got 4"),
        (lambda rows: rows[0].update(kind="oval"), "kind must be one of none, partial, .*; got 'oval'"),
    ],
)
def test_labels_that_cannot_be_learned_are_found_out_before_any_image_is_read(
    cohort, tmp_path, monkeypatch, change, message
):
    shutil.copytree(cohort, tmp_path / "cohort")
    path = tmp_path / "cohort" / "datalist.json"
    content = json.loads(path.read_text())
    change(content["training"])
    path.write_text(json.dumps(content))
    monkeypatch.setattr(SliceDataset, "_read", lambda _: pytest.fail("an image was read"))
    with pytest.raises(InputError, match=message):
        run_config(["train.json", "tasks.json"], **small(tmp_path / "run", path))


@pytest.mark.slow
def test_the_overlay_trains_evaluates_and_predicts(cohort, tmp_path, axial_series):
    settings = small(tmp_path, cohort, branch="layer4")
    run_config(["train.json", "tasks.json"], **settings)
    content = checkpoints.read(tmp_path / "models" / "model.pt")
    assert (content["tasks"], content["branch"]) == (ALL, "layer4")
    output = content["interface"]["output"]
    assert output["logits"] == [name for task in TASKS for name in task.logits]
    assert [task["name"] for task in output["tasks"]] == ALL
    (row,) = read_rows(tmp_path / "history.csv")
    parts = [float(row[f"val_loss_{name}"]) for name in ALL]
    assert float(row["val_loss"]) == pytest.approx(sum(parts), rel=1e-5)

    run_config(["train.json", "tasks.json", "evaluate.json"], **{**settings, "panels": 0, "sheets": False})
    rows = read_rows(tmp_path / "predictions.csv")
    assert tuple(rows[0])[8:] == prediction_columns(TASKS)
    held_out = {slice_key(entry): entry for entry in datalists.load(cohort / "datalist.json", "testing")}
    for one in rows:
        entry = held_out[slice_key(one)]
        assert one["grade"] == str(entry["grade"])
        shares = [float(one[f"grade_probability_{grade}"]) for grade in range(4)]
        assert sum(shares) == pytest.approx(1)
    metrics = json.loads((tmp_path / "metrics.json").read_text())["tasks"]
    assert sum(map(sum, metrics["grade"]["confusion_matrix"])) == len(rows)
    assert metrics["grade"]["kappa_weights"] == "quadratic"

    weights = str(tmp_path / "models" / "model.pt")
    assert predict(str(axial_series), out=str(tmp_path / "out"), weights=weights) == 0
    (table,) = (tmp_path / "out").glob("*/slices.csv")
    rows = read_rows(table)
    assert tuple(rows[0]) == (*SLICE_COLUMNS, *result_columns(TASKS), "contradiction")
    for one in rows:
        assert sum(float(one[f"kind_probability_{name}"]) for name in KIND.classes) == pytest.approx(1)
        assert one["contradiction"] == contradiction(one["compressed"] == "1", one)
    with pytest.raises(
        InputError, match=r"was trained with tasks \['compressed', 'grade', .* config says \['compressed'\]"
    ):
        run_config(["train.json", "evaluate.json"], **settings)


def test_an_ordinal_task_has_a_logit_for_every_step():
    assert Task("x", "ordinal", ("a", "b", "c"), "x").logits == ("x>a", "x>b")
