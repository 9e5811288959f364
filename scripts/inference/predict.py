"""The ``predict`` command: inference.json without MONAI's config syntax."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..cluster.workers import Workers
from ..console import one_line, progress, say
from ..dicom.listings import named_paths
from ..errors import InputError, exit_status
from ..files import check_folder
from ..records import DEFAULT_PATIENT_RULE, Failure, Series, SeriesRecord
from .weights import operating_point_settings, weights_paths, weights_settings

if TYPE_CHECKING:
    from .output_folder import OutputFolder
    from .series import FoundSeries

LISTED = 20
"""Series that the final table names one by one; more are only counted, and listed in series.csv."""


DEADLY = "every process that scores it ends at once (want of memory, or pixels that crash the decoder)"


class Outcome(NamedTuple):
    """What became of some series: rows of series.csv and of failures.csv."""

    records: list[SeriesRecord]
    failures: list[Failure]


def predict(
    *inputs: str,
    out: str,
    weights: str = "",
    threshold: float | None = None,
    operating_points: str = "",
    operating_point: str = "youden",
    patient_rule: str = DEFAULT_PATIENT_RULE,
    batch_size: int = 16,
    force: bool = False,
    resume: bool = False,
    workers: int = 1,
    scheduler: str = "",
    dicom: bool = False,
    overlays: bool = False,
    raw_heatmap: bool = False,
    heatmap_layer: str = "layer4",
    heatmap_task: str = "compressed",
    test_time_average: bool = False,
    hotspots: bool = False,
    precision: str = "auto",
    backend: str = "torch",
    allow_phantom_weights: bool = False,
) -> int:
    """Score every axial T2 or T2* series below INPUTS, slice by slice, with a heat map. Research use only.

    Writes OUT/<series_uid>/slices.csv (one row per slice), summary.json, heatmap.nii.gz (on the grid of the series),
    heatmap.png; OUT/worklist.csv with the scored series, the highest patient-level score first; OUT/series.csv with
    what became of each series, and OUT/failures.csv with what was refused or could not be read, and why.

    Exit status: 0 everything that may hold images was scored or refused, 1 something could not be read or failed, 2 no
    series was scored.

    Args:
        inputs: files or folders at any depth (DICOM, NIfTI, NRRD, MetaImage, zips of them); a DICOMDIR stands for its
            folder.
        out: folder of the results; it then holds those of this run only, beside files of your own. Two runs cannot
            write to one folder at once.
        weights: checkpoint; it stores the architecture and settings of its network. Default models/model.pt,
            which packed bundles have. Several, separated by commas, are an ensemble: the mean of their logits, at the
            cost of all of them.
        threshold: probability from which a slice is called compressed; default is that of configs/inference.json.
        operating_points: operating_points.json of these weights, from `report` or `recalibrate`; probabilities are then
            calibrated, and the threshold is that of one of its points.
        operating_point: which of its points, e.g. youden or sensitivity_95.
        patient_rule: how a whole series is scored: max (highest logit), top_3_mean (mean of the three highest),
            expected_count (sum of the probabilities) or longest_run_mm. It is called at that rule's own threshold in
            operating_points.json; without one there is no patient-level call.
        batch_size: slices that go through the network at once.
        force: also score series that are not axial T2 or T2*.
        resume: leave series that have results of the same images, weights and settings as they are.
        workers: processes of this machine that share the series, its cores and its GPUs.
        scheduler: address of a dask scheduler, tls://host:port, whose workers score the series instead; other machines
            share the folders with this one, see docs/many_machines.md.
        dicom: also write OUT/<series_uid>/dicom, a structured report (TID 1500) and colour overlays (needs highdicom).
        overlays: also write OUT/<series_uid>/overlays, each slice with its heat map as PNG.
        raw_heatmap: also write heatmap_raw.nii.gz, not scaled slice by slice, to compare slices of a series.
        heatmap_layer: layer of the heat map; layer3 gives finer maps and costs a quarter more.
        heatmap_task: what the heat map explains: compressed, or another task of the network (grade, kind, t2_signal).
        test_time_average: average the logit over 18 views of a slice (9 shifts, mirrored or not); 18 times the cost.
        hotspots: average the heat map over the same 18 views (evidence hotspots); 18 times the cost.
        precision: auto (bf16 where the hardware multiplies it, else fp32), bf16, fp32 or tf32 (GPUs only). bf16 changes
            probabilities by less than 0.01.
        backend: torch, or openvino, which is faster on CPUs (needs openvino). Heat maps of other layers than layer4,
            the 18 views and GPUs use torch all the same; every summary.json says what ran.
        allow_phantom_weights: use weights that were trained on the phantom on other images, too; every output says so.
    """
    if threshold is not None and not 0 < threshold < 1:
        raise InputError(f"threshold is a probability between 0 and 1, got {threshold}")
    if threshold is not None and operating_points:
        raise InputError("--threshold and --operating_points both set the threshold; give one of them")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise InputError("predict does not run under torchrun; give it --workers, or the --scheduler of a cluster")
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    named_paths(inputs)
    check_running(precision, backend, heatmap_layer, test_time_average or hotspots)
    if dicom:
        from .dicom_results.sources import require_highdicom

        require_highdicom()
    paths = weights_paths(weights)
    settings, digest = weights_settings(paths, heatmap_layer, heatmap_task)
    overrides: dict[str, Any] = {
        **settings,
        "output_dir": out,
        "ckpt_path": paths[0],
        "ensemble": tuple(paths[1:]),  # of which MONAI's config language reads nothing
        "resume": resume,
        "batch_size": batch_size,
        "dicom": dicom,
        "overlays": overlays,
        "raw_heatmap": raw_heatmap,
        "heatmap_layer": heatmap_layer,
        "heatmap_task": heatmap_task,
        "test_time_average": test_time_average,
        "hotspots": hotspots,
        "precision": precision,
        "backend": backend,
        "allow_phantom_weights": allow_phantom_weights,
    }
    if threshold is not None:
        overrides |= {"displayable_configs__threshold": threshold, "threshold_source": "given with --threshold"}
    if operating_points:
        overrides |= operating_point_settings(operating_points, operating_point, digest, patient_rule)
    else:
        overrides["patient_level__rule"] = patient_rule
    check_folder(out)
    if test_time_average or hotspots:
        say("18 views of each slice: expect 18 times the cost of one")
    return score(inputs, force, overrides, Workers(workers, scheduler))


def check_running(precision: str, backend: str, heatmap_layer: str, views: bool) -> None:
    """Refuse a precision or a backend that cannot be, and say where torch takes OpenVINO's place."""
    import torch

    from ..inferers import SeriesInferer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    inferer = SeriesInferer(layer=heatmap_layer, hotspots=views, precision=precision, backend=backend)
    reason = inferer.without_openvino(device)
    if reason:
        say(f"torch is used: {reason}")


