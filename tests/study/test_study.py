"""docs/study.md, run line by line with fewer patients, smaller images and fewer epochs."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import pytest
from conftest import HOSTILE, ROOT, SMALL
from csv_rows import read_rows
from PIL import Image
from sklearn.metrics import roc_auc_score

from scripts.__main__ import COMMANDS, main

PAGE = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
LINES = re.search(r"^```\n(.*?)^```$", PAGE, re.M | re.S)[1].splitlines()
# head, which the sweep varies, is not among them
TINY = json.dumps({**{name: SMALL[name] for name in SMALL if name != "head"}, "max_epochs": 1, "min_epochs": 1})
SHRUNK = {"--patients": "16", "--overrides": TINY, "--trials": "1"}
ADDED = {"phantom": ["--slices", "6", "--matrix", "64", "--distractors", "false"], "sweep": ["--heads", "2,6"]}


def shrunk(line: str, folder) -> list[str]:
    """The arguments of one line after ``python -m scripts``, below another folder and with shorter values."""
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "scripts"]
    card = str(folder / "card.md")
    words = [word.replace("runs/study", str(folder)).replace("docs/README.md", card) for word in words[3:]]
    for number, word in enumerate(words[:-1]):
        if word in SHRUNK:
            words[number + 1] = SHRUNK[word]
    return [*words, *ADDED.get(words[0], [])]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The whole page, done in a folder whose name much else could misread."""
    folder = tmp_path_factory.mktemp("study") / HOSTILE
    folder.mkdir()
    shutil.copy(ROOT / "docs" / "README.md", folder / "card.md")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for line in LINES:
            assert main(shrunk(line, folder)) == 0, line
    return folder


def test_the_page_goes_from_split_to_report():
    names = [shlex.split(line)[3] for line in LINES]
    assert set(names) <= set(COMMANDS)
    assert names == [*["phantom"] * 2, *["consensus", "split"] * 2, "describe", "sweep", "search", "report"]
    assert int(re.search(r"--patients (\d+)", LINES[0])[1]) >= 60


@pytest.mark.slow
def test_the_whole_page_runs_and_its_files_are_there(study):
    assert [row["model"] for row in read_rows(study / "sweep" / "sweep.csv")] == ["2", "6"]
    assert len(read_rows(study / "search" / "search.csv")) == 1
    for name in ("table1.md", "sweep/sweep.md", "search/search.md", "report/report.html"):
        assert (study / name).stat().st_size > 0
    for name in ("sweep/sweep.png", "search/search.png", "report/figures/roc.png", "report/figures/external_roc.png"):
        with Image.open(study / name) as picture:
            assert min(picture.size) > 300


@pytest.mark.slow
def test_the_report_speaks_of_both_cohorts_in_millimetres_levels_and_makers(study):
    content = json.loads((study / "report" / "report.json").read_text())
    assert content["phantom"] is True
    for part, run in ((content, "winner"), (content["external"], "winner_external")):
        scored = read_rows(study / "sweep" / run / "predictions.csv")
        labels, logits = [int(row["label"]) for row in scored], [float(row["logit"]) for row in scored]
        assert part["pooled"]["auc"]["value"] == pytest.approx(roc_auc_score(labels, logits), abs=1e-9)
        assert part["trial_coding"]["millimetres"] is True
        assert part["disc_levels"] is not None
        assert "maker" in part["subgroups"]["family"]
        assert part["readers"] is not None
    assert content["external"]["cohort"]["n_patients"] == 16
    assert content["cohort"]["facts"]["weights_sha256"] == content["external"]["cohort"]["facts"]["weights_sha256"]


@pytest.mark.slow
def test_the_model_card_holds_the_numbers_of_the_report(study):
    content = json.loads((study / "report" / "report.json").read_text())
    card = (study / "card.md").read_text()
    assert "**Synthetic phantom, not patients.**" in card
    for part in (content, content["external"]):
        assert f"{part['pooled']['auc']['value']:.3f}" in card
    assert content["cohort"]["facts"]["weights_sha256"][:12] in card
