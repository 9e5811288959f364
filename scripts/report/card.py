"""The numbers of a report in a model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..console import markdown
from ..errors import InputError
from ..evaluation.estimates import in_words
from ..files import write_text
from ..phantom.labels import LABEL_RULES_MM
from .facts import MEANING
from .facts import PHANTOM as SYNTHETIC
from .page import NAMES, counted_noun

BEGIN, END = "<!-- performance: begin -->", "<!-- performance: end -->"
PHANTOM = (
    "**Synthetic phantom, not patients.** This bundle comes without clinical weights, so no performance is claimed for "
    f"patients. {MEANING}"
)
POOLED = ("sensitivity", "specificity", "ppv", "npv", "f1")


def check_card(path: Path) -> str:
    """Read a model card that has a place for numbers.

    Raises:
        InputError: it has none, or several.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--card {path} cannot be read ({error}); expected a model card in Markdown") from error
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(
            f"--card {path} needs one line {BEGIN} and below it one line {END}: the numbers go between them"
        )
    return text


def write_card(path: Path, content: Mapping[str, Any]) -> None:
    """Put the main numbers of a report between the marks of a model card, with their intervals.

    Args:
        path: the model card, a Markdown file with one line ``BEGIN`` and one line ``END``.
        content: of report.json.
    """
    text = check_card(path)
    head, tail = text[: text.index(BEGIN)], text[text.index(END) :]
    write_text(path, f"{head}{BEGIN}\n{performance(content)}\n{tail}")


def performance(content: Mapping[str, Any]) -> str:
    """Return the section as Markdown: a table with one column per cohort, and where it comes from."""
    who = "phantom patients" if content["phantom"] else "patients"
    cohorts = {f"held-out {who}": content}
    if content.get("external"):
        cohorts[f"external {who}"] = content["external"]
    rows: list[list[str]] = [["", *cohorts], ["---"] * (1 + len(cohorts))]
    rows.append(["patients, slices", *(size(one["cohort"]) for one in cohorts.values())])
    rows.append([NAMES["auc"], *(in_words(one["pooled"]["auc"]) for one in cohorts.values())])
    for name in ("mean_auc", "median_auc"):
        rows.append([NAMES[name], *(in_words(one["per_patient"][name]) for one in cohorts.values())])
    for name in POOLED:
        rows.append([NAMES[name], *(in_words(one["pooled"][name]) for one in cohorts.values())])
    if any(rules_of(one) for one in cohorts.values()):
        thresholds = " / ".join(map(str, LABEL_RULES_MM))
        rows.append([f"AUC if compressed from {thresholds} mm of indentation", *map(aucs_by_rule, cohorts.values())])
    facts = content["cohort"]["facts"]
    sources = [
        f"model version {markdown(facts.get('model_version', 'not recorded'))}",
        f"weights {markdown(str(facts.get('weights_sha256', 'not recorded'))[:12])}",
        f"predictions {content['cohort']['predictions_sha256'][:12]}",
    ]
    settings = [["setting", "this run", "the paper"], ["---"] * 3]
    settings += [[row["setting"], markdown(row["this"]), row["paper"]] for row in content["settings"]]
    preface = PHANTOM if content["phantom"] else ""
    beware = " ".join(warning for warning in content["warnings"] if warning != SYNTHETIC)
    note = (
        "95 % intervals in brackets; slices of one patient are not taken as independent. Sensitivity and the lines "
        "below it are at the paper's threshold, a raw sigmoid of 0.5. Written by `python -m scripts report --card` "
        f"({', '.join(sources)})."
    )
    trained = f"These numbers are of a network that was trained so: {content['settings_in_words']}".strip()
    return "\n\n".join(filter(None, [preface, table_of(rows), beware, note, trained, table_of(settings)]))


def table_of(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out as a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def rules_of(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the results of a cohort under each label rule; none where it is no phantom, or its truth is not known."""
    return (results["label_rules"] or {}).get("rules", [])


def aucs_by_rule(results: Mapping[str, Any]) -> str:
    """Return the AUCs of a cohort under each label rule, and how many slices they do not rest on."""
    rows = rules_of(results)
    if not rows:
        return "not known"
    lost = results["label_rules"]["n_slices_without_truth"]
    beware = f"; {counted_noun(lost, 'slice')} without truth left out" if lost else ""
    return " / ".join(in_words(row["auc"]) for row in rows) + beware


def size(cohort: Mapping[str, Any]) -> str:
    """Return how many patients and slices a cohort has."""
    slices = counted_noun(cohort["n_slices"], "slice")
    return f"{counted_noun(cohort['n_patients'], 'patient')}, {slices}, {cohort['n_compressed_slices']:,} compressed"
