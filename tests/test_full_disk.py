"""A disk that is really full, an unwritable one and a closed pipe: one line, status 2, and nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from tiny_models import checkpoint, write_t2

PROGRAM = """
import contextlib, io, json, resource, shutil, signal, sys
from pathlib import Path
import torch
from scripts import checkpoints
from scripts.__main__ import main
from scripts.errors import InputError
from scripts.files import write_csv

disk, weights, series = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
(disk / "model.pt").write_text("old")
found = {}

def tried(name, action):
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = action()
        except InputError as error:
            status, _ = 2, err.write(f"error: {error}\\n")
    left = sorted(path.relative_to(disk).as_posix() for path in disk.rglob("*") if path.is_file())
    found[name] = [status, err.getvalue(), left, (disk / "model.pt").read_text()]
    for path in disk.iterdir():
        if path.name != "model.pt":
            shutil.rmtree(path) if path.is_dir() else path.unlink()

network = torch.nn.Linear(1000, 1000)
tried("checkpoint", lambda: checkpoints.save(disk / "model.pt", network, {"head": [1]}))
tried("table", lambda: write_csv(disk / "table.csv", ["a"], ({"a": "x" * 1000} for _ in range(5000))))
tried("predict", lambda: main(["predict", series, "--out", str(disk / "out"), "--weights", weights]))
tried("phantom", lambda: main(["phantom", "--out", str(disk / "phantom"), "--patients", "1"]))
print(json.dumps(found))
"""


def run_program(command: list[str], tmp_path: Path) -> dict[str, list]:
    write_t2(tmp_path / "in", n=20)
    weights = checkpoint(tmp_path / "weights.pt")
    program = [sys.executable, "-c", PROGRAM, str(tmp_path / "disk"), str(weights), str(tmp_path / "in")]
    ended = subprocess.run([*command, *program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_a_full_disk_is_one_line_and_what_was_there_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    mount = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=40k tmpfs {tmp_path}/disk && exec "$@"', "sh"]
    tried = subprocess.run([*mount, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no small disk can be mounted here: {tried.stderr.strip()}")
    for name, (status, line, left, old) in run_program(mount, tmp_path).items():
        assert old == "old", name
        assert "Traceback" not in line
        if name == "predict":  # the series fails, and then the tables may have no room
            assert status == 2
        else:
            assert status == 2, (name, line)
            (line,) = [one for one in line.splitlines() if one and "patient/s" not in one]
            assert line.startswith("error: ")
            assert "No space left on device" in line
            assert "free some space" in line
            assert str(tmp_path / "disk") in line
        assert not [path for path in left if path.endswith((".pt", ".csv", ".nii.gz")) and path != "model.pt"
                    and not path.startswith("out/")], (name, left)  # fmt: skip


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["nonsense"]])
def test_a_reader_that_has_seen_enough_ends_the_program_quietly(arguments):
    program = f"{sys.executable} -m scripts {' '.join(arguments)} | head -c 1; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr


@pytest.mark.parametrize(("package", "module"), [("bundle", "fire"), ("scripts", "tqdm"), ("bundle", "yaml")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(package, module):
    program = (
        f"import runpy, sys; sys.modules[{module!r}] = None; sys.argv = [{package!r}, 'assemble', '--out', '/no']\n"
        f"runpy.run_module({package!r}, run_name='__main__')"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "pip install -e" in ended.stderr
    assert module in ended.stderr
    assert "Traceback" not in ended.stderr
