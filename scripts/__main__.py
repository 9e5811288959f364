"""The command table: ``python -m scripts COMMAND --help``."""

from __future__ import annotations

import collections
import difflib
import functools
import importlib
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import WRITING_ADVICE, InputError, place_error, writing_error

try:
    import fire

    from .console import end_in_order, printable, say
except ModuleNotFoundError as missing:
    sys.stderr.write(
        f"error: the package {missing.name} is not installed: pip install -e . (for python -m bundle: "
        "pip install -e '.[bundle]')\n"
    )
    raise SystemExit(2) from None

# name: (module that holds the function of that name, one line for the overview)
Commands = dict[str, tuple[str, str]]
COMMANDS: Commands = {
    "quickstart": ("study.quickstart", "run every step on synthetic patients, in minutes"),
    "predict": ("inference.predict", "score axial T2 and T2* series, slice by slice, with heat maps"),
    "phantom": ("phantom.command", "make a cohort of synthetic cervical patients as DICOM or BIDS, with known answers"),
    "index": ("cohort.index", "list every series below a folder: axial T2 or refused, and why"),
    "deidentify": ("deidentification.command", "copy MR images without identity, pixels and geometry untouched"),
    "agree": ("cohort.adjudication", "measure how well raters agree, and list the slices on which they disagree"),
    "consensus": ("cohort.adjudication", "merge agreed labels and rulings into one final label per slice"),
    "split": ("cohort.split", "divide labelled patients into training, validation and testing"),
    "check-split": ("cohort.leaks", "check that no patient, series or picture is in two sections"),
    "describe": ("cohort.describe", "compare two cohorts: age, sex, mJOA, scanner, voxels, with tests"),
    "canal": ("canal.command", "find masks of cord and canal, and write the canal's centres as canal.csv"),
    "localise": ("inference.localise", "find the spinal canal in series, and measure the error where it is known"),
    "morphometry": ("study.morphometry", "measure cord and canal in mm, and find compression by their shape alone"),
    "trust": ("trust.command", "test whether a network's heat maps locate lesions, and print the tests that fail"),
    "ablation": ("study.ablation", "train variants with several seeds and show what each idea buys"),
    "plan": ("study.plan", "compute how many patients and slices a study needs"),
    "sweep": ("study.sweep", "train the paper's seven heads under one protocol and compare them"),
    "search": ("study.search", "random search over learning rate and beta1"),
    "cross-validate": ("study.cross_validate", "train and test once per fold or left-out site"),
    "experts": ("study.experts", "train one network per rater, and measure how well raters and networks agree"),
    "recalibrate": ("report.recalibrate", "choose thresholds and calibration on a site's own labelled slices"),
    "report": ("report.command", "write report.json, report.html and figures from predictions"),
}

# modules that are called otherwise than the package that brings them
PACKAGES = {"PIL": "pillow", "ignite": "pytorch-ignite", "sklearn": "scikit-learn", "yaml": "pyyaml"}


def overview(commands: Commands, package: str) -> str:
    """The text of ``python -m PACKAGE --help``."""
    width = max(map(len, commands))
    lines = [f"  {name:{width}}  {line}" for name, (_, line) in commands.items()]
    usage = f"Usage: python -m {package} COMMAND [ARGUMENTS]; python -m {package} COMMAND --help explains one command."
    return "\n".join([usage, "", *lines])


# the adapter to fire: what a command's annotations may be, and how text on the command line becomes one of them
KINDS = ("str", "bool", "int", "float")
MOST_DIGITS = 640  # what every setting of Python reads
BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def kind_of(parameter: inspect.Parameter) -> str:
    """Return the name of the type an argument is annotated with, without ``| None``."""
    return str(parameter.annotation).split("|")[0].strip()