def score(inputs: Sequence[str], force: bool, overrides: dict[str, Any], workers: Workers) -> int:
    """Find the series once, and score them in this process or in those of ``workers``.

    Returns:
        The exit status.
    """
    from .output_folder import OutputFolder
    from .series import find_series

    with workers:
        found = find_series(inputs, force, workers.spread)
        folder = OutputFolder(overrides["output_dir"])
        try:
            folder.begin(one["name"] for one in found.series)
            outcome = score_all(found, {**overrides, "shared_run": folder.run}, workers)
            return report_outcome(folder, outcome)
        except BaseException:
            workers.end()  # before what they were writing is removed
            folder.clear()
            raise
        finally:
            folder.end()


def score_all(found: FoundSeries, overrides: dict[str, Any], workers: Workers) -> Outcome:
    """Score all series; those that end every process are failures."""
    outcome = Outcome([], list(found.refused))
    bare = replace(found, series=(), refused=())
    work = partial(score_group, bare, overrides, 1 if workers.scheduler else workers.n)
    # what a process that died has finished is kept
    again = partial(score_group, bare, {**overrides, "resume": True}, *work.args[2:])
    scored = workers.spread(work, workers.groups(found.series), again)
    for group, part in scored if workers.alone else by_series(scored, len(found.series)):
        if part is None:
            part = Outcome([], [found.failure_of(one, "failed", DEADLY) for one in group])
        if not overrides["resume"]:  # what was kept, this run had scored
            part = part._replace(records=[{**row, "status": "scored"} for row in part.records])
        outcome.records.extend(part.records)
        outcome.failures.extend(part.failures)
    return outcome


