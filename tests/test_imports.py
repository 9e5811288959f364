"""Who may import whom, and when."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from conftest import ROOT

from scripts.__main__ import COMMANDS

MODULES = sorted([*ROOT.glob("scripts/**/*.py"), *ROOT.glob("bundle/**/*.py")], key=str)
HEAVY = ("torch", "monai", "ignite", "itk", "matplotlib", "pandas", "statsmodels")
LIGHT = ("agree", "check-split", "consensus", "deidentify", "describe", "index", "recalibrate", "report", "split")


def imports(tree: ast.AST) -> list[tuple[ast.stmt, str]]:
    found: list[tuple[ast.stmt, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node, "." * node.level + (node.module or "")))
    return found


def for_types(tree: ast.Module) -> set[ast.stmt]:
    """What stands below `if TYPE_CHECKING`, which never runs."""
    return {one for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            for one in node.body}  # fmt: skip


def imported(module: str) -> Iterator[str]:
    """The modules of scripts that one of them imports when it is imported itself."""
    path = ROOT / module.replace(".", "/")
    package = path.is_dir()
    tree = ast.parse((path / "__init__.py" if package else path.with_suffix(".py")).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            home = module.split(".")[: len(module.split(".")) + package - node.level]
            base = ".".join([*home, *filter(None, [node.module])])
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def reachable() -> set[str]:
    """The modules that a config can reach, from the names in all configs."""
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "configs").rglob("*.json"))
    names = {json.loads(f'"{name}"') for name in re.findall(r"\bscripts(?:\.\w+)+", text)}
    known = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in MODULES}
    todo = {name.rsplit(".", cut)[0] for name in names for cut in range(name.count("."))} & known
    found: set[str] = set()
    while todo:
        module = todo.pop()
        found.add(module)
        todo |= set(imported(module)) & known - found
    return found


REACHABLE = reachable()


def test_configs_reach_what_they_name_and_not_the_commands():
    assert {"scripts.networks", "scripts.cohort.divisions", "scripts.phantom.cohort"} <= REACHABLE
    assert not {"scripts.report.compose", "scripts.cohort.split", "scripts.deidentification.command"} & REACHABLE


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_keep_the_direction_and_what_configs_reach_imports_at_module_top(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for node, name in imports(tree):
        where = f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"
        if path.is_relative_to(ROOT / "scripts"):
            late = node not in tree.body and node not in for_types(tree)
            assert not (late and module in REACHABLE), f"{where} below module top; MONAI Label would fail on it"
            assert name.split(".")[0] not in ("bundle", "scripts"), f"{where}; use a relative import, never bundle"
            assert name != "fire" or path.name == "__main__.py", f"{where}; only __main__.py knows fire"
            if (ROOT / "scripts" / "evaluation") in path.parents:
                assert name.split(".")[0] not in ("torch", "monai", "ignite"), f"{where}; statistics import no torch"


@pytest.mark.parametrize("command", LIGHT)
def test_help_needs_none_of_the_heavy_packages(command):
    module, _ = COMMANDS[command]
    program = f"import sys, scripts.{module}; print([name for name in {HEAVY} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_an_operating_point_is_read_without_the_packages_of_the_report():
    program = (
        "import sys, scripts.report.operating_points; print({'pandas', 'matplotlib', 'statsmodels'} & {*sys.modules})"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"
