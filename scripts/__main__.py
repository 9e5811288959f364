"""The command table: ``python -m scripts COMMAND --help``."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

import fire

from .console import say
from .errors import InputError

# name: (module that holds the function of that name, one line for the overview)
Commands = dict[str, tuple[str, str]]
COMMANDS: Commands = {
    "quickstart": ("study.quickstart", "see everything work on synthetic patients, in minutes"),
    "predict": ("inference.predict", "score axial T2 series, slice by slice, with heat maps"),
    "phantom": ("phantom.command", "make a cohort of synthetic cervical patients as DICOM, with known answers"),
    "index": ("cohort.index", "list every series below a folder: axial T2 or refused, and why"),
    "deidentify": ("deidentification.command", "copy MR images without identity, pixels and geometry untouched"),
    "agree": ("cohort.adjudication", "measure how well raters agree, and list the slices to settle"),
    "consensus": ("cohort.adjudication", "merge agreed labels and rulings into one final label per slice"),
    "split": ("cohort.split", "divide labelled patients into training, validation and testing"),
    "check-split": ("cohort.leaks", "check that no patient, series or picture is in two sections"),
    "describe": ("cohort.describe", "compare two cohorts: age, sex, mJOA, scanner, voxels, with tests"),
    "trust": ("trust.command", "measure whether a network's heat maps can be believed, and say what failed"),
    "sweep": ("study.sweep", "train the paper's seven heads under one protocol and compare them"),
    "search": ("study.search", "random search over learning rate and beta1"),
    "cross-validate": ("study.cross_validate", "train and test once per fold or left-out site"),
    "recalibrate": ("report.recalibrate", "thresholds and calibration from a site's own labelled slices"),
    "report": ("report.command", "turn predictions into report.json, figures and one HTML page"),
}


def overview(commands: Commands, package: str) -> str:
    """The text of ``python -m PACKAGE --help``."""
    width = max(map(len, commands))
    lines = [f"  {name:{width}}  {line}" for name, (_, line) in commands.items()]
    usage = f"Usage: python -m {package} COMMAND [ARGUMENTS]; python -m {package} COMMAND --help explains one command."
    return "\n".join([usage, "", *lines])


def as_bool(text: str) -> bool:
    """Read a flag's value; ``--resume`` alone arrives as ``"True"``."""
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise InputError(f"expected true or false, got {text!r}")
    return text.lower() in ("true", "1", "yes")


def as_number(text: str) -> int | float:
    """Read a number, an integer where it is one."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"expected a number, got {text!r}") from error


def check_flags(function: Callable[..., Any], arguments: Sequence[str]) -> None:
    """Refuse a flag the command does not have before anything runs; fire would notice only afterwards.

    Raises:
        InputError: an unknown flag, with the nearest known one.
    """
    known = [name for name, p in inspect.signature(function).parameters.items() if p.kind is not p.VAR_POSITIONAL]
    for argument in arguments:
        if argument == "--":
            return
        name = argument.lstrip("-").split("=")[0].replace("-", "_")
        if argument.startswith("--") and name not in known and name.removeprefix("no") not in known and name != "help":
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean --{near[0]}?" if near else f"known: {', '.join('--' + flag for flag in known)}"
            raise InputError(f"unknown option {argument.split('=')[0]}; {hint}")


def typed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make fire read each argument as its annotation says: text stays text, so that ``--out=1e3`` is a folder."""
    readers = {"bool": as_bool, "int": as_number, "float": as_number}
    named = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind = str(parameter.annotation).split("|")[0].strip()
        named[name] = readers.get(kind, str)
    return fire.decorators.SetParseFn(str)(fire.decorators.SetParseFns(**named)(function))


def main(arguments: Sequence[str], commands: Commands = COMMANDS, package: str = "scripts") -> int:
    """Run one command of a package; returns the exit status (0 done, 1 done in part, 2 refused)."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        say(overview(commands, package))
        return 0
    name, rest = arguments[0], list(arguments[1:])
    try:
        if name not in commands:
            near = difflib.get_close_matches(name, commands, n=1)
            raise InputError(
                f"unknown command {name!r}"
                + (f"; did you mean {near[0]}?" if near else "")
                + f"\n{overview(commands, package)}"
            )
        function = getattr(importlib.import_module(f".{commands[name][0]}", package), name.replace("-", "_"))
        if "--help" in rest or "-h" in rest:
            title = f"python -m {package} {name}"
            text = fire.helptext.HelpText(function, fire.trace.FireTrace(function, name=title))
            say(text.replace(repr(title), title))
            return 0
        check_flags(function, rest)
        status = fire.Fire(typed(function), command=rest, name=f"python -m {package} {name}", serialize=lambda _: None)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return 130
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
