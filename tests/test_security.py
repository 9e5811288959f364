"""What comes from outside (headers, tables, checkpoints, archives, configs) is shown and stored, never obeyed."""

from __future__ import annotations

import csv
import itertools
import pickle
import random
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from csv_rows import read_rows
from tiny_models import SETTINGS, write_t2

from scripts import checkpoints
from scripts.deidentification.linkage import Linkage, read_private, write_private
from scripts.errors import InputError
from scripts.files import write_csv
from scripts.inference.predict import predict
from scripts.networks import pretrained_state
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
    write_private(
        tmp_path / "refused.csv", [("path", "reason"), ("@odd", "-x"), (b"\xff".decode(errors="surrogateescape"), "y")]
    )
    assert read_private(tmp_path / "refused.csv") == [("@odd", "-x"), ("\udcff", "y")]


def test_names_of_files_that_are_no_utf8_can_be_written(tmp_path):
    write_csv(tmp_path / "a.csv", ["path"], [{"path": "a\udcffb"}])
    assert read_rows(tmp_path / "a.csv") == [{"path": "a\\udcffb"}]


class Bomb:
    """What a pickle runs when it is read without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def saved(path: Path, **changes) -> Path:
    """Write a checkpoint with one small tensor; a change that is None leaves the key out."""
    about = {"trained_on": {"phantom": False}, "epoch": 1, "pos_weight": 2.0, "precision": "fp32"}
    content = {"model": {"head.logit.bias": torch.zeros(1)}, **SETTINGS, **about, **changes}
    torch.save({name: value for name, value in content.items() if value is not None}, path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_t2(folder / "in", n=2)
    return folder / "in"


@contextmanager
def recursion_limit(limit: int) -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


CODE = "$__import__('pathlib').Path({path!r}).touch() or {value!r}"
OBEYED = {"architecture": "resnet18", "profile": "imagenet", "image_size": 64, "crop_fraction": 1.0, "head": [8]}


@pytest.mark.parametrize("name", OBEYED)
def test_a_checkpoint_cannot_bring_an_expression_into_the_config(tmp_path, images, name):
    """Settings of a checkpoint become values of inference.json, in which MONAI runs text that begins with ``$``."""
    code = CODE.format(path=str(tmp_path / "ran"), value=OBEYED[name])
    path = saved(tmp_path / "model.pt", **{name: [code] if name == "head" else code})
    with pytest.raises(InputError, match=f"{name} must be"):
        predict(str(images), out=str(tmp_path / "out"), weights=str(path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("reader", [checkpoints.read, lambda path: pretrained_state(str(path), "resnet18")])
def test_code_in_a_checkpoint_is_not_run(tmp_path, reader):
    path = saved(tmp_path / "model.pt", extra=Bomb(tmp_path / "ran"))
    with pytest.raises(InputError, match="safely"):
        reader(path)
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(InputError, match="safely"):
        reader(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("reader", [checkpoints.read, lambda path: pretrained_state(str(path), "resnet18")])
def test_a_checkpoint_that_unpacks_to_more_than_it_holds_is_refused(tmp_path, reader):
    plain = saved(tmp_path / "plain.pt", extra=torch.zeros(200_000))
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    with pytest.raises(InputError, match="is compressed"):
        reader(tmp_path / "bomb.pt")


@pytest.mark.parametrize("reader", [checkpoints.read, lambda path: pretrained_state(str(path), "resnet18")])
def test_a_checkpoint_of_endless_lists_is_refused(tmp_path, reader):
    nested: list = []
    for _ in range(2000):
        nested = [nested]
    with recursion_limit(20_000):
        path = saved(tmp_path / "model.pt", extra=nested)
    with pytest.raises(InputError, match="safely"):
        reader(path)


@pytest.mark.parametrize("reader", [checkpoints.read, lambda path: pretrained_state(str(path), "resnet18")])
def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path, reader):
    path = saved(tmp_path / "model.pt", extra={"nested": [torch.zeros(1).expand(10**12)]})
    with pytest.raises(InputError, match="claims"):
        reader(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": [10**9]}, "head must be"),
        ({"head": [8] * 1000}, "head must be"),
        ({"head": 8}, "head must be"),
        ({"image_size": 10**6}, "image_size must be"),
        ({"image_size": True}, "image_size must be"),
        ({"crop_fraction": float("nan")}, "crop_fraction must be"),
        ({"profile": ["imagenet"]}, "profile must be"),
        ({"architecture": "vgg 16"}, "architecture must be"),
        ({"trained_on": [1]}, "trained_on must be"),
        ({"epoch": "<script>"}, "epoch must be"),
        ({"pos_weight": float("inf")}, "pos_weight must be"),
        ({"precision": "$x"}, "precision must be"),
    ],
)
def test_settings_that_no_training_writes_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        checkpoints.read(saved(tmp_path / "model.pt", **changes))


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    """A logit that is no number is below every threshold: each slice would pass for not compressed."""
    state = {"features": torch.ones(3), "head.logit.bias": torch.tensor([1.0, float("nan")])}
    with pytest.raises(InputError, match=r"head\.logit\.bias .* no numbers"):
        checkpoints.read(saved(tmp_path / "model.pt", model=state))
    with pytest.raises(InputError, match="holds no 'model'"):
        checkpoints.read(saved(tmp_path / "model.pt", model={"a": "b"}))


def test_checkpoints_of_every_kind_that_training_writes_are_read(tmp_path):
    assert checkpoints.read(saved(tmp_path / "a.pt"))["head"] == [8]
    half = {"features": torch.ones(3).half(), "count": torch.tensor(3)}
    shared = torch.zeros(4)
    states = {
        "optimizer": {"state": {0: {"step": torch.tensor(3.0), "a": shared, "b": shared}}},
        "trainer": {"epoch": 1},
    }
    assert checkpoints.read(saved(tmp_path / "b.pt", model=half, epoch=None, precision=None, trained_on=None, **states))


def test_every_torch_load_reads_weights_only_and_nothing_else_unpickles():
    """One place loads tensors; model.ts, a program, is loaded by the Deploy application and the exporter alone."""
    calls: dict[str, list[str]] = {}
    for path in sorted([*(ROOT / "scripts").rglob("*.py"), *(ROOT / "bundle").rglob("*.py")]):
        text = path.read_text(encoding="utf-8")
        for call in re.findall(
            r"torch\.load\(|jit\.load\(|export\.load\(|pickle\.|joblib\.load|np\.load\(|yaml\.load\(|xml\.|"
            r"read_pickle|\beval\(\w|\bexec\(",
            text,
        ):
            calls.setdefault(call, []).append(path.relative_to(ROOT).as_posix())
    assert calls == {
        "torch.load(": ["scripts/networks.py"],
        "jit.load(": ["bundle/deploy/classification.py", "bundle/exporting.py"],
        "export.load(": ["bundle/exporting.py"],
    }
    assert "weights_only=True" in (ROOT / "scripts" / "networks.py").read_text(encoding="utf-8")
