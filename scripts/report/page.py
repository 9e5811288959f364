"""The report as one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from ..evaluation.estimates import in_words, reason
from ..files import write_text
from .codings import MEASURES
from .patient_level import RULES_TEXT

GLUE = "\N{NO-BREAK SPACE}"
TEMPLATE = Path(__file__).with_name("page.html")
NAMES = {
    "auc": "AUC, all slices pooled",
    "mean_auc": "AUC per patient, mean",
    "median_auc": "AUC per patient, median",
    "average_precision": "average precision",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "accuracy": "accuracy",
    "f1": "F1 score",
    "balanced_accuracy": "balanced accuracy",
    "prevalence": "compressed slices (prevalence)",
}

MEASURE_TITLES = {
    "cord_ap_mm": "cord, AP diameter (mm)",
    "cord_rl_mm": "cord, RL diameter (mm)",
    "cord_ap_rl_ratio": "compression ratio AP / RL",
    "cord_area_mm2": "cord, area (mm²)",
    "cord_solidity": "cord, solidity",
    "canal_area_mm2": "canal, area (mm²)",
    "cord_canal_area_ratio": "cord area / canal area",
    "mscc_percent": "maximum spinal cord compression (percentage points)",
}


def interval(leaf: Mapping[str, Any] | None, digits: int = 3) -> str:
    """Write a leaf as `in_words` does; numbers that belong together stay in one line."""
    text = in_words(leaf, digits)
    return text if leaf and leaf["note"] else text.replace(" ", GLUE)


def range_of(leaf: Mapping[str, Any], percents: bool = False) -> str:
    """Write the interval alone: ``95 % interval 0.912 to 0.960``, or why there is none."""
    if leaf["low"] is None:
        return f"no interval{reason(leaf)}"
    low, high = (percent(leaf[name]) if percents else number(leaf[name], 3) for name in ("low", "high"))
    return f"95{GLUE}% interval {f'{low} to {high}'.replace(' ', GLUE)}"


def counted_noun(count: int, name: str) -> str:
    """Write a number of things: ``1 slice``, ``2,991 slices``."""
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def rests_on(leaf: Mapping[str, Any]) -> str:
    """Write what a leaf rests on."""
    counts = counted_noun(leaf["n_patients"], "patient"), counted_noun(leaf["n_slices"], "slice")
    return ", ".join(count.replace(" ", GLUE) for count in counts)


def column_title(column: str) -> str:
    """Write the name of a column of patients.csv."""
    return {"mjoa": "mJOA"}.get(column, column)


def number(value: float | None, digits: int = 2) -> str:
    """Write a number, or a dash."""
    return "-" if value is None else f"{round(value, digits) + 0.0:,.{digits}f}"  # + 0.0 turns -0.0 into 0.0


def p_value(value: float) -> str:
    """Write a p-value."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def capitalize_first(text: str) -> str:
    """Write a sentence's first letter as a capital, and nothing else otherwise."""
    return text[:1].upper() + text[1:]


def percent(value: float | None) -> str:
    """Write a share in whole percent."""
    return "-" if value is None else f"{100 * value:.0f} %"


def write_page(folder: Path, content: Mapping[str, Any]) -> None:
    """Write report.html from the content of report.json and the figures in ``folder``."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    for function in (
        interval,
        in_words,
        rests_on,
        counted_noun,
        column_title,
        number,
        p_value,
        percent,
        capitalize_first,
    ):
        environment.filters[function.__name__] = function
    environment.filters["range"] = range_of
    pictures = {}
    for cohort in (content, content.get("external")):
        for name in cohort["figures"] if cohort else ():
            encoded = base64.b64encode((folder / name).read_bytes()).decode("ascii")
            pictures[name] = f"data:image/png;base64,{encoded}"
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    titles: dict[str, Any] = {"names": NAMES, "measures": MEASURES, "measure_titles": MEASURE_TITLES}
    write_text(
        folder / "report.html", template.render(r=content, pictures=pictures, patient_rules_text=RULES_TEXT, **titles)
    )
