"""The command line itself."""

from __future__ import annotations

import importlib
import inspect
import io
import random
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ROOT

from bundle.__main__ import COMMANDS as BUNDLE_COMMANDS
from scripts import __main__ as cli
from scripts import console

EVERY_COMMAND = [("scripts", name) for name in cli.COMMANDS] + [("bundle", name) for name in BUNDLE_COMMANDS]
HEAVY = {"torch", "monai", "ignite", "itk", "matplotlib", "pandas", "sklearn", "statsmodels", "onnxruntime"}


def command_of(package: str, name: str) -> Callable[..., Any]:
    module = {"scripts": cli.COMMANDS, "bundle": BUNDLE_COMMANDS}[package][name][0]
    return getattr(importlib.import_module(f"{package}.{module}"), name.replace("-", "_"))


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line on a command of this file; gives its status, the calls and what it printed."""
    calls: list[tuple[Any, ...]] = []

    def score(*inputs: str, out: str, note: str = "", count: int = 2, share: float | None = None, force: bool = False):
        """Do something."""
        calls.append((inputs, out, note, count, share, force))

    def train(cohort: str, out: str, heads: str = "1", holdout: bool = False):
        """Do something with two things."""
        calls.append((cohort, out, heads, holdout))

    def demo(out: str = "runs", patients: int = 4):
        """Do something with nothing."""
        calls.append((out, patients))

    for function in (score, train, demo):
        monkeypatch.setattr(sys.modules[__name__], function.__name__, function, raising=False)
    commands = dict.fromkeys(("score", "train", "demo"), ("test_main", "a command of the tests"))
    monkeypatch.setattr(cli.importlib, "import_module", lambda *_: sys.modules[__name__])

    def line(*words: str) -> tuple[int, list[tuple[Any, ...]], str]:
        calls.clear()
        status = cli.main(words, commands)
        return status, list(calls), capsys.readouterr().err

    return line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["score", "1e3", "--out=1e3"], (("1e3",), "1e3", "", 2, None, False)),
        (
            ["score", "a", "b", "--out", "007", "--count", "3", "--share=1e-2", "--force"],
            (("a", "b"), "007", "", 3, 0.01, True),
        ),
        (["score", "--force", "a", "--out=x"], (("a",), "x", "", 2, None, True)),
        (["score", "a", "--out=x", "--force", "true"], (("a",), "x", "", 2, None, True)),
        (["score", "a", "--force", "yes", "--out=x"], (("a",), "x", "", 2, None, True)),
        (["score", "a", "--out=x", "--force=False"], (("a",), "x", "", 2, None, False)),
        (["score", "a", "--out=x", "--noforce"], (("a",), "x", "", 2, None, False)),
        (["score", "--no-force", "a", "--out=x"], (("a",), "x", "", 2, None, False)),
        (["score", "a", "--out", "x", "--share", "-3", "--count", "-1"], (("a",), "x", "", -1, -3.0, False)),
        (["score", "-5", "--out", "-.5"], (("-5",), "-.5", "", 2, None, False)),
        (["score", "a", "--out", "x", "--note=--out=y"], (("a",), "x", "--out=y", 2, None, False)),
        (["score", "a", "--out", "a=b", "--note", ""], (("a",), "a=b", "", 2, None, False)),
        (["score", "[1, 2]", "{'a': 1}", "--out", "None"], (("[1, 2]", "{'a': 1}"), "None", "", 2, None, False)),
        (["train", "c", "o", "--holdout"], ("c", "o", "1", True)),
        (["train", "o", "--cohort", "c"], ("c", "o", "1", False)),
        (["train", "c", "--out", "o", "--heads", "1,2"], ("c", "o", "1,2", False)),
        (["demo"], ("runs", 4)),
        (["demo", "elsewhere"], ("elsewhere", 4)),
    ],
)
def test_arguments_arrive_as_their_annotations_say(run, words, expected):
    status, calls, error = run(*words)
    assert (status, calls, error) == (0, [expected], "")
    assert [type(value) for value in calls[0]] == [type(value) for value in expected]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", "a", "--oot=1e3"], "unknown option --oot; did you mean --out?"),
        (["score", "a", "--out", "x", "--inputs", "b"], "unknown option --inputs; known: --out, --note, --count"),
        (["score", "a", "--out", "x", "--noout"], "unknown option --noout"),
        (["score", "a", "--out", "x", "--no-note"], "unknown option --no-note"),
        (["score", "a", "--out", "x", "--noforce=true"], "unknown option --noforce; write --force=false"),
        (["score", "a", "--out", "x", "--out", "y"], "--out is given twice, as 'x' and 'y'"),
        (["score", "a", "--out", "x", "--force", "--noforce"], "--force is given twice"),
        (["score", "a", "--out"], "--out needs a value"),
        (["score", "a", "--out", "--force"], "--out needs a value; one that begins with a dash is written --out=VALUE"),
        (["score", "a", "--out", "-x"], "--out needs a value"),
        (["score", "a", "-o", "x"], "-o is no option; write --out"),
        (["score", "a", "-n=1", "--out", "x"], "-n is no option; write --note"),
        (["score", "a", "--out", "x", "-z"], "-z is no option; known: --out"),
        (["score", "-all", "--out", "x"], "-all is no option"),
        (["score", "a", "--out", "x", "--"], "'--' is no option"),
        (["score", "a", "--out", "x", "-"], "'-' is no option"),
        (["score", "a", "--out", "x", "--", "--trace"], "'--' is no option"),
        (["score", "a", "--out="], "--out is empty"),
        (["score", "a", "", "--out", "x"], "an empty argument"),
        (["score", "a", "--out", "x", "--count", "many"], "--count must be a whole number in digits, got 'many'"),
        (["score", "a", "--out", "x", "--count", "1.5"], "--count must be a whole number in digits, got '1.5'"),
        (["score", "a", "--out", "x", "--count="], "--count must be a whole number in digits, got ''"),
        (["score", "a", "--out", "x", "--share", "nan"], "--share must be a number, got 'nan'"),
        (["score", "a", "--out", "x", "--share", "1,5"], "--share must be a number, got '1,5'"),
        (["score", "a", "--out", "x", "--force=perhaps"], "--force must be true or false, got 'perhaps'"),
        (["score"], "missing --out; `python -m scripts score --help` explains it"),
        (["train"], "missing --cohort and --out; `python -m scripts train --help` explains them"),
        (["train", "c"], "missing --out"),
        (["train", "c", "o", "2"], "'2' is one argument too many; options have names, e.g. --heads"),
        (["train", "c", "o", "--cohort", "d"], "'o' is one argument too many"),
        (["demo", "a", "8"], "'8' is one argument too many; options have names, e.g. --patients"),
        (["demo", "a", "--out", "b"], "'a' is one argument too many"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_runs(run, words, message):
    status, calls, error = run(*words)
    assert (status, calls) == (2, [])
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert "usage" not in error.lower()


def test_any_values_in_any_order_come_through_unchanged(run):
    """The property: whatever is written with ``=`` arrives, and positional arguments keep their order."""
    draw = random.Random(0)
    texts = ["a", "--x", "-h ", "1e3", "007", "None", "[1]", "é\n", "=", "a=b", "--", "true", " ", "{'a': 1}", "\\"]
    for _ in range(200):
        inputs = [draw.choice(["a", "1", "None", "x y", "-1", "[1]", "é=1"]) for _ in range(draw.randrange(4))]
        out, note, count, force = draw.choice(texts), draw.choice(texts), draw.randrange(-9, 9), draw.random() < 0.5
        flags = [f"--out={out}", f"--note={note}", f"--count={count}", "--force" if force else "--no-force"]
        words = [*flags, *inputs]
        order = sorted(range(len(words)), key=lambda index: draw.random() if index < len(flags) else 0.5)
        status, calls, error = run("score", *[words[index] for index in order])
        if force and any(word in cli.BOOLEANS for word in inputs):
            continue  # "--force 1" is true
        assert (status, error, calls) == (0, "", [(tuple(inputs), out, note, count, None, force)]), words


@pytest.mark.parametrize(("package", "name"), EVERY_COMMAND)
def test_every_annotation_of_a_command_can_be_read(package, name):
    for parameter in inspect.signature(command_of(package, name)).parameters.values():
        assert cli.kind_of(parameter) in cli.KINDS, parameter


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_options_in_full_only(flag, capsys):
    assert cli.main(["split", flag]) == 0
    text = capsys.readouterr().out
    assert "--holdout=HOLDOUT" in text
    assert "-h," not in text


@pytest.mark.parametrize(("package", "name"), EVERY_COMMAND)
def test_help_names_each_type_as_a_person_would(package, name):
    text = cli.help_text(f"python -m {package} {name}", command_of(package, name))
    assert set(re.findall(r"Type: (.*)", text)) <= {f"'{kind}'" for kind in cli.KINDS}


def test_an_unknown_command_is_answered_with_the_nearest_one(capsys):
    assert cli.main(["predct"]) == 2
    assert "did you mean predict?" in capsys.readouterr().err


def test_an_input_error_becomes_a_sentence_and_status_2(capsys, tmp_path):
    assert cli.main(["predict", str(tmp_path), "--out", str(tmp_path), "--weights", str(tmp_path / "none.pt")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no checkpoint at")
    assert "Traceback" not in error


def test_the_overview_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in cli.COMMANDS)


@pytest.mark.parametrize(("package", "name"), EVERY_COMMAND)
def test_help_imports_nothing_heavy(package, name):
    code = f"import sys; from {package}.__main__ import COMMANDS; from scripts.__main__ import main"
    code += f"; main(['{name}', '--help'], COMMANDS, '{package}'); print('MODULES', *sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert HEAVY & set(ended.stdout.partition("MODULES")[2].split()) == set()


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("yaml", "'.[bundle]'"),
        ("onnxruntime", "'.[bundle]'"),
        ("highdicom", "'.[dicom]'"),
        ("optuna", "'.[study]'"),
        ("torch", "'.'"),
        ("sklearn", "'.'"),
    ],
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch, capsys, module, advice):
    def absent(*_):
        raise ModuleNotFoundError(f"No module named '{module}'", name=f"{module}.part")

    monkeypatch.setattr(cli.importlib, "import_module", absent)
    assert cli.main(["sweep", "a", "b"]) == 2
    error = capsys.readouterr().err
    assert error == f"error: sweep needs the package {module}, which is not installed: pip install -e {advice}\n"


@pytest.mark.parametrize("module", ["scripts.cohort.nothing", "wrong"])
def test_a_module_that_no_extra_brings_is_a_bug_and_keeps_its_traceback(monkeypatch, module):
    def absent(*_):
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    monkeypatch.setattr(cli.importlib, "import_module", absent)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["sweep", "a", "b"])


def test_a_console_without_a_character_gets_a_substitute(monkeypatch):
    """A Windows console writes cp1252, which has neither an arrow nor Greek."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", errors="strict", newline="")
    monkeypatch.setattr(sys, "stdout", stream)
    console.say("é → κ 患者")
    stream.flush()
    assert stream.buffer.getvalue().decode("cp1252").rstrip("\n") == "é ? ? ??"