def read_value(option: str, parameter: inspect.Parameter, text: str) -> str | bool | int | float:
    """Read one argument as its annotation says: text stays text, so that ``--out=1e3`` is a folder.

    Raises:
        InputError: the text is none of the kind, or empty where the default is not.
    """
    kind = kind_of(parameter)
    if kind == "bool":
        if text.lower() not in BOOLEANS:
            raise InputError(f"{option} must be true or false, got {text!r}")
        return BOOLEANS[text.lower()]
    if kind == "int":
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise InputError(f"{option} must be a whole number in digits, got {text!r}")
        if len(text) > MOST_DIGITS:
            raise InputError(f"{option} must be a whole number of at most {MOST_DIGITS} digits, got {len(text)}")
        return int(text)
    if kind == "float":
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f"{option} must be a number, got {text!r}")
        return number
    if not text and parameter.default != "":
        raise InputError(f"{option} is empty" if option else "an empty argument names nothing")
    return text


def is_option(word: str) -> bool:
    """Return whether a word is an option; ``-1`` and ``-.5`` are numbers."""
    return word == "-" or re.match("--|-[a-zA-Z]", word) is not None


def read_options(function: Callable[..., Any], words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Divide a command line into options and positional arguments, all as text.

    Raises:
        InputError: an option that the command does not have, that lacks its value or that is given twice.
    """
    parameters = inspect.signature(function).parameters
    kinds = {name: kind_of(one) for name, one in parameters.items() if one.kind is not one.VAR_POSITIONAL}
    known = f"known: {', '.join('--' + name for name in kinds)}"
    options: dict[str, str] = {}
    positional: list[str] = []
    left = collections.deque(words)
    while left:
        word = left.popleft()
        if not is_option(word):
            positional.append(word)
            continue
        if not re.match("-+[a-zA-Z]", word):
            raise InputError(f"{word!r} is no option; {known}")
        option, has_value, value = word.partition("=")
        name = option.lstrip("-").replace("-", "_")
        if not option.startswith("--"):
            near = [f"--{one}" for one in kinds if one.startswith(name)]
            raise InputError(f"{option} is no option; {'write ' + ' or '.join(near) if near else known}")
        opposite = name.removeprefix("no").removeprefix("_")
        if name not in kinds and kinds.get(opposite) == "bool":
            if has_value:
                raise InputError(f"unknown option {option}; write --{opposite}=false")
            name, has_value, value = opposite, "=", "false"
        if name not in kinds:
            close = difflib.get_close_matches(name, kinds, n=1)
            raise InputError(f"unknown option {option}; {f'did you mean --{close[0]}?' if close else known}")
        if not has_value and kinds[name] == "bool":
            value = left.popleft() if left and left[0].lower() in BOOLEANS else "true"
        elif not has_value:
            if not left or is_option(left[0]):
                raise InputError(f"{option} needs a value; one that begins with a dash is written {option}=VALUE")
            value = left.popleft()
        if name in options:
            raise InputError(f"--{name} is given twice, as {options[name]!r} and {value!r}")
        options[name] = value
    return options, positional


def check_complete(title: str, function: Callable[..., Any], options: Mapping[str, str], given: Sequence[str]) -> None:
    """Refuse positional arguments that nothing asks for, and a command line without what the command needs.

    A positional argument stands for a required option; where a command requires none, one may stand for its first.

    Raises:
        InputError: one argument too many, or a required one is missing.
    """
    parameters = list(inspect.signature(function).parameters.values())
    free = [one for one in parameters if one.kind is not one.VAR_POSITIONAL and one.name not in options]
    required = [one for one in free if one.default is one.empty]
    places = [one for one in required if one.kind is not one.KEYWORD_ONLY]
    if all(one.default is not one.empty for one in parameters):
        places = [one for one in free if one is parameters[0]]
    if not any(one.kind is one.VAR_POSITIONAL for one in parameters) and len(given) > len(places):
        example = next((one.name for one in free if one not in places), free[0].name if free else parameters[0].name)
        surplus = given[len(places)]
        raise InputError(f"{surplus!r} is one argument too many; options have names, e.g. --{example} {surplus!r}")
    missing = [f"--{one.name}" for one in required if one not in places[: len(given)]]
    if missing:
        them = "it" if len(missing) == 1 else "them"
        raise InputError(f"missing {' and '.join(missing)}; `{title} --help` explains {them}")


def call(title: str, function: Callable[..., Any], words: Sequence[str]) -> Any:
    """Call a command with the arguments of a command line; nothing of it runs before all of them are checked.

    fire guesses: it reads ``1e3`` as a number, takes unambiguous letters for options, and notices a misspelt option
    after the command has run. It gets options as ``--name=value``, and a reader for each, so that nothing is left to
    guess.

    Raises:
        InputError: something on the command line is wrong, or the command's own.
    """
    parameters = inspect.signature(function).parameters
    options, positional = read_options(function, words)
    check_complete(title, function, options, positional)
    readers = {name: functools.partial(read_value, f"--{name}", one) for name, one in parameters.items()}
    rest = functools.partial(read_value, "", inspect.Parameter("rest", inspect.Parameter.VAR_POSITIONAL))
    parsed = fire.decorators.SetParseFn(rest)(fire.decorators.SetParseFns(**readers)(function))
    command = [*(f"--{name}={value}" for name, value in options.items()), *positional]
    return fire.Fire(parsed, command=command, name=title, serialize=lambda _: None)


def help_text(title: str, function: Callable[..., Any]) -> str:
    """Return the help of a command, with the full names of its options only, and their types without ``| None``."""
    text = fire.helptext.HelpText(function, fire.trace.FireTrace(function, name=title)).replace(repr(title), title)
    text = re.sub(r"Type: Optional\['(\w+) \| None'\]", r"Type: '\1'", text)
    return re.sub(r"^( +)-[a-z], --", r"\1--", text, flags=re.MULTILINE)


def install_command(module: str) -> str | None:
    """Return how to install a package that pyproject.toml asks for; None where it does not know the module."""
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    text = project.read_text(encoding="utf-8").partition("\n[tool.")[0] if project.is_file() else ""
    package = PACKAGES.get(module, module)
    for extra, requirements in re.findall(r"^([\w-]+) = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL):
        if re.search(rf'^ +"{re.escape(package)}\W', requirements, re.MULTILINE):
            return f"pip install -e {'.' if extra == 'dependencies' else f'.[{extra}]'!r}"
    return None


def close_output() -> int:
    """Send what is still to be printed nowhere, so that Python does not complain of a closed pipe when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13  # as if SIGPIPE had ended the process


def main(arguments: Sequence[str], commands: Commands = COMMANDS, package: str = "scripts") -> int:
    """Run one command of a package; returns the exit status (0 done, 1 done in part, 2 refused)."""
    name, rest = arguments[0] if arguments else "help", list(arguments[1:])
    try:
        if name in ("-h", "--help", "help"):
            say(overview(commands, package))
            return 0
        if name not in commands:
            near = difflib.get_close_matches(name, commands, n=1)
            raise InputError(
                f"unknown command {name!r}"
                + (f"; did you mean {near[0]}?" if near else "")
                + f"\n{overview(commands, package)}"
            )
        function = getattr(importlib.import_module(f".{commands[name][0]}", package), name.replace("-", "_"))
        title = f"python -m {package} {name}"
        if "--help" in rest or "-h" in rest:
            say(help_text(title, function))
            return 0
        status = call(title, function, rest)
    except ModuleNotFoundError as error:
        module = str(error.name).partition(".")[0]
        advice = install_command(module)
        if advice is None:
            raise
        sys.stderr.write(f"error: {name} needs the package {module}, which is not installed: {advice}\n")
        return 2
    except InputError as error:
        sys.stderr.write(f"error: {printable(str(error))}\n")
        return 2
    except BrokenPipeError:  # whoever read the output, such as `head`, has seen enough
        return close_output()
    except OSError as error:
        if place_error(error) is None and error.errno not in WRITING_ADVICE:
            raise
        sys.stderr.write(f"error: {printable(str(place_error(error) or writing_error(error)))}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return 130
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    end_in_order()
    sys.exit(main(sys.argv[1:]))
