"""What must happen before a config runs under ``python -m monai.bundle``."""

from __future__ import annotations

import ast
import difflib
import gc
import logging
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from types import TracebackType
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from .console import end_in_order, printable
from .errors import WRITING_ADVICE, InputError, root_error, writing_error
from .files import ROOT, check_folder

# arguments of `python -m monai.bundle run` itself
RUNNER_ARGUMENTS = (
    *("run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"),
    *("workflow_name", "workflow", "help"),
)


RENAMED_KEYS = {
    "amp": "precision, which is auto (bf16 where the hardware multiplies it, else fp32), bf16, fp32 or tf32, for "
    "training, and score_precision for evaluation"
}
"""Config keys of earlier versions, and what to write instead."""


def under_monai_bundle() -> bool:
    """Return whether this process was started as ``python -m monai.bundle``."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and str(spec.name).startswith("monai.bundle")


def show_input_errors(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the message alone and exit with status 2 where an `InputError` began it; else keep the traceback."""
    first = root_error(error)
    unknown_run = isinstance(first, ValueError) and str(first).startswith("run ID")
    if isinstance(first, InputError) or unknown_run:
        hint = " The configs of this bundle have `run`, and train.json also `training`." if unknown_run else ""
        sys.stderr.write(f"error: {printable(str(first))}{hint}\n")
        raise SystemExit(2)
    elif isinstance(first, OSError) and first.errno in WRITING_ADVICE:
        sys.stderr.write(f"error: {writing_error(first)}\n")
        raise SystemExit(2)
    else:
        sys.__excepthook__(kind, error, trace)


def config_files(arguments: Sequence[str]) -> list[str]:
    """Find the values of ``--config_file`` on a command line; a list may be written as ``"['a', 'b']"``."""
    files: list[str] = []
    for position, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == "--config_file":
            value = value or (arguments[position + 1] if position + 1 < len(arguments) else "")
            files += [part.strip(" '\"") for part in value.strip("[]()").split(",") if part.strip(" '\"")]
    return files


def refuse_renamed(names: Iterable[str]) -> None:
    """Refuse config keys of earlier versions, which would be ignored.

    Raises:
        InputError: one of them is there.
    """
    for name in names:
        if name in RENAMED_KEYS:
            raise InputError(f"the config key {name} is gone; write {RENAMED_KEYS[name]}")


def check_overrides(arguments: Sequence[str], files: Sequence[str]) -> None:
    """Refuse an override of a key that no config has, which MONAI would add without effect, and keys that are gone.

    A key that is true or false in the config must be overridden by ``True`` or ``False``, and a number by a number:
    MONAI reads values as Python does and takes everything else for text, in which ``false`` counts as true.

    Args:
        arguments: the command line after the program's name.
        files: config files whose keys are known.

    Raises:
        InputError: an unknown key, with the nearest known one, or a value of the wrong kind.
    """
    parser = ConfigParser()
    parser.read_config(list(files))
    refuse_renamed(map(str, parser.config))
    for position, argument in enumerate(arguments):
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name in RUNNER_ARGUMENTS:
            continue
        refuse_renamed([name])
        try:
            default = parser[name.replace("::", "#")]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            near = difflib.get_close_matches(name.split("#")[0], [str(key) for key in parser.config], n=1)
            hint = f"; did you mean --{near[0]}?" if near else ""
            raise InputError(f"unknown config key --{name}: none of {', '.join(files)} has it{hint}") from error
        check_kind(name, default, value if equals else next(iter(arguments[position + 1 : position + 2]), ""))


def check_kind(name: str, default: Any, text: str) -> None:
    """Refuse text where a config has a truth value or a number; an expression (``$…``) or a reference may be either.

    Raises:
        InputError: the text is of another kind.
    """
    if text.startswith(("$", "@", "%")) or not isinstance(default, bool | int | float):
        return
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise InputError(f"--{name} must be True or False, with a capital letter, got {text!r}")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"--{name} must be a number, got {text!r}")


def prepare(folders: Sequence[str]) -> None:
    """Check the command line and the folders a run writes to; the first thing a config's ``initialize`` does.

    It makes nothing, so that a run that is refused later leaves nothing behind.

    Raises:
        InputError: an unknown config key, or a folder that cannot be written.
    """
    # MONAI tells everyone who loads an image that an optional GPU decoder is absent
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
    # the AUC of one class is NaN in every epoch; once in history.csv is enough
    warnings.filterwarnings("ignore", message="y values can not be all")
    if under_monai_bundle():
        end_in_order()
        sys.excepthook = show_input_errors
        files = config_files(sys.argv[1:])
        if files and "--args_file" not in " ".join(sys.argv):
            check_overrides(sys.argv[2:], files)
    for folder in folders:
        if not str(folder).strip():
            raise InputError("--output_dir is empty; name the folder to write to, or . for this one")
        check_folder(folder, "--output_dir")


def literals(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return overrides for MONAI's config language in which every text is a value, also ``$x``, ``@x`` or ``a#b``.

    Lists and dicts stay part of the config, and may hold references and expressions.

    Args:
        overrides: config keys to values.
    """
    texts = {name: value for name, value in overrides.items() if isinstance(value, str | PurePath)}
    if not texts:
        return dict(overrides)
    # the parser looks into dicts, lists and texts, never into tuples
    places = {name: f"$@given[{number}]" for number, name in enumerate(texts)}
    return {**overrides, **places, "given": tuple(texts.values())}


def run_config(files: Sequence[str], run_id: str = "run", **overrides: Any) -> ConfigParser:
    """Run configs of the bundle from Python, as ``python -m monai.bundle run`` would.

    Args:
        files: names below ``configs/``; later ones overlay earlier ones.
        run_id: which expression to run.
        overrides: config keys to values; ``__`` in a key stands for ``#``. A text is a value and never an expression,
            see `literals`.

    Returns:
        The parser, whose ``get_parsed_content`` gives the objects that ran.

    Raises:
        InputError: something the user gave cannot be used.
    """
    changes = {name.replace("__", "#"): value for name, value in overrides.items()} | {"bundle_root": str(ROOT)}
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    gc.collect()  # networks of earlier runs, which trainers and handlers that refer to each other keep alive
    # it warns of overlays in folders of their own, and names the logging file each time
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)
    workflow = ConfigWorkflow(
        config_file=[str(ROOT / "configs" / name) for name in files],
        logging_file=str(ROOT / "configs" / "logging.conf"),
        run_id=run_id,
        **literals(changes),
    )
    refuse_renamed(map(str, workflow.parser.config))
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except Exception as error:
        first = root_error(error)
        if isinstance(first, InputError):
            raise first from error
        raise
    return workflow.parser
