"""The house: tools are clean, the README's commands are what the gate runs, versions agree."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from scripts.__main__ import COMMANDS

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib; 3.11 runs these tests")


@pytest.mark.parametrize("command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join)
def test_the_code_passes_its_tools(command):
    ended = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.json")), ids=lambda path: path.name)
def test_configs_are_json_with_an_indent_of_four(path):
    text = path.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=4, ensure_ascii=False) + "\n"


def test_the_readmes_first_two_bash_blocks_are_one_command_line_each():
    blocks = re.findall(r"^```bash\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert [len(block.strip().splitlines()) for block in blocks[:2]] == [1, 1]
    assert "python -m scripts quickstart" in blocks[0]
    assert "python -m pytest" in blocks[1]


def test_the_version_is_the_same_everywhere_and_in_the_changelog():
    metadata = json.loads((ROOT / "configs" / "metadata.json").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["version"] == project["version"]
    assert metadata["version"] == next(iter(metadata["changelog"]))
    headings = re.findall(r"^## (\S+)$", (ROOT / "docs" / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert metadata["version"] == headings[0]


def test_the_metadata_pins_every_dependency():
    metadata = json.loads((ROOT / "configs" / "metadata.json").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[<>=]", requirement)[0] for requirement in project["dependencies"]}
    assert set(metadata["required_packages_version"]) == names - {"monai", "torch", "numpy"}


def test_every_file_the_readme_links_to_exists():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", readme)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_names_every_command():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"`{name}`" not in readme and f"scripts {name}" not in readme] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    command = [sys.executable, "-m", "scripts", name, "--help"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"python -m scripts {name} - " in ended.stdout
    assert "FLAGS" in ended.stdout
