"""The ``torture`` command: killed at any moment, nothing is lost and nothing half-written is taken for a result."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from scripts.console import say
from scripts.errors import InputError, check_seed, check_whole
from scripts.files import check_folder, read_json, write_json
from scripts.study.page import check_page, software, write_page

from .processes import Kill, Run, require_posix, run
from .targets import TARGETS, Inputs, Target, train
from .wholeness import half_written, leftovers

DEFAULT = "train,predict,workers,sweep,search,deidentify,index"
MOST_KILLS = 4
"""Times that one run is killed, one after the other, before it may finish."""
SAVES, POLITE = 0.6, 0.2
"""Shares of the kills: those that wait for a write, and those with SIGTERM."""
LONGEST_DELAY_S = 0.08


@dataclass
class Chain:
    """A run that was killed several times, went on, finished, and was compared.

    Attributes:
        kills: how many kills hit it.
        saves: how many of them waited for a write.
        polite: how many of them were SIGTERM.
        violations: what was wrong.
    """

    kills: int = 0
    saves: int = 0
    polite: int = 0
    violations: list[str] = field(default_factory=list)


def torture(
    out: str,
    kills: int = 100,
    seed: int = 0,
    targets: str = DEFAULT,
    workers: int = 2,
    minutes: float = 40.0,
    patients: int = 6,
    doc: str = "",
) -> int:
    """Kill training, predict, sweep, search, deidentify and index at random moments, go on, and compare.

    Each target runs once untouched. Then runs of it are killed (SIGKILL to the process group, one in five SIGTERM), at
    a uniformly random moment or just after a new file appears, which is within a save. After each kill no finished name
    may hold half a file. The run goes on with its own means up to four kills, finishes, and must equal the untouched
    one: checkpoints bit by bit, logits within 1e-5, calls and rows exactly, tables and copies byte by byte. Nothing
    hidden may be left over. The target `workers` kills one worker process of `predict --workers 2`, which must finish.

    The same command goes on where it stopped: targets of OUT/torture.json that had all of their kills and no violation
    are kept.

    Args:
        out: folder of inputs, runs and torture.json; the folders of runs with a violation stay.
        kills: kills in all, shared by the targets.
        seed: seed of the moments.
        targets: what to kill, separated by commas; cross-validate may be added.
        workers: runs at the same time.
        minutes: time limit; no new run starts after it.
        patients: size of the phantom cohort.
        doc: Markdown page whose part between the marks of this campaign is written anew, docs/reliability.md.

    Returns:
        0 if all kills were done without a violation, else 1.
    """
    require_posix()
    names = [name.strip() for name in targets.split(",") if name.strip()]
    unknown = [name for name in names if name not in TARGETS]
    if unknown or not names:
        raise InputError(f"--targets knows {', '.join(TARGETS)}; got {targets!r}")
    check_seed(seed)
    for option, value in (("--kills", kills), ("--workers", workers), ("--patients", patients)):
        check_whole(option, value, 1)
    if doc:
        check_page(Path(doc), "torture")
    folder = check_folder(out).resolve()
    started = time.monotonic()
    inputs = make_inputs(folder, patients, weights=bool({"predict", "workers"} & {*names}))
    facts = {"seed": seed, "patients": patients}
    kept, seconds_before = earlier(folder / "torture.json", facts)
    rows: dict[str, Chain] = {}
    for number, name in enumerate(names):
        share = kills // len(names) + (number < kills % len(names))
        until = started + 60 * minutes
        if name in kept and kept[name].kills >= share and not kept[name].violations:
            say(f"{name}: {kept[name].kills} kills, no violation, kept from an earlier run")
            rows[name] = kept[name]
        else:
            rows[name] = torture_one(name, folder / name, inputs, share, seed, workers, until)
        seconds = seconds_before + time.monotonic() - started
        violations = sum(len(row.violations) for row in rows.values())
        done = sum(row.kills for row in rows.values())
        counts = {"kills": done, "violations": violations, "seconds": round(seconds), "software": software()}
        write_json(folder / "torture.json", {**facts, **counts, "targets": {key: vars(rows[key]) for key in rows}})
    lines = [f"{'target':16} {'kills':>6} {'in saves':>9} {'SIGTERM':>8} {'violations':>11}"]
    lines += [
        f"{name:16} {row.kills:6} {row.saves:9} {row.polite:8} {len(row.violations):11}" for name, row in rows.items()
    ]
    say("\n".join(lines))
    say(f"{done} of {kills} kills, {violations} violations, {seconds / 60:.1f} min")
    for text, count in Counter(text for row in rows.values() for text in row.violations).most_common(20):
        say(f"  {count} x {text}")
    if doc:
        command = f"python -m bundle torture OUT --kills {kills} --seed {seed} --targets {','.join(names)}"
        table: list[list[object]] = [["target", "kills", "in saves", "SIGTERM", "violations"]]
        table += [[name, row.kills, row.saves, row.polite, len(row.violations)] for name, row in rows.items()]
        table.append(
            ["all", done, *(sum(getattr(r, n) for r in rows.values()) for n in ("saves", "polite")), violations]
        )
        write_page(Path(doc), "torture", command, table, seconds)
    return 0 if not violations and done >= kills else 1


def earlier(path: Path, facts: Mapping[str, int]) -> tuple[dict[str, Chain], float]:
    """Return what an earlier run of the same campaign found, by target, and how long it took."""
    found = read_json(path) if path.is_file() else {}
    if any(found.get(name) != value for name, value in facts.items()):
        return {}, 0.0
    return {name: Chain(**row) for name, row in found["targets"].items()}, float(found["seconds"])


def make_inputs(folder: Path, patients: int, weights: bool) -> Inputs:
    """Make the cohort, its folds, a key, and where it is wanted a checkpoint."""
    import secrets

    from scripts.deidentification.linkage import KEY_BYTES, Linkage
    from scripts.phantom.cohort import make_cohort

    made = folder / "inputs"
    cohort = made / "cohort"
    make_cohort(cohort, patients=patients, slices=4, matrix=64, distractors=False, reuse=True)
    whole = read_json(cohort / "datalist.json")
    for number, (first, second) in enumerate((("validation", "testing"), ("testing", "validation")), 1):
        write_json(cohort / f"fold_{number}.json", {**whole, "validation": whole[first], "testing": whole[second]})
    linkage = made / "linkage.csv"
    if not linkage.exists():
        Linkage(secrets.token_hex(KEY_BYTES)).write(linkage)
    inputs = Inputs(cohort, made / "model.pt", linkage)
    if weights and not inputs.weights.is_file():
        say("training the weights of the targets")
        training = made / "training"
        if run(train(inputs, training), training).status:
            raise InputError(f"the training of the weights failed; see {made / 'log.txt'}")
        (training / "models" / "model.pt").replace(inputs.weights)
        shutil.rmtree(training)
    return inputs


def torture_one(name: str, folder: Path, inputs: Inputs, kills: int, seed: int, workers: int, until: float) -> Chain:
    """Run one target untouched, then kill runs of it until ``kills`` have hit, or the time is up."""
    target, total = TARGETS[name], Chain()
    shutil.rmtree(folder, ignore_errors=True)
    whole = folder / "untouched" / "out"
    begin(target, inputs, whole)
    # a kill that is never due, so that new files are counted
    untouched = run(target.start(inputs, whole), whole, Kill(event=10**9))
    total.violations += [f"{name}: {text}" for text in [*wrong_end(untouched), *leftovers(whole)]]
    if untouched.status:
        say(f"{name}: the untouched run failed; see {whole.with_name('log.txt')}")
        return total
    say(f"{name}: untouched in {untouched.seconds:.1f} s, {untouched.events} new files")
    number = 0
    with ThreadPoolExecutor(workers) as pool:
        while total.kills < kills and number < 4 * kills and time.monotonic() < until:
            wanted = kills - total.kills
            batch: dict[Future[Chain], Path] = {}
            while wanted > 0 and len(batch) < workers:
                rng = random.Random(f"{seed}/{name}/{number}")
                most = 1 if target.workers else min(rng.randint(1, MOST_KILLS), wanted)
                place = folder / f"run_{number:03d}"
                batch[pool.submit(chain, target, inputs, place, whole, most, rng, untouched)] = place
                number, wanted = number + 1, wanted - most
            for ended in as_completed(batch):
                one, place = ended.result(), batch[ended]
                for attribute in ("kills", "saves", "polite"):
                    setattr(total, attribute, getattr(total, attribute) + getattr(one, attribute))
                total.violations += [f"{name}: {text}" for text in one.violations]
                for text in one.violations:
                    say(f"{name} {place.name}: {text}")
                if not one.violations:
                    shutil.rmtree(place)
            say(f"{name}: {total.kills} of {kills} kills, {len(total.violations)} violations")
    return total


def begin(target: Target, inputs: Inputs, folder: Path) -> None:
    """Make the folder of a run."""
    folder.mkdir(parents=True)
    target.prepare(inputs, folder)


def draw(rng: random.Random, target: Target, untouched: Run) -> Kill:
    """Draw the moment of a kill."""
    polite = not target.workers and rng.random() < POLITE
    if target.workers:
        # once something is written, the workers are at work
        return Kill(event=rng.randint(1, max(untouched.events - 4, 1)), worker=True)
    if rng.random() < SAVES:
        event = rng.randint(1, max(untouched.events, 1))
        return Kill(event=event, delay_s=rng.random() * LONGEST_DELAY_S, polite=polite)
    return Kill(after_s=rng.random() * untouched.seconds, polite=polite)


def chain(
    target: Target, inputs: Inputs, place: Path, whole: Path, kills: int, rng: random.Random, untouched: Run
) -> Chain:
    """Kill a run up to ``kills`` times, let it finish, and compare it with the untouched one."""
    found, folder = Chain(), place / "out"
    begin(target, inputs, folder)
    for _ in range(kills):
        kill, before = draw(rng, target, untouched), leftovers(folder)
        ended = run(target.start(inputs, folder), folder, kill)
        found.violations += half_written(folder)
        if ended.stuck:
            found.violations.append("did not end after SIGTERM" if kill.polite else "did not end")
        if not ended.killed or target.workers:
            found.kills += ended.killed
            found.violations += wrong_end(ended)
            break
        found.kills, found.polite = found.kills + 1, found.polite + kill.polite
        found.saves += kill.after_s is None
        if kill.polite:
            # what an earlier SIGKILL left goes with the next write of the same file
            found.violations += [f"after SIGTERM {text}" for text in leftovers(folder) if text not in before]
        if target.done(folder):
            break
    else:
        found.violations += wrong_end(run(target.start(inputs, folder), folder))
    try:
        return Chain(found.kills, found.saves, found.polite, found.violations + compared(target, folder, whole))
    except Exception as error:  # a file that cannot even be compared
        found.violations.append(f"cannot be compared: {type(error).__name__}: {error}")
        return found


def compared(target: Target, folder: Path, whole: Path) -> list[str]:
    """Return what differs between a finished run and the untouched one, and what it left over."""
    return [*target.differences(folder, whole), *leftovers(folder), *half_written(folder)]


def wrong_end(ended: Run) -> list[str]:
    """Return what is wrong with the end of a run that was not to be killed."""
    return [f"exit status {ended.status}"] if ended.status else []
