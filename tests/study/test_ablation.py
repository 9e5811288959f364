"""What each idea buys: variants of one protocol over several seeds."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL

from scripts.errors import InputError
from scripts.evaluation.auc import averaged, components, covariance
from scripts.evaluation.comparisons import paired_auc, paired_components
from scripts.files import ROOT
from scripts.study.ablation import ablation, choose, read_seeds, read_study
from scripts.study.variants import Trained, compare, task_table, write_tables
from scripts.tables import read_table

STUDIES = sorted((ROOT / "configs" / "ablation").glob("*.json"))


def training(scores: Any) -> Trained:
    """Return a training that gave 12 slices of four patients these logits."""
    patients = [f"P{number // 3}" for number in range(12)]
    frame = pd.DataFrame({"patient_id": patients, "label": [0, 0, 1] * 4, "logit": np.asarray(scores, float)})
    frame["grade"] = [1.0, 0.0, 3.0] * 4
    frame["series_uid"], frame["frame"], frame["sop_uid"] = "1.2", "", [f"1.{number}" for number in range(12)]
    return Trained(0.0, 2.0, {"testing": frame}, {"testing": {}})


def test_the_mean_of_the_aucs_of_several_networks_has_the_variance_of_that_mean() -> None:
    rng = np.random.default_rng(0)
    label, patients = np.tile([0, 0, 1], 40), np.repeat(np.arange(20), 6)
    parts = [components(label, label + rng.normal(0, 1, 120), patients) for _ in range(3)]
    mean = averaged(parts)
    assert mean.auc == pytest.approx(np.mean([one.auc for one in parts]))
    expected = np.mean([[covariance(a, b) for b in parts] for a in parts])
    assert covariance(mean, mean) == pytest.approx(expected)


def test_one_seed_gives_the_paired_test_of_two_networks() -> None:
    rng = np.random.default_rng(1)
    label, patients = np.tile([0, 0, 1], 40), np.repeat(np.arange(20), 6)
    a, b = (label + rng.normal(0, 1, 120) for _ in range(2))
    same = paired_components(averaged([components(label, a, patients)]), components(label, b, patients), 120)
    assert same == paired_auc(label, a, b, patients)


def test_a_variant_has_the_mean_over_its_seeds_and_the_difference_to_its_rival() -> None:
    good, bad = [-1, -2, 3] * 4, [2, -2, 1] * 4  # AUC 1, and 1/2 against the first of each patient's slices
    variants = {"a": {}, "b": {"against": "a"}, "c": {"against": "a", "ensemble_of": "a"}}
    several = {"a": [training(bad), training(good)], "b": [training(good), training(good)], "c": []}
    row = compare("a", variants, several, "testing")
    assert (row["auc"], row["auc_lowest_seed"], row["auc_highest_seed"]) == (0.75, 0.5, 1.0)
    assert (row["sensitivity"], row["specificity"], row["grade_1_auc"]) == (1.0, 0.75, 0.5)
    assert compare("b", variants, several, "testing")["difference"] == 0.25
    # the mean logits are 0.5, -2 and 2: the compressed slice is above both
    ensemble = compare("c", variants, several, "testing")
    assert (ensemble["auc"], ensemble["specificity"], ensemble["minutes"]) == (1.0, 0.5, 0.0)


def test_trainings_that_scored_other_slices_are_not_compared() -> None:
    other = training([0.0] * 12)
    other.scored["testing"].loc[0, "sop_uid"] = "1.99"
    with pytest.raises(InputError, match="scored different slices of testing"):
        compare("a", {"a": {}}, {"a": [training([0.0] * 12), other]}, "testing")


def test_what_has_no_interval_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.study.variants.is_phantom", lambda _: True)
    monkeypatch.setattr("scripts.study.variants.cohort_title", lambda _: "synthetic phantom cohort")
    text = write_tables(tmp_path / "ablation", "cohort", {"a": {"meaning": "x"}}, {"a": [training([-1, -2, 3] * 4)]})
    reason = "no interval: the two classes do not overlap, so the spread cannot be estimated"
    assert f"| a | 1.000 ({reason}) | one |" in text
    assert "Synthetic phantom cohort, held-out patients: 4 patients, 12 slices" in text
    assert "1 network was scored on the same held-out patients, and each is a look" in text
    (row,) = read_table(tmp_path / "ablation.csv", ("variant",))
    assert (row["phantom"], row["auc_low"], row["difference"]) == ("yes", "", "")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_shipped_studies_name_settings_and_configs_that_exist(path: Path) -> None:
    common, variants = read_study(path)
    known = json.loads((ROOT / "configs" / "train.json").read_text(encoding="utf-8"))
    for one in variants.values():
        assert {*common, *one.get("overrides", {})} <= set(known)
        assert all((ROOT / "configs" / name).is_file() for name in one.get("configs", []))
        assert not one.get("canal") or "side_mm" in {**common, **one["overrides"]}
    assert choose(variants, "", path) == variants


def test_a_chosen_variant_brings_those_it_is_compared_with() -> None:
    variants: dict[str, dict[str, Any]] = {"a": {}, "b": {"against": "a"}, "c": {"against": "b"}, "d": {}}
    assert list(choose(variants, "c", Path("x"))) == ["a", "b", "c"]
    with pytest.raises(InputError, match="--variants names e"):
        choose(variants, "a,e", Path("x"))


@pytest.mark.parametrize("text", ["", "a", "1,1", "-1", "1.5"])
def test_seeds_are_whole_numbers_each_once(text: str) -> None:
    with pytest.raises(InputError, match="--seeds"):
        read_seeds(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "must hold 'common' and 'variants'"),
        ({"variants": {}}, "must hold"),
        ({"variants": {"a": ["red"]}}, "variant a must be an object"),
        ({"variants": {"a": {"colour": "red"}}}, "variant a says colour"),
        ({"variants": {"a": {"canal": "yes"}}}, "variant a says canal"),
        ({"variants": {"a": {"against": "b"}}}, "against 'b'"),
        ({"variants": {"a": {"against": "a"}}}, "against 'a'"),
        ({"variants": {"a": {}, "b": {"ensemble_of": "a"}, "c": {"ensemble_of": "b"}}}, "which is one itself"),
    ],
)
def test_a_study_that_says_something_else_is_refused(tmp_path: Path, content: object, said: str) -> None:
    (tmp_path / "study.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_study(tmp_path / "study.json")


@pytest.fixture(scope="module")
def small_study(tmp_path_factory: pytest.TempPathFactory, cohort: Path) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("ablation")
    content = {
        "common": {**{key: value for key, value in SMALL.items() if key != "num_workers"}, "max_epochs": 1},
        "variants": {
            "plain": {"meaning": "one slice"},
            "context": {"meaning": "with neighbours", "against": "plain", "overrides": {"context": 1}},
            "both": {"meaning": "mean of the seeds", "against": "plain", "ensemble_of": "plain"},
        },
    }
    (folder / "study.json").write_text(json.dumps(content), encoding="utf-8")
    return SimpleNamespace(folder=folder, cohort=cohort, study=str(folder / "study.json"))


def test_a_study_trains_every_variant_with_every_seed_and_can_be_continued(
    small_study: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scripts import runner

    out, cohort = small_study.folder / "out", str(small_study.cohort)
    page = small_study.folder / "page.md"
    page.write_text("before\n<!-- study: begin -->\nold\n<!-- study: end -->\nafter\n", encoding="utf-8")
    arguments: dict[str, Any] = {"study": small_study.study, "overrides": '{"num_workers": 0}'}
    trained: list[str] = []
    run_config = runner.run_config

    def counted(files: Any, *args: Any, **changes: Any) -> Any:
        if "evaluate.json" not in files:
            trained.append(str(changes["output_dir"]))
        return run_config(files, *args, **changes)

    monkeypatch.setattr(runner, "run_config", counted)
    ablation(cohort, out=str(out), variants="context", seeds="0", **arguments)
    assert trained == [str(out / name / "seed-0") for name in ("plain", "context")]
    trained.clear()
    ablation(cohort, out=str(out), variants="both", seeds="0,1", doc=str(page), **arguments)
    assert trained == [str(out / "plain" / "seed-1")]
    rows = read_table(out / "ablation.csv", ("variant", "auc", "seeds", "phantom"))
    found = [(row["variant"], row["seeds"], row["phantom"]) for row in rows]
    assert found == [("plain", "2", "yes"), ("both", "2", "yes")]
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- study: begin -->\n```\npython -m scripts ablation COHORT --out OUT")
    assert text.endswith("<!-- study: end -->\nafter\n")
    assert "old" not in text


def test_an_external_cohort_given_as_this_folder_has_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its results would be looked for where those of the held-out patients lie, and be found there."""
    from scripts.study import variants

    (tmp_path / "hospital").mkdir()
    monkeypatch.chdir(tmp_path / "hospital")
    scored: list[str] = []
    monkeypatch.setattr(variants.runner, "run_config", lambda *_, output_dir, **__: scored.append(output_dir))
    experiment = variants.Experiment(tmp_path / "seed-0", [], "cohort")
    experiment.folder.mkdir()
    (experiment.folder / "metrics.json").write_text("{}")
    variants.score_external(experiment, ".")
    assert scored == [str(experiment.folder / "hospital")]


def test_a_study_that_cannot_be_trained_is_refused_before_its_localiser_is_trained(
    small_study: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scripts.study import variants

    monkeypatch.setattr(variants, "train_localiser", lambda *_: pytest.fail("the localiser was trained"))
    content = {"variants": {"plain": {}, "crop": {"canal": True, "against": "plain"}}}
    (small_study.folder / "crop.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="max_epochs must be a whole number"):
        ablation(
            str(small_study.cohort),
            out=str(small_study.folder / "refused"),
            study=str(small_study.folder / "crop.json"),
            overrides='{"max_epochs": 0}',
        )


def test_further_tasks_stand_in_a_table_as_means_over_the_seeds() -> None:
    first = {"testing": {"grade": (0.5, 0.8), "kind": (0.6, None)}, "gre": {"grade": (0.4, 0.6), "kind": (0.5, 0.1)}}
    second = {"testing": {"grade": (0.7, 0.6), "kind": (0.8, 0.5)}, "gre": {"grade": (0.6, 0.4), "kind": (0.7, 0.3)}}
    several = [Trained(0.0, 1.0, {}, tasks) for tasks in (first, second)]
    plain = [Trained(0.0, 1.0, {}, {"testing": {}, "gre": {}})]
    title, table = task_table({"crop": {}, "tasks": {}}, {"crop": plain, "tasks": several})
    assert "against the reference" in title
    assert table.splitlines()[2:] == [
        "| tasks | testing | 0.600, κ 0.700 | 0.700, κ 0.500 |",
        "| tasks | gre | 0.500, κ 0.500 | 0.600, κ 0.200 |",
    ]
    assert task_table({"crop": {}}, {"crop": plain}) == []
