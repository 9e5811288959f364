"""``python -m bundle simulate``."""

from __future__ import annotations

from scripts.console import say
from scripts.files import check_output, write_text


def simulate(
    out: str = "docs/simulation.md", repetitions: int = 2000, null_repetitions: int = 10_000, seed: int = 0
) -> None:
    """Measure how often intervals contain the true value and how often tests reject a true null hypothesis.

    Draws simulated patients. Takes hours.

    Args:
        out: Markdown file to write.
        repetitions: simulated cohorts per size, for coverage.
        null_repetitions: cohorts without any difference per setting, for tests.
        seed: seed of everything that is drawn.
    """
    from .simulation import page

    target = check_output(out)
    write_text(target, page(repetitions, null_repetitions, seed))
    say(f"wrote {target}")
