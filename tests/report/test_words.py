"""How a report tells its results: nothing is claimed that the run does not know, and what is missing says why."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
import simulated_runs

from scripts.errors import InputError
from scripts.report.card import performance
from scripts.report.command import report
from scripts.report.page import write_page
from scripts.report.settings import run_settings

SETTINGS = {
    "architecture": "resnet50", "head": [512, 512], "image_size": 128, "crop_fraction": 0.45, "side_mm": None,
    "profile": "imagenet", "context": 0, "outlines": False, "tasks": ["compressed"], "pos_weight": 3.8,
    "precision": "fp32", "epoch": 3, "pretrained": "none", "optimizer": "Adam", "learning_rate": 3e-4, "beta1": 0.9,
    "batch_size": 16, "dropout": 0.3, "max_epochs": 8, "min_epochs": 4, "patience": 3,
    "augmentation": ["RandFlipd: prob 0.5", "RandAffined: prob 0.8, rotate_range 0.175"],
}  # fmt: skip
"""What evaluations write of a training at other settings than the paper's."""
DEPARTING = [
    *("weights to begin with", "side of the image (pixels)", "what it shows", "grey values", "augmentation"),
    *("learning rate", "end of the training"),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A phantom run of few patients that says how it was trained; its regions are its sites under other names."""
    folder = tmp_path_factory.mktemp("study")
    run = simulated_runs.write(folder / "run", 24, 5, phantom=True)
    people = pd.read_csv(run / "patients.csv", dtype=str, keep_default_na=False)
    people["region"] = people["site"].map({"north": "Europe", "south": "Asia"})
    people.to_csv(run / "patients.csv", index=False)
    for name in ("metrics.json", "metrics_validation.json"):
        (run / name).write_text(json.dumps({"settings": SETTINGS}))
    (run / "history.csv").write_text("epoch,val_loss\n1,0.5\n2,0.4\n3,0.3\n4,0.4\n5,0.5\n6,0.6\n")
    slices = pd.read_csv(run / "predictions.csv", dtype=str, keep_default_na=False)
    entries = [
        {**row, "image": f"dicom/{row['patient_id']}/{row['slice_index']}.dcm", "frame": ""}
        for row in slices[["patient_id", "series_uid", "sop_uid", "slice_index"]].to_dict("records")
    ]
    (run / "datalist.json").write_text(json.dumps({"phantom": True, "testing": entries}))
    report(str(run), out=str(folder / "report"))
    return folder


@pytest.fixture(scope="module")
def content(study):
    return json.loads((study / "report" / "report.json").read_text())


def text_of(folder):
    """The text of a page, without pictures and tags."""
    page = re.sub(r"<(style|script).*?</\1>", "", (folder / "report.html").read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


@pytest.fixture
def told(content, tmp_path):
    """Render the report with some of its content changed, without figures."""

    def render(**changes):
        write_page(tmp_path, {**content, "figures": [], **changes})
        return text_of(tmp_path)

    return render


def test_who_made_the_reference_is_told_as_it_is_known(told):
    by_people = "a reference that people made", "judgement of people", "made by people"
    phantom, patients, unknown = told(), told(phantom=False), told(phantom=None)
    assert not [words for words in by_people if words in phantom + unknown]
    assert "a reference of simulated patients" in phantom
    assert "The reference is simulated" in phantom
    assert by_people[0] in patients
    assert by_people[1] in patients
    assert "simulated" not in patients + unknown


def test_no_family_of_tests_is_called_declared_beforehand(told, content):
    groups = content["subgroups"]
    assert groups["by_default"]
    for by_default, words in ((True, "takes where none are named"), (False, "named with --columns")):
        page = told(subgroups={**groups, "by_default": by_default})
        assert "eclared" not in page
        assert words in page
        assert "Whether they were fixed before anybody saw results is not recorded" in page


@pytest.mark.parametrize(
    ("n", "said"), [(0, "Nothing could be tested"), (1, "One test was made"), (7, "7 tests; their p-values are")]
)
def test_holm_is_named_only_where_there_is_something_to_adjust(told, content, n, said):
    groups, readers = ({**content[name], "n_tests": n} for name in ("subgroups", "readers"))
    page = told(subgroups=groups, readers=readers)
    assert page.count(said) == 2
    assert ("adjusted together by Holm" in page) is (n > 1)
    assert " 0 tests" not in page


def test_columns_that_divide_the_patients_alike_count_once(study, content, tmp_path, told):
    found = content["subgroups"]
    assert found["repeated"] == [{"column": "site", "same_as": "region"}]
    report(str(study / "run"), out=str(tmp_path / "out"), columns="age,mjoa,region,sex,maker")
    alone = json.loads((tmp_path / "out" / "report.json").read_text())["subgroups"]
    assert found["n_tests"] == alone["n_tests"] > 0
    assert not alone["by_default"]
    rows = {(row["column"], row["level"]): row for row in found["rows"]}
    for site, region in (("north", "Europe"), ("south", "Asia")):
        one, other = rows["site", site], rows["region", region]
        assert not one["counted"]
        assert one["pooled_difference"] == other["pooled_difference"]
        assert one["pooled_p_holm"] == other["pooled_p_holm"]
    assert rows["region", "Europe"]["pooled_p_holm"] == next(
        row["pooled_p_holm"] for row in alone["rows"] if row["level"] == "Europe"
    )
    assert "Site divides these patients exactly as region does, so each of its tests counts once." in told()


def test_medians_units_and_wrong_slices_are_named(study, content):
    page = text_of(study / "report")
    assert re.search(r"slices \(median \d+ per patient", page)
    assert re.search(r"Height mean 1\.\d\d m \(SD 0\.\d\d, 1\.\d\d to", page)
    for kind in ("false_negatives", "false_positives"):
        assert content["mistakes"][kind]
        for row in content["mistakes"][kind]:
            assert row["file"] == f"dicom/{row['patient_id']}/{row['slice_index']}.dcm"
            assert f"{row['patient_id']} {row['slice_index']} {row['file']} {row['series_uid']}" in page


def test_what_is_missing_says_why_in_its_place_and_nothing_is_listed_that_is_not_shown(study, content):
    page = text_of(study / "report")
    gaps = re.findall(r"(?:no interval|not defined)(?!: \w)[^.]{0,30}", page)
    assert gaps == []
    assert "no interval: " in page
    assert len(content["undefined"]) > 5
    assert not [row["path"] for row in content["undefined"] if row["path"] in page]


def test_a_lower_bound_is_not_called_a_sensitivity(content):
    status = content["operating_points"]["sensitivity_95"]["status"]
    assert re.match(r"unattained: .* one-sided 95 % lower bound of the sensitivity is only 0\.\d+ even where", status)


def test_page_and_card_state_the_settings_of_the_run(study, content):
    rows = {row["setting"]: row for row in content["settings"]}
    assert [name for name, row in rows.items() if row["departs"]] == DEPARTING
    shown = {
        **{"side of the image (pixels)": "128", "what it shows": "the middle 45 % of its side", "epochs run": "6"},
        **{"weights to begin with": "none", "learning rate": "0.0003", "slices in a batch": "16"},
        **{"epochs at most": "8"},
        **{"augmentation": "; ".join(SETTINGS["augmentation"]), "precision of the training": "fp32"},
        **{"weight of compressed slices in the loss": "3.8", "end of the training": (
            "after 4 epochs at least, once 3 bring no lower validation loss"
        )},
    }  # fmt: skip
    assert {name: rows[name]["this"] for name in shown} == shown
    page, card = text_of(study / "report"), performance(content)
    for name, value in shown.items():
        assert f"{name} {value} {rows[name]['paper']}" in page
        assert f"| {name} | {value} | {rows[name]['paper']} |" in card
    for text in (page, card):
        assert f"Other than in the paper: {', '.join(DEPARTING)}." in text
        assert "ot recorded in the run" not in text


def test_settings_that_a_run_does_not_record_are_named(study, tmp_path, told):
    rows = run_settings(tmp_path)
    assert {row["this"] for row in rows} == {"not recorded"}
    kept = {name: value for name, value in SETTINGS.items() if name not in ("augmentation", "learning_rate")}
    (tmp_path / "metrics.json").write_text(json.dumps({"settings": {**kept, "head": "differs"}}))
    found = {row["setting"]: row for row in run_settings(tmp_path)}
    missing = [name for name, row in found.items() if row["this"] == "not recorded"]
    assert missing == ["augmentation", "learning rate", "epochs run"]
    assert (found["hidden layers of the head"]["this"][:7], found["hidden layers of the head"]["departs"]) == (
        "differs",
        None,
    )
    for wrong in ([1], {**SETTINGS, "min_epochs": 4, "head": 3}):
        (tmp_path / "metrics.json").write_text(json.dumps({"settings": wrong}))
        with pytest.raises(InputError, match="evaluate the run anew"):
            run_settings(tmp_path)
