"""Processes that share work: any may die, none is left, and no stranger can join or be joined."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from conftest import ROOT

from scripts.cluster import addresses
from scripts.cluster.workers import Workers
from scripts.errors import InputError

PROGRAM = """
import json, os, signal, sys
from functools import partial
from pathlib import Path
from scripts.cluster.workers import Workers
from scripts.console import say

def work(folder, name, items):
    for item in items:
        with (folder / str(item)).open("a") as stream:
            stream.write("x")
        deaths = {3: 1, 7: 99}.get(item, 0)
        if (folder / str(item)).stat().st_size <= deaths:
            os.kill(os.getpid(), signal.SIGKILL)
    say(f"said {items}")
    return [(item, name) for item in items]

def fail(items):
    raise ValueError("item 1 broke")

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    items = list(range(12))
    with Workers(2) as workers:
        groups = workers.groups(items)
        work_once, work_again = partial(work, folder, "once"), partial(work, folder, "again")
        done = [(list(group), result) for group, result in workers.spread(work_once, groups, work_again)]
        try:
            list(workers.spread(fail, [[1]]))
        except ValueError as error:
            message = str(error)
    print(json.dumps({"groups": groups, "done": done, "message": message}))
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> dict[str, Any]:
    """What two processes make of twelve items: 3 kills one process, 7 kills each."""
    if os.name == "nt":
        pytest.skip("kills with signals")
    folder = tmp_path_factory.mktemp("shared")
    (folder / "program.py").write_text(PROGRAM)
    (folder / "counts").mkdir()
    ended = subprocess.run(
        [sys.executable, str(folder / "program.py"), str(folder / "counts")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    *said, last = ended.stdout.splitlines()
    return {**json.loads(last), "said": said, "stderr": ended.stderr}


def test_only_an_item_that_ends_every_process_has_no_result_and_none_has_two(shared):
    assert [group for group, result in shared["done"] if result is None] == [[7]]
    found = [item for _, result in shared["done"] if result is not None for item, _ in result]
    assert sorted(found) == [item for item in range(12) if item != 7]


def test_what_a_dead_process_had_in_hand_is_done_in_the_other_way_and_the_rest_in_the_first(shared):
    ways = {item: way for _, result in shared["done"] if result is not None for item, way in result}
    touched = {item for group in shared["groups"] if {3, 7} & {*group} for item in group}
    assert {item for item, way in ways.items() if way == "again"} == touched - {7}


def test_what_workers_print_comes_out_here_and_nothing_of_dask_does(shared):
    lines = [line for line in shared["said"] if line.startswith("said [")]
    assert len(lines) >= sum(result is not None for _, result in shared["done"])  # a result may die with its worker
    others = [line for line in shared["said"] if not line.startswith("said [")]
    assert others
    assert all(line.startswith("a worker process was killed") for line in others)
    assert shared["stderr"] == ""


def test_an_error_of_the_work_comes_out_as_it_is(shared):
    assert shared["message"] == "item 1 broke"


def test_one_process_does_everything_itself_in_one_group():
    with Workers(1) as alone:
        assert alone.groups([1, 2, 3]) == [[1, 2, 3]]
        assert alone.groups([]) == []
        assert list(alone.spread(sum, [[1, 2], [3]])) == [([1, 2], 3), ([3], 3)]
        assert alone.client is None


@pytest.mark.parametrize(("n", "largest", "groups"), [(5, 1, 5), (16, 2, 8), (1000, 16, 63)])
def test_groups_are_small_and_enough_for_all_workers(n, largest, groups):
    found = Workers(2).groups(range(n))
    assert [one for group in found for one in group] == list(range(n))
    assert (max(map(len, found)), len(found)) == (largest, groups)


class Certificates:
    tls_ca_file = tls_client_cert = "a.pem"


class NoCertificates:
    tls_ca_file = tls_client_cert = None


@pytest.mark.parametrize(
    ("address", "security", "message"),
    [
        ("tcp://10.0.0.1:8786", Certificates, "is not encrypted"),
        ("tcp://example.org:8786", Certificates, "is not encrypted"),
        ("tls://10.0.0.1:8786", NoCertificates, "needs certificates"),
        ("tls://10.0.0.1", Certificates, "no address of a scheduler"),
        ("http://127.0.0.1:8786", Certificates, "no address of a scheduler"),
        ("tls://a:99999", Certificates, "no address of a scheduler"),
    ],
)
def test_a_scheduler_that_anybody_could_be_is_refused(address, security, message):
    with pytest.raises(InputError, match=message):
        addresses.check_safe(address, security)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://localhost:1", "tcp://[::1]:1", "tls://host:8786"])
def test_an_encrypted_scheduler_and_one_of_this_machine_are_accepted(address):
    addresses.check_safe(address, Certificates)


def test_a_scheduler_may_be_named_by_its_file(tmp_path):
    (tmp_path / "a.json").write_text('{"address": "tls://host:1"}')
    assert addresses.address_of(str(tmp_path / "a.json")) == "tls://host:1"
    (tmp_path / "b.json").write_text("[]")
    for name, message in (("b.json", "names no address"), ("c.json", "no address, and no file")):
        with pytest.raises(InputError, match=message):
            addresses.address_of(str(tmp_path / name))


def started(arguments: list[str], **options: Any) -> subprocess.Popen[str]:
    """Start a process that Ctrl-C ends; children of a shell's background jobs would ignore it."""
    reset = {} if os.name == "nt" else {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], text=True, start_new_session=True, **{"cwd": ROOT, **reset, **options}
    )


def nobody_left(group: int) -> bool:
    """Return whether a process group is empty, or soon will be: multiprocessing's tracker ends after all others."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="interrupts a process group")
def test_ctrl_c_ends_all_processes_at_once_and_leaves_nothing(tmp_path):
    words = f"phantom --out {tmp_path}/cohort --patients 50 --slices 4 --matrix 64 --workers 2"
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = started(["scripts", *words.split()], **pipes)
    until = time.monotonic() + 120
    while not list(tmp_path.glob(".cohort-*/dicom/*/*/*")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    asked = time.monotonic()
    out, err = process.communicate(timeout=60)  # their pipes end when the last process has gone
    assert time.monotonic() - asked < 30
    assert process.returncode == 130
    assert err.splitlines()[-1] == "stopped"
    assert "Traceback" not in err
    assert "distributed" not in out + err
    assert list(tmp_path.iterdir()) == []
    assert nobody_left(process.pid)


def test_a_scheduler_that_does_not_answer_is_named_in_seconds(tmp_path):
    command = [sys.executable, "-m", "scripts", "phantom", "--out", str(tmp_path / "out")]
    asked = time.monotonic()
    ended = subprocess.run(
        [*command, "--scheduler", "tcp://127.0.0.1:9"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert time.monotonic() - asked < 60
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: no connection to the scheduler at tcp://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []
