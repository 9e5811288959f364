"""The ``benchmarks`` command and its table: what is measured where, and which finding is held against which goal."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from scripts.console import markdown, say
from scripts.errors import InputError
from scripts.files import check_output, write_json
from scripts.study.page import check_page, write_between

from .rows import CHANGES, Find, Goal, Options, Row


class Benchmark(NamedTuple):
    """One benchmark.

    Attributes:
        find: its function, as module of this package and name.
        goals: label of each row that is held against a goal.
        slices: how much there is to do where --slices says nothing.
    """

    find: str
    goals: Mapping[str, Goal]
    slices: int = 16


TRAINING = {"training, batch 16": Goal(0.9, at_most=False), "training, batch 64": Goal(0.95, at_most=False)}
HEAT_MAPS = {f"heat maps, batch {batch_size}, layer4": Goal(1.05) for batch_size in (16, 64)}

BENCHMARKS: Mapping[str, Benchmark] = {
    "heatmaps": Benchmark("networks:heatmaps", {"layer4": Goal(1.05)}),
    "second-network": Benchmark("networks:second_network", {"localiser, crop and grade": Goal(1.25)}),
    "training": Benchmark("training:training", TRAINING),
    "gpu": Benchmark("gpu:gpu", {**TRAINING, **HEAT_MAPS, "predict": Goal(300, at_most=False)}, slices=24),
    "predict": Benchmark("pipeline:predict", {"predict": Goal(1.2)}),
    "inference": Benchmark(
        "inference:inference",
        {
            "CPU, torch bf16, speed": Goal(4, at_most=False),
            "CPU, openvino bf16, speed": Goal(12, at_most=False),
            **{
                f"{name}, {what}": goal
                for name in ("torch bf16", "openvino fp32", "openvino bf16")
                for what, goal in CHANGES.items()
            },
        },
    ),
    "evaluate": Benchmark("evaluation:evaluate", {"evaluate, all figures": Goal(1.5)}, slices=8),
    "cold": Benchmark("start_up:cold", {"predict, cold": Goal(1.3)}, slices=30),
    "help": Benchmark("start_up:help_texts", {"slowest": Goal(1.0)}),
    "scale": Benchmark("scaling:scale", {"predict, exponent": Goal(1.1), "training, exponent": Goal(1.1)}, slices=1000),
}


def benchmarks(
    name: str = "heatmaps",
    pairs: int = 12,
    slices: int = 0,
    image_size: int = 299,
    architecture: str = "resnet50",
    views: bool = False,
    weights: str = "",
    cohort: str = "",
    out: str = "",
    doc: str = "",
) -> int:
    """Measure how fast a part is on this machine, against what it could not do without (median of pairs of runs).

    Writes files only with --out and --doc. docs/performance.md explains each benchmark and its goal.

    Args:
        name: heatmaps: inference with them against inference without; second-network: preprocessing and network with a
            localiser, its crop, a grade and the measures, against the whole field of view and one task; training:
            train.json with batches, augmentation and engine, against the bare step on one batch, on a GPU as a CUDA
            graph; gpu: training, heat maps, inference and predict on a GPU, in minutes; predict: all of it on several
            series of the phantom, against the slowest of reading, network and writing alone; inference: with heat
            maps, in each precision and backend, against MONAI's plain path in float32, and with --weights and --cohort
            what each changes in the results; evaluate: an evaluation with all figures against the same one without;
            cold: a process that scores one series, against one that imports torch and monai and runs the network;
            help: the slowest --help; scale: predict at up to 1,000 series, training at up to 100,000 slices (half an
            hour).
        pairs: pairs of a run of each, at least 8; of help, runs of each command. scale runs each size once.
        slices: slices of the series, one batch; of predict and gpu, series; of evaluate, patients; of scale, the most
            series, and a hundredth of the most slices. 0 is the benchmark's own number.
        image_size: side of the network's input in pixels.
        architecture: name of the trunk, see `scripts.networks.CordCompressionNet`.
        views: also measure the 18 views of test-time averaging and of hotspots (heatmaps only; slow).
        weights: of inference, a checkpoint whose probabilities and calls are compared.
        cohort: folder of the labelled slices that it scores, with datalist.json; its last section is taken.
        out: JSON file for the numbers; without, none is written.
        doc: page with the lines <!-- NAME: begin --> and <!-- NAME: end -->, such as docs/performance.md; the numbers
            go between them.

    Returns:
        0 if every goal that this machine can measure is met; else 1.
    """
    command = command_line(locals())
    if name not in BENCHMARKS or pairs < 8 or slices < 0:
        raise InputError(
            f"expected {', '.join(BENCHMARKS)}, at least 8 pairs and 1 slice; got {name}, {pairs}, {slices}"
        )
    if views and name != "heatmaps":
        raise InputError("--views belongs to heatmaps")
    if bool(weights) != bool(cohort) or (weights and name != "inference"):
        raise InputError("--weights and --cohort belong to inference, both or none")
    if out:
        check_output(out)
    if doc:
        check_page(Path(doc), name)
    import torch

    from .machine import machine

    benchmark, where = BENCHMARKS[name], machine()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    find: Find = pkgutil.resolve_name(f"{__package__}.{benchmark.find}")
    say(where)
    rows = []
    with TemporaryDirectory(prefix="cord-") as folder:
        slices = slices or benchmark.slices
        for row in find(Options(pairs, slices, image_size, architecture, views, device, Path(folder), weights, cohort)):
            rows.append(row)
            say(f"{row.label:36} {number(row)} {row.unit}{f' ({row.note})' if row.note else ''}")
    if out:
        write_json(Path(out), {"command": command, "machine": where, "rows": [row._asdict() for row in rows]})
    if doc:
        write_between(Path(doc), name, f"```\n{command}\n```\n\n{table(rows, benchmark.goals)}\n\n{where}")
    return verdict(rows, benchmark.goals)


def command_line(given: Mapping[str, Any]) -> str:
    """Return the command with the options that are not at their defaults, but where its numbers go."""
    options = [
        f"--{name} {given[name]}"
        for name, one in inspect.signature(benchmarks).parameters.items()
        if name not in ("name", "out", "doc") and given[name] != one.default
    ]
    return " ".join([f"python -m bundle benchmarks {given['name']}", *options])


def number(row: Row) -> str:
    """Write the value of a row; a dash where there is none."""
    return "-" if row.value is None else f"{row.value:.3f}"


def table(rows: Sequence[Row], goals: Mapping[str, Goal]) -> str:
    """Return the rows as a table in Markdown, with their goals."""
    lines = [["what", "measured", "", "goal"], ["---"] * 4]
    for row in rows:
        measured = f"{number(row)} {row.unit}".strip()
        lines.append([row.label, measured, row.note, str(goals.get(row.label, ""))])
    return "\n".join(f"| {' | '.join(map(markdown, cells))} |" for cells in lines)


def verdict(rows: Sequence[Row], goals: Mapping[str, Goal]) -> int:
    """Print what became of each goal, and return the exit status."""
    values, missed = {row.label: row.value for row in rows}, False
    for label, goal in goals.items():
        value = values.get(label)
        if value is None:
            say(f"{label}: not measured on this machine; the goal is {goal}")
            continue
        missed = missed or not goal.met(value)
        say(f"{label}: {value:.3f}, the goal of {goal} is {'met' if goal.met(value) else 'NOT met'}")
    return int(missed)
