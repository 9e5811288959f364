"""The ``load`` command: a hundred thousand files, flat memory, progress, and one bad file in each hundred."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from scripts.console import say
from scripts.errors import InputError, check_seed, check_whole
from scripts.files import check_folder, write_csv, write_json
from scripts.study.page import check_page, software, write_page

from .many_files import PER_PATIENT, SCORED, Template, cohort_files, series_files, write_files
from .processes import Run, require_posix, run
from .wholeness import read_csv

HIGHEST_RATIO = 1.5
"""How much more memory the second half of a run may take than the first."""
LONGEST_S = 6 * 3600.0
"""A command on a large cohort has this long."""
SAMPLE_S = 0.5


@dataclass
class Measured:
    """What a command did with its load.

    Attributes:
        files: that it was given.
        good: how many it used, and how many of them it should have used.
        bad: how many it reported, and how many are bad.
        seconds: how long it took.
        halves_mib: largest resident memory in the first and in the second half of the run.
        violations: what was wrong.
    """

    files: int
    good: tuple[int, int]
    bad: tuple[int, int]
    seconds: float
    halves_mib: tuple[float, float]
    violations: list[str] = field(default_factory=list)


def load(
    out: str,
    files: int = 100_000,
    series: int = 1_000,
    seed: int = 0,
    workers: int = 2,
    commands: str = "index,deidentify,split,predict",
    doc: str = "",
) -> int:
    """Run many small files through index, deidentify and split, and many series of five slices through predict.

    The slices are 64 x 64 pixels, each with UIDs and pixels of its own; of each hundred files, and of each hundred
    series, one is bad: no DICOM, truncated, with a damaged header, or sagittal. Each command must use all good ones,
    report all bad ones, show its progress, and need at most half as much memory again in the second half of its run as
    in the first.

    Args:
        out: folder; what was made is removed in the end, load.json stays.
        files: files for index, deidentify and split; at least 800.
        series: series for predict; at least 100, or 0 for none.
        seed: seed of the phantom slice and of the split.
        workers: 1 to run the commands one after the other, 2 to run deidentify beside the others.
        commands: which to run, separated by commas; split needs index.
        doc: Markdown page whose part between the marks of this campaign is written anew, docs/reliability.md.

    Returns:
        0 if nothing was wrong, else 1.
    """
    require_posix()
    chosen = [name.strip() for name in commands.split(",") if name.strip()]
    known: dict[str, Callable[[Load], Measured]] = {
        "index": run_index,
        "deidentify": run_deidentify,
        "split": run_split,
        "predict": run_predict,
    }
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen or ("split" in chosen and "index" not in chosen):
        raise InputError(f"--commands knows {', '.join(known)}, and split needs index; got {commands!r}")
    check_seed(seed)
    check_whole("--files", files, 8 * PER_PATIENT)
    check_whole("--series", series, 0)
    check_whole("--workers", workers, 1)
    if doc:
        check_page(Path(doc), "load")
    folder = check_folder(out).resolve()
    started = time.monotonic()
    task = Load(folder / "load", files, series, seed)
    shutil.rmtree(task.folder, ignore_errors=True)
    task.make(chosen)
    # deidentify works in one process for as long as the others together
    lanes = [[name for name in chosen if (name == "deidentify") == alone] for alone in (True, False)]
    results: dict[str, Measured] = {}

    def run_lane(names: Sequence[str]) -> None:
        for name in names:
            try:
                results[name] = known[name](task)
            except FileNotFoundError as error:
                log = (task.folder / name / "log.txt").read_text(encoding="utf-8", errors="replace").strip()[-200:]
                text = f"{error.filename} was not written: {log}"
                results[name] = Measured(0, (0, 0), (0, 0), 1.0, (0.0, 0.0), [text])
            say(describe(name, results[name]))

    with ThreadPoolExecutor(min(workers, len(lanes))) as pool:
        list(pool.map(run_lane, lanes))
    shutil.rmtree(task.folder)
    seconds = time.monotonic() - started
    facts = {"seed": seed, "seconds": round(seconds), "software": software()}
    write_json(folder / "load.json", {**facts, **{name: vars(one) for name, one in results.items()}})
    if doc:
        command = f"python -m bundle load OUT --files {files} --series {series} --seed {seed} --workers {workers}"
        table: list[list[object]] = [
            ["command", "files", "good used", "bad reported", "seconds", "first half, MiB", "second half, MiB", "wrong"]
        ]
        for name, one in ((name, results[name]) for name in chosen):
            counts = (f"{one.good[0]} of {one.good[1]}", f"{one.bad[0]} of {one.bad[1]}")
            halves = (f"{mib:.0f}" for mib in one.halves_mib)
            table.append([name, one.files, *counts, f"{one.seconds:.0f}", *halves, len(one.violations)])
        write_page(Path(doc), "load", command, table, seconds)
    return 1 if any(one.violations for one in results.values()) else 0


def describe(name: str, one: Measured) -> str:
    """Return one line about a command, and one for each thing that was wrong."""
    first, second = one.halves_mib
    line = (
        f"{name:10} {one.files} files in {one.seconds:.0f} s ({one.files / one.seconds:.0f} a second): "
        f"{one.good[0]} of {one.good[1]} good used, {one.bad[0]} of {one.bad[1]} bad reported; "
        f"peak {first:.0f} MiB in the first half, {second:.0f} MiB in the second"
    )
    return "\n".join([line, *(f"  WRONG: {text}" for text in one.violations)])


@dataclass
class Load:
    """The files, and what is run on them."""

    folder: Path
    n_files: int
    n_series: int
    seed: int
    listed: list[tuple[str, str]] = field(default_factory=list)
    scored: list[tuple[str, str]] = field(default_factory=list)
    weights: Path = Path()

    def make(self, chosen: Sequence[str]) -> None:
        """Write what the commands read."""
        from pydicom import dcmread

        from scripts.dicom.silence import quiet

        from .samples import make_samples

        samples = {one.name: one.path for one in make_samples(self.folder / "sound")}
        self.weights = samples["model.pt"]
        with quiet():
            template = Template(dcmread(samples["classic-explicit-vr-little-endian.dcm"]))
        if {"index", "deidentify", "split"} & {*chosen}:
            self.listed = write_files(self.folder / "cohort", cohort_files(template, self.n_files), self.n_files)
        if "predict" in chosen:
            total = SCORED * self.n_series
            self.scored = write_files(self.folder / "series", series_files(template, self.n_series), total)

    def bad(self, *without: str) -> list[str]:
        """Return the bad files of the cohort, but for those of some faults."""
        return [name for name, fault in self.listed if fault and fault not in without]

    def command(self, name: str, *words: object) -> tuple[Path, Run, list[str]]:
        """Run a command; returns its folder, how it ran, and what was wrong so far."""
        place = self.folder / name / "out"
        place.mkdir(parents=True)
        texts = [str(word).replace("OUT", str(place)) for word in words]
        ended = run(["-m", "scripts", name, *texts], place, sample_s=SAMPLE_S, longest_s=LONGEST_S)
        log = place.with_name("log.txt").read_text(encoding="utf-8", errors="replace")
        violations = [f"exit status {ended.status}: {log.strip()[-200:]}"] if ended.status not in (0, 1) else []
        shown = {*re.findall(r"(\d+)%\|", log), *re.findall(r"results in (\S+)", log)}
        if len(shown) < 2:
            violations.append("no progress shown")
        first, second = halves(ended.rss_mib)
        if second > HIGHEST_RATIO * first:
            violations.append(f"memory grew from {first:.0f} to {second:.0f} MiB")
        return place, ended, violations


def halves(rss_mib: Sequence[float]) -> tuple[float, float]:
    """Return the largest of the first and of the second half."""
    middle = max(len(rss_mib) // 2, 1)
    return max(rss_mib[:middle], default=0.0), max(rss_mib[middle:], default=0.0)


def measured(ended: Run, files: int, good: tuple[int, int], bad: tuple[int, int], violations: list[str]) -> Measured:
    """Add to what was wrong where counts differ."""
    for name, (found, wanted) in (("good", good), ("bad", bad)):
        if found != wanted:
            violations.append(f"{found} {name} ones, not {wanted}")
    return Measured(files, good, bad, ended.seconds, halves(ended.rss_mib), violations)


def run_index(task: Load) -> Measured:
    """Index the cohort."""
    cohort = task.folder / "cohort"
    place, ended, violations = task.command("index", cohort, "--out", "OUT/index.csv")
    slices = read_csv(place / "index_slices.csv")
    reported = {row["path"] for row in read_csv(place / "index_unreadable.csv")}
    refused = {row["path"] for row in read_csv(place / "index.csv") if row["decision"] != "accept"}
    bad = task.bad()
    n_reported = sum(name in reported or name.rpartition("/")[0] in refused for name in bad)
    n_good = len(task.listed) - len(bad)
    return measured(ended, len(task.listed), (len(slices), n_good), (n_reported, len(bad)), violations)


def run_deidentify(task: Load) -> Measured:
    """De-identify the cohort; a sagittal image is copied, too."""
    words = (task.folder / "cohort", "--out", "OUT/copies", "--linkage", "OUT/linkage.csv")
    place, ended, violations = task.command("deidentify", *words)
    n_copies = sum(1 for _ in (place / "copies").rglob("*.dcm"))
    n_refused = len(read_csv(place / "linkage_refused.csv"))
    bad = task.bad("wrong kind")
    shutil.rmtree(place / "copies", ignore_errors=True)
    return measured(ended, len(task.listed), (n_copies, len(task.listed) - len(bad)), (n_refused, len(bad)), violations)


def run_split(task: Load) -> Measured:
    """Divide the cohort by labels that its index makes; the bad files have none."""
    from scripts.datalists import datalist_info
    from scripts.records import LABEL_COLUMNS, PATIENT_COLUMNS

    slices = read_csv(task.folder / "index" / "out" / "index_slices.csv")
    common = {"rater": "r", "reading": 1, "role": "reference", "status": "evaluable"}
    labels = task.folder / "labels.csv"
    rows = (
        {**{k: row[k] for k in LABEL_COLUMNS if k in row}, **common, "label": int(row["slice_index"]) % 2}
        for row in slices
    )
    write_csv(labels, LABEL_COLUMNS, rows)
    names = sorted({row["patient_id"] for row in slices})
    people = [{"patient_id": name, "site": f"site {number % 3}"} for number, name in enumerate(names)]
    write_csv(task.folder / "patients.csv", PATIENT_COLUMNS, people)
    words = (
        labels,
        task.folder / "patients.csv",
        task.folder / "cohort",
        "--out",
        task.folder / "cohort/datalist.json",
    )
    _, ended, violations = task.command("split", *words, "--seed", task.seed)
    datalist = task.folder / "cohort" / "datalist.json"
    counts = datalist_info(datalist)["counts"] if datalist.is_file() else {}
    n_slices = sum(one["slices"] for one in counts.values())
    return measured(ended, len(task.listed), (n_slices, len(slices)), (0, 0), violations)


def run_predict(task: Load) -> Measured:
    """Score the series."""
    words = (task.folder / "series", "--out", "OUT", "--weights", task.weights)
    place, ended, violations = task.command("predict", *words)
    rows = read_csv(place / "series.csv")
    n_scored = sum(row["status"] == "scored" for row in rows)
    failures = "\n".join(f"{row['input']}\n" for row in read_csv(place / "failures.csv"))
    bad = sorted({name.partition("/")[0] for name, fault in task.scored if fault})
    n_reported = sum(re.search(rf"/series/{name}[/\n]", failures) is not None for name in bad)
    return measured(ended, len(task.scored), (n_scored, task.n_series - len(bad)), (n_reported, len(bad)), violations)
