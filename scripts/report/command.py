"""``python -m scripts report``; what it takes is imported when it runs, so that its help is quick."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, check_whole
from ..files import check_output


def report(
    *runs: str,
    out: str,
    cohort: str = "",
    patients: str = "",
    external: str = "",
    external_cohort: str = "",
    external_patients: str = "",
    columns: str = "age,mjoa,region,site,sex,maker",
    point: str = "paper_0.5",
    compare_at: str = "youden",
    margin: float = 0.0,
    seed: int = 0,
    card: str = "",
) -> None:
    """Write report.json, report.html and figures from predictions.

    A run is a folder with predictions.csv (patient_id, series_uid, sop_uid, frame, slice_index, label, logit,
    probability). If it also holds predictions_validation.csv, thresholds and calibration are chosen on that and written
    to operating_points.json in the run. docs/report.md describes every file.

    Args:
        runs: the run to report; further runs are other models on the same slices and are compared with it.
        out: folder for report.json, report.html, coding.csv and figures/.
        cohort: folder with patients.csv and, where they exist, labels.csv, geometry.csv and datalist.json; by default
            the folder of the datalist that the run scored, or the run's own folder.
        patients: patients.csv, if it is not in the cohort's folder.
        external: run of the same model on patients of other sites, reported beside the first and never pooled with it.
        external_cohort: cohort folder of the external run; by default as with cohort.
        external_patients: patients.csv of the external run.
        columns: columns for subgroups, separated by commas; fix them before you see results. Default:
            age,mjoa,region,site,sex,maker
        point: operating point for trial coding, comparison with readers, and the list of wrong slices.
        compare_at: operating point at which sensitivity and specificity of further runs are compared with those of the
            first, each run at its own threshold; where a run has no such point, paper_0.5 for all.
        margin: largest AUC difference that counts as equivalent; 0: no equivalence test.
        seed: seed of bootstrap and permutations.
        card: model card, e.g. docs/README.md, whose section on performance to write from this report.
    """
    if not runs:
        raise InputError("no run given; usage: python -m scripts report RUN --out DIR")
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0 <= margin <= 1:
        raise InputError(f"--margin must be a difference of AUC from 0 to 1, got {margin!r}")
    check_whole("--seed", seed, 0)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {out} is a file; expected a folder for report.json, report.html and figures/")
    check_output(folder / "report.json")
    from .compose import compose

    compose(
        [Path(run) for run in runs],
        folder,
        cohort=optional(cohort),
        patients=optional(patients),
        external=optional(external),
        external_cohort=optional(external_cohort),
        external_patients=optional(external_patients),
        columns=[name.strip() for name in columns.split(",") if name.strip()],
        point=point,
        compare_at=compare_at,
        margin=margin,
        seed=seed,
        card=optional(card),
    )


def optional(path: str) -> Path | None:
    """Return a path, or nothing."""
    return Path(path) if path else None
