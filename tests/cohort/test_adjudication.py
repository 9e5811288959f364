"""Agreement of raters, and the consensus."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cohort_fixtures import N_PATIENTS, N_SLICES, label_row, label_rows, patients
from csv_rows import read_rows, write_rows
from dicom_fixtures import uid
from sklearn.metrics import cohen_kappa_score

from scripts.cohort.adjudication import agree, consensus
from scripts.cohort.labels import is_reason, read_labels
from scripts.errors import InputError


def three_raters() -> list[dict]:
    """Give a, b and c, of whom b flips every seventh slice and c cannot evaluate the first; c reads twice."""
    rows = label_rows("abc")
    for number, row in enumerate(rows):
        if row["rater"] == "b" and number % 7 == 0:
            row["label"] = 1 - row["label"]
        if row["rater"] == "b" and number % 5 == 0:
            row["grade"] = (row["grade"] + 1) % 4
    first = next(row for row in rows if row["rater"] == "c")
    first.update(status="motion", label="", grade="")
    again = [row | {"reading": "2"} for row in rows if row["rater"] == "c" and row["status"] == "evaluable"]
    again[0]["label"] = 1 - again[0]["label"]
    return rows + again


@pytest.fixture
def folder(tmp_path) -> Path:
    write_rows(tmp_path / "labels.csv", three_raters())
    return tmp_path


def run_agree(folder: Path, **options) -> list[dict[str, str]]:
    assert agree(str(folder / "labels.csv"), str(folder / "adjudicate.csv"), **options) == 0
    return read_rows(folder / "adjudicate_kappa.csv")


def run_consensus(folder: Path) -> list[dict[str, str]]:
    consensus(*(str(folder / name) for name in ("labels.csv", "adjudicate.csv", "consensus.csv")))
    return read_rows(folder / "consensus.csv")


def test_kappas_are_those_of_scikit_learn_for_raters_readings_and_grades(folder, capsys):
    table = {(row["what"], row["first"], row["second"]): row for row in run_agree(folder, weights="quadratic")}
    rows = three_raters()

    def ratings(rater: str, reading: str, what: str) -> dict[str, int]:
        own = [row for row in rows if (row["rater"], row["reading"]) == (rater, reading)]
        return {row["sop_uid"]: row[what] for row in own if row["status"] == "evaluable"}

    def expected(one: dict[str, int], other: dict[str, int], weights: str | None) -> float:
        keys = sorted(set(one) & set(other))
        return cohen_kappa_score([one[k] for k in keys], [other[k] for k in keys], weights=weights)

    for what, weights in (("label", None), ("grade", "quadratic")):
        for (first, a), (second, b) in (
            (("a", ("a", "1")), ("b", ("b", "1"))),
            (("b", ("b", "1")), ("c", ("c", "1"))),
            (("c (1)", ("c", "1")), ("c (2)", ("c", "2"))),
        ):
            found = float(table[what, first, second]["kappa"])
            assert found == pytest.approx(expected(ratings(*a, what), ratings(*b, what), weights), abs=1e-4)
    assert table["label", "a", "b"]["slices"] == str(N_PATIENTS * N_SLICES)
    assert (table["label", "a", "c"]["slices"], table["label", "a", "c"]["not_compared"]) == ("39", "1")
    out = capsys.readouterr().out
    assert "label: a and b: kappa 0." in out
    assert "quadratic weighted kappa" in out
    assert "few patients, a rough interval" in out
    assert out.count("\nlabel kappa") == 1


def test_the_list_to_settle_holds_exactly_the_disagreements_of_first_readings(folder):
    run_agree(folder)
    rows = read_rows(folder / "adjudicate.csv")
    labels = read_labels(folder / "labels.csv")
    a, b = ({one.key[1]: one.label for one in labels if one.rater == rater} for rater in "ab")
    assert {row["sop_uid"] for row in rows} == {k for k in a if a[k] != b[k]} | {uid("P00", "T2", 0)}
    assert {row["ruling"] for row in rows} == {""}
    assert next(row for row in rows if row["sop_uid"] == uid("P00", "T2", 0))["c"] == "motion"


def rule(folder: Path, ruling: str = "1", n: int | None = None) -> None:
    rows = read_rows(folder / "adjudicate.csv")
    for row in rows[:n]:
        row["ruling"] = ruling
    write_rows(folder / "adjudicate.csv", rows)


def test_consensus_refuses_while_a_disagreement_is_open(folder):
    run_agree(folder)
    n = len(read_rows(folder / "adjudicate.csv"))
    rule(folder, n=n - 2)
    with pytest.raises(InputError, match=rf"2 of {n} disagreements are open, first patient P\d\d, sop_uid"):
        run_consensus(folder)
    assert not (folder / "consensus.csv").exists()


def test_consensus_keeps_what_was_agreed_and_takes_what_was_ruled(folder):
    run_agree(folder)
    disputed = {row["sop_uid"] for row in read_rows(folder / "adjudicate.csv")}
    rule(folder, "1")
    final = run_consensus(folder)
    assert len(final) == N_PATIENTS * N_SLICES
    for row in final:
        index = next(i for i in range(N_SLICES) if row["sop_uid"] == uid(row["patient_id"], "T2", i))
        assert row["label"] == ("1" if row["sop_uid"] in disputed else str(int(index >= N_SLICES // 2)))
        assert row["source"] == ("ruled" if row["sop_uid"] in disputed else "agreed")
    labels = read_labels(folder / "consensus.csv")
    assert {(one.rater, one.role, one.status) for one in labels} == {("consensus", "reference", "evaluable")}


def test_consensus_keeps_a_kind_that_all_raters_of_the_final_label_gave(tmp_path):
    rows = label_rows("ab", kind="none")
    for row in rows:
        if row["label"]:
            row["kind"] = "flattening" if row["patient_id"] == "P00" or row["rater"] == "a" else "indentation"
    disputed = next(row for row in rows if (row["patient_id"], row["rater"], row["label"]) == ("P00", "b", 1))
    disputed.update(label=0, kind="none")
    write_rows(tmp_path / "labels.csv", rows)
    run_agree(tmp_path)
    rule(tmp_path, "1")
    final = run_consensus(tmp_path)
    for row in final:
        if row["label"] == "0":
            assert row["kind"] == "none"
        else:
            assert row["kind"] == ("flattening" if row["patient_id"] == "P00" else "")
    assert {one.kind for one in read_labels(tmp_path / "consensus.csv")} == {"none", "flattening", ""}


def test_a_ruling_in_words_makes_the_slice_not_evaluable(folder):
    run_agree(folder)
    rule(folder, "artefact")
    final = run_consensus(folder)
    assert {(row["status"], row["label"]) for row in final if row["source"] == "ruled"} == {("artefact", "")}


def test_raters_who_agree_need_no_rulings(tmp_path):
    write_rows(tmp_path / "labels.csv", label_rows("ab"))
    run_agree(tmp_path)
    assert len(run_consensus(tmp_path)) == N_PATIENTS * N_SLICES


def test_a_reader_neither_makes_nor_disputes_the_reference(tmp_path):
    readers = [row | {"role": "reader", "label": 1 - row["label"]} for row in label_rows("r")]
    write_rows(tmp_path / "labels.csv", label_rows("ab") + readers)
    table = run_agree(tmp_path)
    assert read_rows(tmp_path / "adjudicate.csv") == []
    assert {row["kappa"] for row in table if row["what"] == "label" and row["second"] == "r"} == {"-1.0000"}


def test_a_constant_pair_is_undefined(tmp_path, capsys):
    write_rows(tmp_path / "labels.csv", [label_row(p, 0, r) for p in patients() for r in "ab"])
    assert run_agree(tmp_path)[0]["kappa"] == ""
    reason = "both raters use one category only, so chance agreement is complete"
    assert f"kappa not defined: {reason}, 100.0 % equal, 10 slices" in capsys.readouterr().out


def test_rulings_are_not_overwritten(folder):
    run_agree(folder)
    rule(folder)
    with pytest.raises(InputError, match="holds rulings already"):
        run_agree(folder)


@pytest.mark.parametrize("text", ["motion", "cord outside the slice", "not evaluable", "3 T artefact", "Überlagerung"])
def test_words_are_reasons(text):
    assert is_reason(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            (
                {"ruling": text},
                rf"line 2: ruling must be 1 \(compressed\), 0 .* such as motion; got '{re.escape(text)}'",
            )
            for text in (
                "2",
                "1.0",
                "0,0",
                "-1",
                "1e0",
                "TRUE",
                "false",
                "Yes",
                "no",
                "evaluable",
                "Evaluable",
                "compressed",
                "not compressed",
                "Not-Compressed",
                "1 compressed",
                "?",
                "nan",
            )
        ),
        ({"sop_uid": "1.2.3"}, "line 2: nobody disagrees on this slice"),
        ({"sop_uid": "2.25E+30"}, "is no UID .*spreadsheet turned it into a number"),
    ],
)
def test_bad_rulings_are_refused(folder, change, message):
    run_agree(folder)
    rule(folder)
    rows = read_rows(folder / "adjudicate.csv")
    rows[0].update(change)
    write_rows(folder / "adjudicate.csv", rows)
    with pytest.raises(InputError, match=message):
        run_consensus(folder)


def test_neither_labels_nor_rulings_are_overwritten(folder):
    run_agree(folder)
    rule(folder)
    labels, rulings = folder / "labels.csv", folder / "adjudicate.csv"
    (folder / "x_kappa.csv").write_bytes(labels.read_bytes())
    (folder / "linked.csv").symlink_to(labels)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for command, arguments, message in (
        (consensus, (labels, rulings, labels), r"would overwrite .*labels\.csv, which must stay"),
        (consensus, (labels, rulings, rulings), r"would overwrite .*adjudicate\.csv, which must stay"),
        (consensus, (labels, rulings, folder / "linked.csv"), "would overwrite"),
        (consensus, (labels, rulings, folder), "is a folder"),
        (consensus, (labels, rulings, labels / "x.csv"), "is a file where a folder is needed"),
        (agree, (labels, labels), "would overwrite"),
        (agree, (folder / "x_kappa.csv", folder / "x.csv"), r"would overwrite .*x_kappa\.csv"),
        (agree, (labels, folder), "is a folder"),
        (agree, (labels, labels / "x.csv"), "is a file where a folder is needed"),
    ):
        with pytest.raises(InputError, match=message):
            command(*map(str, arguments))
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_consensus_without_a_list_says_what_to_run(folder):
    with pytest.raises(InputError, match=r"no rulings at .*slices to settle; run `python -m scripts agree`"):
        run_consensus(folder)


def test_unknown_weights_are_refused(folder):
    with pytest.raises(InputError, match="--weights must be none, linear, quadratic, got 'cubic'"):
        run_agree(folder, weights="cubic")
