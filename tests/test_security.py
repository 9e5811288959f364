"""What comes from outside (headers, tables, checkpoints, archives, configs) is shown and stored, never obeyed."""

from __future__ import annotations

import csv
import itertools
import random

import pytest
from csv_rows import read_rows

from scripts.deidentification.linkage import Linkage, read_private, write_private
from scripts.files import write_csv
from scripts.tables import guard, read_table, unguard

FORMULAS = (
    "=HYPERLINK(\"http://x\";\"y\")", "+49 30 1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "\n@x", "＝1+1", " =1", "'=1", "''-x",
    "a;=1", "a\t-x;+b", "x\r\n=1", "-", "=", "-1.5 mm", "-1;-2",
)  # fmt: skip
PLAIN = ("-1.5", "+3", "-1e-5", "-.5", "1.2.840.10008", "O'Neil", "'quoted'", "a=b", "x - y", "", "Müller; Jo", "'")


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_looks_like_a_formula_is_written_as_text_and_read_back_exactly(tmp_path, text):
    write_csv(tmp_path / "a.csv", ["rater", text], [{"rater": text, text: "x"}])
    (written,) = read_rows(tmp_path / "a.csv")
    cells = [part for cell in (*written, *written.values()) for part in cell.replace("\t", ";").splitlines()]
    for part in itertools.chain.from_iterable(cell.split(";") for cell in cells):
        assert not part.lstrip(" ").startswith(tuple("=+-@＝")), part
    (row,) = read_table(tmp_path / "a.csv", ["rater"])
    assert row["rater"] == text.strip()
    assert list(row.cells) == ["rater", text.strip()]


@pytest.mark.parametrize("text", PLAIN)
def test_numbers_and_ordinary_text_are_written_as_they_are(text):
    assert guard(text) == unguard(text) == text


def test_numbers_that_are_no_text_stay_numbers(tmp_path):
    write_csv(tmp_path / "a.csv", ["a", "b", "c"], [{"a": -1.5, "b": -2, "c": None}])
    assert (tmp_path / "a.csv").read_bytes() == b"a,b,c\r\n-1.5,-2,\r\n"


def test_any_text_comes_back_from_the_guard():
    draw = random.Random(12)
    for _ in range(20_000):
        text = "".join(draw.choices("'=+-@; \t\r\na1＝", k=draw.randrange(9)))
        assert unguard(guard(text)) == text
        assert unguard(guard(guard(text))) == guard(text)


def test_the_private_tables_of_deidentification_are_guarded_too(tmp_path):
    linkage = Linkage("00" * 32)
    pseudonym = linkage.patient("=cmd|'/C calc'!A1")
    linkage.write(tmp_path / "linkage.csv")
    with (tmp_path / "linkage.csv").open(newline="") as stream:
        assert not any(cell.startswith("=") for row in csv.reader(stream) for cell in row)
    assert Linkage.read(tmp_path / "linkage.csv").known == {("patient", "=cmd|'/C calc'!A1"): pseudonym}
    write_private(tmp_path / "refused.csv", [("path", "reason"), ("@odd", "-x"), (b"\xff".decode(errors="surrogateescape"), "y")])
    assert read_private(tmp_path / "refused.csv") == [("@odd", "-x"), ("\udcff", "y")]


def test_names_of_files_that_are_no_utf8_can_be_written(tmp_path):
    write_csv(tmp_path / "a.csv", ["path"], [{"path": "a\udcffb"}])
    assert read_rows(tmp_path / "a.csv") == [{"path": "a\\udcffb"}]