def by_series(
    scored: Iterable[tuple[Sequence[Series], Outcome | None]], n: int
) -> Iterator[tuple[Sequence[Series], Outcome | None]]:
    """Show how many of ``n`` series have been scored, while groups of them come in."""
    each = ((number, group, part) for group, part in scored for number in range(len(group)))
    for number, group, part in progress(each, "scoring", "series", n):
        if number == 0:
            yield group, part


def score_group(found: FoundSeries, overrides: dict[str, Any], processes: int, series: Sequence[Series]) -> Outcome:
    """Score some series in this process, which is one of ``processes`` of this machine."""
    changes = {**overrides, **(share_of_machine(processes) if processes > 1 else {})}
    return run_inference(replace(found, series=tuple(series)), changes)


def share_of_machine(processes: int) -> dict[str, Any]:
    """Take a share of the cores for this process, a worker, and return the config's keys that choose its GPU."""
    import torch
    from distributed import get_worker

    from ..cluster.workers import cores

    torch.set_num_threads(max(1, cores() // processes))
    n_gpus = torch.cuda.device_count()
    return {"device": torch.device(f"cuda:{int(get_worker().name) % n_gpus}")} if n_gpus > 1 else {}


def run_inference(found: FoundSeries, overrides: dict[str, Any]) -> Outcome:
    """Run inference.json on some series."""
    from ..runner import run_config

    parser = run_config(["inference.json"], found=found, **overrides)
    return Outcome(parser.get_parsed_content("writer").records, parser.get_parsed_content("dataset").failures)


def report_outcome(folder: OutputFolder, outcome: Outcome) -> int:
    """Write the tables of the whole run, print what became of the series, and return the exit status."""
    from .writing import finish_run

    records = sorted(outcome.records, key=lambda row: (row["patient_id"], row["series_uid"]))
    failures = sorted(outcome.failures, key=lambda row: row["input"])
    finish_run(folder, records, failures)
    say()
    if len(records) <= LISTED:
        say_table(records)
    counts = Counter(row["status"] for row in records)
    evaluated, slices = sum(row["n_evaluated"] for row in records), sum(row["n_slices"] for row in records)
    compressed = sum(row["n_compressed"] for row in records)
    say(
        f"{counts['scored']} series scored, {counts['kept']} kept from an earlier run, {len(failures)} left out; "
        f"{slices} slices, {slices - evaluated} of them not evaluable, {compressed} compressed"
    )
    for reason, count in Counter(row["reason"] for row in failures).most_common(5):
        say(f"  left out ({count}): {reason}")
    tables = ("worklist.csv", "series.csv", *(["failures.csv"] if failures else []))
    say(f"tables: {', '.join(str(folder.path / name) for name in tables)}")
    return exit_status(len(records), sum(row["status"] in ("unreadable", "failed") for row in failures))


def say_table(records: Sequence[SeriesRecord]) -> None:
    """Print one line per series."""
    if not records:
        return
    say(f"{'series':24}  {'status':7}  {'slices':>6}  {'compressed':>10}  {'longest run':>11}  {'highest p':>9}")
    for row in records:
        highest = "" if row["max_probability"] is None else f"{row['max_probability']:.3f}"
        uid = one_line(row["series_uid"])
        name = uid if len(uid) <= 24 else f"…{uid[-23:]}"
        run = f"{row['longest_run_mm']:.1f} mm"
        say(f"{name:24}  {row['status']:7}  {row['n_slices']:6}  {row['n_compressed']:10}  {run:>11}  {highest:>9}")
