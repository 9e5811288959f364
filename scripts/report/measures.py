"""How far the measures of cord and canal are from known masks, as `python -m scripts morphometry` found it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..files import read_json
from .inputs.cohorts import Cohort

ERRORS = {"median": "number", "percentile_95": "number", "bias": "number", "n": "count", "n_missing": "count"}
DICE = {"median": "number", "percentile_5": "number", "n": "count", "n_missing": "count"}
COUNTS = dict.fromkeys(("n_slices", "n_no_canal", "n_no_cord"), "count")


def measures_of(cohorts: Sequence[Cohort]) -> list[dict[str, Any]]:
    """Return the errors of the measures of every run that has some.

    Raises:
        InputError: what metrics.json says of them is not what the command writes.
    """
    found = []
    for one in cohorts:
        path = one.run / "metrics.json"
        content = read_json(path) if path.is_file() else {}
        if content.get("measures") is not None:
            checked = check_measures(content["measures"], str(path))
            found.append(
                {"run": one.run.name, "cohort": one.name, "phantom": bool(one.facts.get("phantom")), **checked}
            )
    return found


def check_measures(content: Any, path: str) -> dict[str, Any]:
    """Keep what a table shows of some measures, and refuse what is none."""
    try:
        return {
            **numbers_of(content, COUNTS),
            "errors": {str(name): numbers_of(one, ERRORS) for name, one in content["errors"].items()},
            "dice": {str(name): numbers_of(one, DICE) for name, one in content["dice"].items()},
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: measures are not those that `python -m scripts morphometry` writes ({error!r}); run it anew"
        ) from error


def numbers_of(content: Any, kinds: dict[str, str]) -> dict[str, Any]:
    """Return the numbers under some names; a count is a whole number, any other may be None.

    Raises:
        KeyError: one is missing.
        TypeError: one is no number.
    """
    found = {}
    for name, kind in kinds.items():
        value = content[name]
        fits = isinstance(value, int) if kind == "count" else value is None or isinstance(value, int | float)
        if not fits or isinstance(value, bool):
            raise TypeError(f"{name} must be a {kind}, got {value!r:.40}")
        found[name] = value
    return found
