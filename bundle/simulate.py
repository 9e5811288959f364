"""``python -m bundle simulate``."""

from __future__ import annotations

import time
from pathlib import Path

from scripts.console import say
from scripts.errors import InputError, check_seed, check_whole
from scripts.study.page import check_page, write_between

PARTS = ("coverage", "plans")


def simulate(
    doc: str = "docs/simulation.md",
    parts: str = "coverage,plans",
    repetitions: int = 2000,
    null_repetitions: int = 10_000,
    studies: int = 1000,
    seed: int = 0,
) -> None:
    """Measure how often intervals contain the true value, tests reject a true null hypothesis, and plans are right.

    Draws simulated patients. The coverage takes hours, the plans about ten minutes.

    Args:
        doc: Markdown page whose parts between the marks are written anew.
        parts: which to run: coverage, plans, or both, separated by a comma.
        repetitions: simulated cohorts per size, for coverage.
        null_repetitions: cohorts without any difference per setting, for tests.
        studies: simulated studies per plan.
        seed: seed of everything that is drawn.
    """
    wanted = [part.strip() for part in parts.split(",") if part.strip()]
    if not wanted or set(wanted) - set(PARTS):
        raise InputError(f"--parts must be {' or '.join(PARTS)}, or both with a comma between, got {parts!r}")
    for option, number in (
        ("--repetitions", repetitions),
        ("--null_repetitions", null_repetitions),
        ("--studies", studies),
    ):
        check_whole(option, number, 1)
    check_seed(seed)
    page = Path(doc)
    for part in wanted:
        check_page(page, part)
    from .planned_studies import planned_part
    from .simulation import coverage_part

    for part in wanted:
        start = time.monotonic()
        if part == "coverage":
            options = f" --repetitions {repetitions} --null_repetitions {null_repetitions}"
            text = coverage_part(repetitions, null_repetitions, seed)
        else:
            options, text = f" --studies {studies}", planned_part(studies, seed)
        command = f"```\npython -m bundle simulate --parts {part}{options} --seed {seed}\n```"
        minutes = (time.monotonic() - start) / 60
        write_between(page, part, f"{command}\n\n{text}\n\n{minutes:.1f} minutes")
    say(f"wrote {page}")
