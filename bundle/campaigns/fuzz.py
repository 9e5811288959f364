"""The ``fuzz`` command: no damaged file crashes, hangs, fills the memory, or is taken for a sound one."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.console import progress, say
from scripts.errors import InputError, check_seed, check_whole
from scripts.files import check_folder, write_csv, write_json
from scripts.study.page import check_page, software, write_page

if TYPE_CHECKING:
    from .pool import Plan

GOOD = ("accepted", "refused")
FAILURES = ("exception", "wrong", "memory", "hang", "crash")
COLUMNS = ("number", "kind", "sample", "mutations", "result", "detail")


def fuzz(
    out: str,
    dicom: int = 10_000,
    others: int = 2_000,
    seed: int = 0,
    workers: int = 2,
    only: int = -1,
    atheris: int = 0,
    doc: str = "",
) -> int:
    """Damage DICOM files, and NIfTI, zips, tables, JSON, checkpoints and configs; put each through the real readers.

    DICOM goes through `index` (scan, judge, decode) and through what `predict` loads, other files through the functions
    that the commands read them with. Each file must be accepted, or refused with a reason for people, within 5 s and
    2 GiB. Accepted pixels must be those that pydicom decodes; what `index` accepts, `predict` must load; a file that
    was cut must not be accepted. Files that fail are kept in OUT/failures, and OUT/failures.csv lists them.

    Args:
        out: folder of the samples and the failures.
        dicom: damaged DICOM files.
        others: damaged files of the six other kinds.
        seed: seed of the damage.
        workers: processes.
        only: number of one file to try again in this process, with its traceback.
        atheris: instead, seconds for which atheris, if it is installed, mutates headers by coverage.
        doc: Markdown page whose part between the marks of this campaign is written anew, docs/reliability.md.

    Returns:
        0 if no file failed, else 1.
    """
    from .pool import Plan, outcomes
    from .samples import make_samples

    check_seed(seed)
    for option, value in (("--dicom", dicom), ("--others", others), ("--atheris", atheris)):
        check_whole(option, value, 0)
    check_whole("--workers", workers, 1)
    if doc:
        check_page(Path(doc), "fuzz")
    folder = check_folder(out).resolve()
    plan = Plan(folder / "sound", seed, dicom)
    samples = make_samples(plan.folder)
    if atheris:
        return by_coverage(folder, atheris)
    if only >= 0:
        return one_alone(plan, only)
    started = time.monotonic()
    counts: dict[str, Counter[str]] = {}
    slowest = 0.0
    rows = []
    total = dicom + others
    for outcome in progress(outcomes(plan, range(total), workers), "damaged files", "file", total):
        counts.setdefault(plan.kind(outcome.number), Counter())[outcome.result] += 1
        slowest = max(slowest, outcome.seconds)
        if outcome.result not in GOOD:
            case = plan.case(samples, outcome.number)
            about = (case.sample.kind, case.sample.name, " ".join(case.mutations), outcome.result, outcome.detail)
            rows.append(dict(zip(COLUMNS, (outcome.number, *about), strict=True)))
            failures = folder / "failures"
            failures.mkdir(exist_ok=True)
            (failures / f"{outcome.number}-{case.sample.name}").write_bytes(case.data)
    seconds = time.monotonic() - started
    write_csv(folder / "failures.csv", COLUMNS, sorted(rows, key=lambda row: row["number"]))
    table: list[list[object]] = [["files", "number", *GOOD, *FAILURES]]
    for kind, found in counts.items():
        table.append([kind, sum(found.values()), *(found[name] for name in (*GOOD, *FAILURES))])
    say("\n".join("  ".join(f"{cell!s:>10}" for cell in line) for line in table))
    for text, n in Counter(f"{row['result']}: {row['kind']}: {row['detail']}"[:160] for row in rows).most_common(30):
        say(f"  {n} x {text}")
    say(f"{total} files, {len(rows)} failures, {total / seconds:.0f} files a second, slowest {slowest:.2f} s")
    facts = {"seed": seed, "seconds": round(seconds), "slowest_s": round(slowest, 2), "software": software()}
    write_json(folder / "fuzz.json", {**facts, "counts": {kind: dict(found) for kind, found in counts.items()}})
    if doc:
        command = f"python -m bundle fuzz OUT --dicom {dicom} --others {others} --seed {seed}"
        write_page(Path(doc), "fuzz", command, table, seconds)
    return 1 if rows else 0


def one_alone(plan: Plan, number: int) -> int:
    """Try one file in this process, with its traceback where it fails."""
    import tempfile

    from .doors import try_file
    from .pool import make_place
    from .samples import make_samples

    samples = make_samples(plan.folder)
    case = plan.case(samples, number)
    say(f"file {number}: {case.sample.kind} {case.sample.name}, {' and '.join(case.mutations)}")
    with tempfile.TemporaryDirectory() as folder:
        place = make_place(plan, Path(folder))
        say(try_file(case.sample, case.data, case.mutations, number, place))
    return 0


def by_coverage(folder: Path, seconds: int) -> int:
    """Let atheris mutate headers for some time, starting from the samples.

    Raises:
        InputError: atheris is not installed.
    """
    import subprocess
    import sys
    from importlib.util import find_spec

    from scripts.files import ROOT

    if find_spec("atheris") is None:
        raise InputError(
            "atheris is not installed; pip install atheris (it has wheels for Linux and Python 3.11 to 3.13)"
        )
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "bundle.campaigns.coverage", str(corpus), str(folder / "sound/samples/dicom")]
    limits = [f"-max_total_time={seconds}", "-timeout=5", "-rss_limit_mb=2048", "-max_len=20000"]
    artifacts = [f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    return 1 if subprocess.run([*command, *limits, *artifacts], cwd=ROOT, check=False).returncode else 0
