"""A cluster that somebody else has started: scheduler and worker are their own processes, with TLS between them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from file_hashes import hashes

from scripts.phantom.cohort import make_cohort

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="starts programs of dask with signals")]


def configuration(folder: Path) -> dict[str, str]:
    """Write certificates, and return the environment by which dask finds them; nothing of the bundle is in it."""
    security = pytest.importorskip("distributed.security").Security.temporary()
    folder.mkdir()
    (folder / "ca.pem").write_text(security.tls_ca_file)
    (folder / "key.pem").write_text(security.tls_client_key)
    names = {"CA_FILE": "ca.pem"}
    for role in ("CLIENT", "SCHEDULER", "WORKER"):
        names |= {f"{role}__CERT": "ca.pem", f"{role}__KEY": "key.pem"}
    tls = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(folder / file) for name, file in names.items()}
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **tls}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[tuple[str, dict[str, str]]]:
    """File of a scheduler with one worker, and the environment with its certificates."""
    folder = tmp_path_factory.mktemp("cluster")
    environment, file = configuration(folder / "certificates"), folder / "scheduler.json"
    programs = [
        ["scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"],
        ["worker", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1", "--protocol", "tls"],
    ]
    log = (folder / "log.txt").open("w")
    processes = []
    try:
        for name, *options in programs:
            command = [sys.executable, "-m", "dask", name, *options, "--scheduler-file", str(file)]
            own = {"cwd": folder, "env": environment, "stdout": log, "stderr": log}
            processes.append(subprocess.Popen(command, **own, start_new_session=True))
            until = time.monotonic() + 120
            while not file.is_file():
                assert time.monotonic() < until, (folder / "log.txt").read_text()
                time.sleep(0.1)
        yield str(file), environment
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def phantom(out: Path, scheduler: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Make a small cohort on a cluster."""
    words = f"phantom --out {out} --patients 3 --slices 2 --matrix 64 --distractors false --scheduler {scheduler}"
    command = [sys.executable, "-m", "scripts", *words.split()]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_a_worker_without_the_bundle_receives_it_and_does_the_same_as_one_process(cluster, tmp_path):
    scheduler, environment = cluster
    ended = phantom(tmp_path / "theirs", scheduler, environment)
    assert ended.returncode == 0, ended.stderr
    ours = make_cohort(tmp_path / "ours", patients=3, slices=2, matrix=64, distractors=False).parent
    assert hashes(tmp_path / "theirs") == hashes(ours)


def test_who_has_other_certificates_is_not_let_in(cluster, tmp_path):
    asked = time.monotonic()
    ended = phantom(tmp_path / "out", cluster[0], configuration(tmp_path / "others"))
    assert time.monotonic() - asked < 60
    assert ended.returncode == 2
    assert "error: no connection to the scheduler at tls://127.0.0.1:" in ended.stderr
    assert "certificate" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()
