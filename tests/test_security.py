"""What comes from outside (headers, tables, checkpoints, archives, configs) is shown and stored, never obeyed."""

from __future__ import annotations

import csv
import html
import itertools
import json
import pickle
import random
import re
import sys
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import pytest
import simulated_runs
import torch
from conftest import ROOT
from csv_rows import read_rows, write_rows
from file_hashes import hashes
from monai.data import MetaTensor
from pydicom.datadict import dictionary_VR, keyword_for_tag
from tiny_models import SETTINGS, checkpoint, write_t2

from scripts import checkpoints, datalists
from scripts.__main__ import main
from scripts.cohort.describe import as_markdown
from scripts.console import markdown, say
from scripts.deidentification.linkage import Linkage, read_private, write_private
from scripts.deidentification.rules import KEPT
from scripts.errors import InputError
from scripts.files import read_json, write_csv
from scripts.handlers.figures import bars, roc, scatter
from scripts.inference.predict import predict
from scripts.inference.results import slice_results
from scripts.models.weights import pretrained_state
from scripts.report import operating_points_file
from scripts.report.command import report
from scripts.report.page import TEMPLATE
from scripts.study.experiments import format_cell
from scripts.tables import guard, read_table, unguard

FORMULAS = (
    "=HYPERLINK(\"http://x\";\"y\")", "+49 30 1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "\n@x", "\uff1d1+1", " =1",
    "'=1", "''-x", "a;=1", "a\t-x;+b", "x\r\n=1", "-", "=", "-1.5 mm", "-1;-2",
)  # fmt: skip
PLAIN = ("-1.5", "+3", "-1e-5", "-.5", "1.2.840.10008", "O'Neil", "'quoted'", "a=b", "x - y", "", "Müller; Jo", "'")


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_looks_like_a_formula_is_written_as_text_and_read_back_exactly(tmp_path, text):
    write_csv(tmp_path / "a.csv", ["rater", text], [{"rater": text, text: "x"}])
    (written,) = read_rows(tmp_path / "a.csv")
    cells = [part for cell in (*written, *written.values()) for part in cell.replace("\t", ";").splitlines()]
    for part in itertools.chain.from_iterable(cell.split(";") for cell in cells):
        assert not part.lstrip(" ").startswith(tuple("=+-@\uff1d")), part
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
        text = "".join(draw.choices("'=+-@; \t\r\na1\uff1d", k=draw.randrange(9)))
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
OBEYED |= {"tasks": ["compressed"], "branch": "head"}


@pytest.mark.parametrize("name", OBEYED)
def test_a_checkpoint_cannot_bring_an_expression_into_the_config(tmp_path, images, name):
    """Settings of a checkpoint become values of inference.json, in which MONAI runs text that begins with ``$``."""
    code = CODE.format(path=str(tmp_path / "ran"), value=OBEYED[name])
    path = saved(tmp_path / "model.pt", **{name: [code] if name in ("head", "tasks") else code})
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
        ({"architecture": "timm:$x"}, "architecture must be"),
        ({"tasks": ["grade"]}, "tasks must be"),
        ({"tasks": "compressed"}, "tasks must be"),
        ({"tasks": ["compressed", "$x"]}, "tasks must be"),
        ({"branch": "$x"}, "branch must be"),
        ({"branch": ["head"]}, "branch must be"),
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


ODD_TENSORS = {
    "meta": lambda: torch.empty(3, device="meta"),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "sparse": lambda: torch.ones(3).to_sparse(),
}


@pytest.mark.parametrize("kind", ODD_TENSORS)
@pytest.mark.parametrize("place", ["model", "optimizer", "canal"])
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_with_tensors_that_are_no_plain_numbers_is_refused(tmp_path, kind, place):
    state = {"features": ODD_TENSORS[kind]()}
    changes = {"canal": {"model": state}} if place == "canal" else {place: state}
    path = saved(tmp_path / "model.pt", **changes)
    for reader in (checkpoints.read, lambda file: pretrained_state(str(file), "resnet18")):
        with pytest.raises(InputError, match=rf"model\.pt holds a {kind} tensor; expected plain numbers") as caught:
            reader(path)
        assert "\n" not in str(caught.value)


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
    others = r"pickle\.|\bxml\.|read_pickle|\beval\(\w|\bexec\("
    for path in sorted([*(ROOT / "scripts").rglob("*.py"), *(ROOT / "bundle").rglob("*.py")]):
        text = path.read_text(encoding="utf-8")
        for call in re.findall(rf"(?:torch|jit|export|np|yaml|joblib)\.load\(|{others}", text):
            calls.setdefault(call, []).append(path.relative_to(ROOT).as_posix())
    assert calls == {
        "torch.load(": ["scripts/models/files.py"],
        "jit.load(": ["bundle/deploy/classification.py", "bundle/exporting.py"],
        "export.load(": ["bundle/exporting.py"],
        "np.load(": ["scripts/slice_files.py"] * 2,
        "pickle.": ["scripts/cluster/tasks.py"] * 5,  # between processes that hold the same certificates
    }
    cache = (ROOT / "scripts" / "slice_files.py").read_text(encoding="utf-8")
    assert len(re.findall(r"np\.load\([^()]*allow_pickle=False\)", cache)) == 2
    assert "weights_only=True" in (ROOT / "scripts" / "models" / "files.py").read_text(encoding="utf-8")


HOSTILE = "<img src=x onerror=alert(1)>\"'&|[a](javascript:b)`c`$\\frac{$ {{7*7}} <!-- performance: end -->"


@pytest.mark.parametrize(
    "text", ["\x1b[2J\x1b]0;owned\x07", "\x9b31m", "a\rb", "\u202etxt.exe", "x\x00y\x08\x7f", "\u2028"]
)
def test_a_terminal_shows_control_characters_and_does_not_obey_them(capsys, monkeypatch, text):
    say(f"left out {text}")
    monkeypatch.setattr("scripts.cohort.index.index", failing(InputError(f"bad {text}")))
    assert main(["index", "x"]) == 2
    shown = capsys.readouterr()
    for one in (shown.out, shown.err):
        assert one.startswith(("left out ", "error: bad "))
        assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Zl") for letter in one.rstrip("\n")), repr(one)
    say("two\nlines\tand µ ≥ ü")
    assert capsys.readouterr().out == "two\nlines\tand µ ≥ ü\n"


def failing(error: Exception):
    def command(folder: str = "") -> None:
        raise error

    return command


def test_text_in_markdown_is_no_markup():
    assert markdown("T2* - 1.5 mm (n = 3), no_cord") == "T2* - 1.5 mm (n = 3), no_cord"
    shown = markdown(f"{HOSTILE}\n# head\x1b")
    assert not re.search(r"[<>\n\x1b]|(?<!\\)[|\[\]`]", shown)
    assert html.unescape(shown.replace("\\", "")) == " ".join(f"{HOSTILE} # head".replace("\\", "").split()) + "x1b"