MISTAKES = """
quickstart --patients 3
quickstart --epochs 0
quickstart --seed -1
sweep none out --heads 9
sweep none out --external x
search none out --trials 0
search none out --seed -1
cross-validate none.json --out out
morphometry none --weights none --out out
trust none
predict none --out out
predict . --out out --threshold 2
phantom --patients 0 --out out
index none
deidentify none out out.csv
split none none none --scheme x
report none --out out
recalibrate none --out out
agree none
describe none none
check-split none
"""


def test_a_mistake_on_the_command_line_is_answered_before_heavy_packages_are_imported(tmp_path):
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from scripts.__main__ import main
for line in {MISTAKES!r}.split("\\n"):
    if line:
        assert main(line.split()) == 2, line
        assert not {{"torch", "monai", "ignite"}} & set(sys.modules), line
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-400:]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["scripts", "bundle"])
def test_the_help_of_every_command_loads_nothing_that_takes_seconds(package):
    program = (
        f"import sys; from {package}.__main__ import COMMANDS; from scripts.__main__ import main\n"
        f"for name in COMMANDS: assert main([name, '--help'], COMMANDS, '{package}') == 0\n"
        "heavy = {'torch', 'torchvision', 'monai', 'ignite', 'itk', 'matplotlib', 'sklearn', 'pandas', 'statsmodels'}\n"
        "print(sorted(heavy & {*sys.modules}))"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines()[-1] == "[]", ended.stderr
