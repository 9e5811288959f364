"""The house: tools are clean, the README's commands are what the gate runs, versions agree."""

from __future__ import annotations

import ast
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


def prose() -> Iterator[tuple[str, str]]:
    """Yield every docstring, the README and every guide but the changelog (it has former names), with its place."""
    for path in sorted([*(ROOT / "scripts").rglob("*.py"), *(ROOT / "bundle").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value.value
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        if path.name != "CHANGELOG.md":
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def exists(name: str) -> bool:
    """Return whether a dotted name is a module, or an attribute of one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_every_name_of_the_code_in_docstrings_and_guides_exists():
    named = [(where, name) for where, text in prose() for name in re.findall(r"`(scripts(?:\.\w+)+)", text)]
    assert len(named) > 20
    assert [(where, name) for where, name in named if not exists(name)] == []


def test_every_file_that_the_readme_points_to_exists():
    """The table that leads from a question to a package, and the modules below it."""
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Find your way")[2].partition("```")[0]
    rows = re.findall(r"^\|.*\| `(\w+)/` \|(.*)\|$", table, re.MULTILINE)
    packages = {path.parent.name for path in (ROOT / "scripts").glob("*/__init__.py")}
    assert {package for package, _ in rows} == packages - {"handlers"}
    files = [f"{package}/{name}" for package, cell in rows for name in re.findall(r"`([\w/]+\.py)`", cell)]
    files += re.findall(r"`([\w/]+\.py)`", table.rpartition("|\n")[2])
    assert [name for name in files if not (ROOT / "scripts" / name).is_file()] == []


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


def package_index() -> list[str]:
    """Options that make uv ask where pip is configured to ask; uv itself reads none of pip's settings."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    settings = dict(re.findall(r"^\S*\.([\w-]+)='(.*)'$", listed.stdout, re.M))
    options: list[str] = []
    for name in ("index-url", "extra-index-url", "find-links"):
        for place in settings.get(name, "").split():
            if not place.startswith(("/", "file:")) or Path(place.removeprefix("file://")).is_dir():
                options += [f"--{'default-index' if name == 'index-url' else name}", place]
    return [*options, "--index-strategy", "unsafe-best-match"]


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_dependencies_of_every_promised_python_resolve(python, tmp_path):
    pytest.importorskip("uv", reason="uv comes with the extra dev")
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--all-extras", "--quiet"]
    command += ["--python-version", python, "--output-file", str(tmp_path / "resolved.txt"), *package_index()]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode and re.search("error sending request|failed to fetch|dns error|network", ended.stderr, re.I):
        pytest.skip(f"no package index can be reached: {ended.stderr.strip().splitlines()[-1]}")
    assert ended.returncode == 0, ended.stderr
    resolved = (tmp_path / "resolved.txt").read_text(encoding="utf-8")
    assert {"torch", "monai", "statsmodels", "highdicom"} <= set(re.findall(r"^([\w.-]+)==", resolved, re.M))


def test_tables_are_read_by_one_helper_in_tests():
    readers = [path for path in (ROOT / "tests").rglob("*.py") if "csv.Dict" + "Reader" in path.read_text()]
    assert [path.name for path in readers] == ["csv_rows.py"]