class Elements(HTMLParser):
    """Collect the elements of a page and the names of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[tuple[str, tuple[str, ...]]] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs) -> None:
        self.found.add((tag, tuple(name for name, _ in attrs)))


def hostile(table: Path, *columns: str) -> None:
    """Begin the cells of some columns with hostile text; those of one value still have one."""
    rows = read_rows(table)
    write_rows(table, [{**row, **{column: f"{HOSTILE} {row[column]}" for column in columns}} for row in rows])


def test_names_from_tables_and_runs_are_text_in_the_report_its_figures_and_the_model_card(tmp_path):
    run = simulated_runs.write(tmp_path / "$x$ <b>run", 12, seed=3)
    for name in ("predictions.csv", "predictions_validation.csv", "patients.csv", "labels.csv"):
        hostile(run / name, "patient_id")
    hostile(run / "patients.csv", "site", "region")
    hostile(run / "labels.csv", "rater")
    hostile(run / "geometry.csv", "manufacturer", "level")
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "model_version": HOSTILE, "versions": {HOSTILE: HOSTILE}}))
    card = tmp_path / "card.md"
    card.write_text("# Card\n\n<!-- performance: begin -->\n<!-- performance: end -->\nlast line\n")
    report(str(run), out=str(tmp_path / "out"), card=str(card))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert Elements(page).found <= Elements(TEMPLATE.read_text(encoding="utf-8")).found
    assert "onerror" in page
    assert "7*7" in page
    text = card.read_text(encoding="utf-8")
    assert text.count("<!--") == 2
    assert "<img" not in text
    assert text.endswith("<!-- performance: end -->\nlast line\n")


def test_cohorts_and_levels_are_text_in_the_markdown_of_describe_and_of_sweeps(tmp_path):
    rows = [{"variable": "site", "level": HOSTILE, "first": "3 (50.0%)", "p": "<0.001"}]
    for text in (as_markdown(rows, [f"{HOSTILE} (3 patients)", "b"]), markdown(format_cell(HOSTILE))):
        assert "<img" not in text
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in as_markdown(rows, [HOSTILE, "b"]).splitlines()}) == 1
    assert "<0.001" in as_markdown(rows, ["a", "b"])


def test_titles_of_figures_are_no_formulas(tmp_path):
    bars(["$\\frac$", "b"], [1.0, 2.0], "loss", "cohort $\\frac$", tmp_path / "a.png")
    scatter([1e-4, 1e-3], [0.5, 0.6], [1.0, 2.0], ("a", "b", "c"), "cohort $\\frac$", tmp_path / "b.png")
    roc(
        [0, 1],
        [0.1, 0.9],
        {"auc": 1.0, "specificity": 1, "sensitivity": 1, "threshold": 0.5},
        "$\\frac$",
        tmp_path / "c",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c"]


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_json_of_endless_depth_is_refused_in_words(tmp_path, content):
    path = tmp_path / "datalist.json"
    path.write_text(content)
    for reader in (read_json, lambda one: datalists.load(one, "training"), operating_points_file.read):
        with pytest.raises(InputError, match=r"nested deeper|not valid JSON"):
            reader(path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (5, r"training\[0\] must be an object"),
        ({"image": "a\0b", "label": 0, "patient_id": "p"}, "is no path"),
        ({"image": "../../etc/passwd", "label": 0, "patient_id": "p"}, "lies outside"),
        ({"image": "/etc/passwd", "label": 0, "patient_id": "p"}, "lies outside"),
        ({"image": "link", "label": 0, "patient_id": "p"}, "lies outside"),
        ({"image": "inside", "label": 0, "patient_id": {"a": 1}}, "patient_id must be text"),
    ],
)
def test_a_datalist_names_images_below_its_folder_and_nothing_else(tmp_path, entry, message):
    (tmp_path / "cohort").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "cohort" / "inside").write_text("x")
    (tmp_path / "cohort" / "link").symlink_to(tmp_path / "secret")
    path = tmp_path / "cohort" / "datalist.json"
    path.write_text(json.dumps({"training": [entry]}))
    with pytest.raises(InputError, match=message):
        datalists.load(path, "training")


@pytest.mark.parametrize(
    "content",
    [
        *(b"\0" * 1000, b"a,b\n\x00,1", b"patient_id\n\xff\xfe", "patient_id\nä".encode("utf-16")),
        *(b'patient_id\n"' + b"x" * 200_000, b"patient_id\n" + b"x" * 200_000),
    ],
)
def test_a_table_of_any_bytes_is_read_or_refused_in_words(tmp_path, content):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"labels\.csv"):
        read_table(path, ["patient_id"])


def test_an_archive_is_images_and_nothing_else(tmp_path, images, capsys):
    """Neither its names nor its links lead out, and a config in it is a file like any other."""
    ran, archive = tmp_path / "ran", tmp_path / "zips" / "study.zip"
    archive.parent.mkdir()
    code = json.dumps({"run": [CODE.format(path=str(ran), value=1)], "device": CODE.format(path=str(ran), value="cpu")})
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(archive, "w") as content:
        for path in sorted(images.iterdir()):
            content.write(path, f"series/{path.name}")
        for name in ("configs/inference.json", "inference.json", "../evil.json", f"{tmp_path}/evil.json"):
            content.writestr(name, code)
        content.writestr(link, "/etc/passwd")
    before = hashes(tmp_path)
    predict(str(archive), out=str(tmp_path / "out"), weights=str(checkpoint(tmp_path / "zips" / "model.pt")))
    after = {name for name in hashes(tmp_path) if not name.startswith("out/")}
    assert after - {"zips/model.pt"} == set(before)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink() or "evil" in path.name]
    assert len(list((tmp_path / "out").glob("*/slices.csv"))) == 1


def test_operating_points_of_a_stranger_are_numbers_and_text(tmp_path):
    """Their names and notes reach settings of inference.json only within sentences of ours."""
    code = CODE.format(path=str(tmp_path / "ran"), value=1)
    content = {
        "facts": {"weights_sha256": "x", "phantom": code},
        "points": {code: {"logit": 0.5, "status": code}},
        "calibration": {"slope": 1.0, "intercept": 0.0, "status": code},
        "baseline": {"slope": 1.0, "intercept": 0.0, "pos_weight": 1.0},
        "chosen_on": {"n_patients": 3, "n_slices": 9, "predictions": code},
    }
    path = tmp_path / "operating_points.json"
    path.write_text(json.dumps(content))
    chosen = operating_points_file.read_operating_point(str(path), code, "x")
    assert chosen.source.startswith("operating point ")
    for wrong in ({"slope": code}, {"slope": True}, {"slope": float("nan")}, {"slope": 1e300}):
        path.write_text(json.dumps(content | {"calibration": {"slope": 1.0, "intercept": 0.0, **wrong}}))
        with pytest.raises(InputError, match=r"operating_points\.json"):
            operating_points_file.read_operating_point(str(path), code, "x")


def test_what_security_md_points_to_exists():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:tests|scripts|bundle|configs)/[\w/.]+)`", text)
    assert len(paths) > 4
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_security_md_names_every_text_that_deidentification_keeps():
    texts = [str(keyword_for_tag(tag)) for tag in KEPT if dictionary_VR(tag) != "CS"]
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert [name for name in texts if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("logit", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_no_number_is_not_evaluable_and_never_not_compressed(logit):
    image = MetaTensor(torch.zeros(1, 2, 2, 2), meta={"series_uid": "1.2"})
    odd, good = slice_results(image, [logit, 3.0], ["", ""], threshold=0.5)
    assert (odd["logit"], odd["probability"], odd["compressed"]) == (None, None, None)
    assert odd["status"] == "not evaluable: the network returned no finite number"
    assert good["compressed"] == 1
