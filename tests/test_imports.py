"""The rule of the house: where a module lives, and who may import whom."""

from __future__ import annotations

import ast
import functools
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPTS = ROOT / "scripts"
MODULES = sorted([*ROOT.glob("scripts/**/*.py"), *ROOT.glob("bundle/**/*.py")], key=str)
FLOOR = {"__init__", "__main__", "console", "errors", "files", "tables", "records"}
NAMED = {
    name
    for path in ROOT.glob("configs/**/*.json")
    for name in re.findall(r"\bscripts((?:\.[a-z_]\w*)+)", path.read_text(encoding="utf-8"))
}


def file_of(name: str) -> Path | None:
    """The file of a dotted name below scripts/, which may go on into the module: ``.networks.CordCompressionNet``."""
    path = SCRIPTS.joinpath(*name.split(".")[1:])
    for one in (path, path.parent):
        for candidate in (one.with_suffix(".py"), one / "__init__.py"):
            if candidate.is_file() and candidate != SCRIPTS / "__init__.py":
                return candidate
    return None


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """A module, parsed as Python 3.10, the oldest that is promised."""
    return ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


@functools.cache
def imports(path: Path) -> tuple[tuple[ast.stmt, str], ...]:
    """Every import of a module, as the absolute or relative name of what is imported."""
    found: list[tuple[ast.stmt, str]] = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node, "." * node.level + ".".join(filter(None, [node.module, a.name]))) for a in node.names]
    return tuple(found)


@functools.cache
def uses(path: Path) -> frozenset[Path]:
    """The modules of scripts/ that a module of scripts/ imports when it runs, package inits included."""
    branches = [node for node in tree_of(path).body if isinstance(node, ast.If)]
    for_types = {one.lineno for node in branches if "TYPE_CHECKING" in ast.dump(node.test) for one in node.body}
    used: set[Path] = set()
    for node, name in imports(path):
        level = len(name) - len(name.lstrip("."))
        if level == 0 or node.lineno in for_types:
            continue
        package = path.parent if level == 1 else path.parents[level - 1]
        below = [*package.relative_to(SCRIPTS).parts, *name.lstrip(".").split(".")]
        for length in range(1, len(below) + 1):
            module = SCRIPTS.joinpath(*below[:length])
            used |= {one for one in (module.with_suffix(".py"), module / "__init__.py") if one.is_file()}
    return frozenset(used - {path})


def reachable(starts: set[Path]) -> set[Path]:
    found, left = set(), list(starts)
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += [*uses(path), *([path.parent / "__init__.py"] if path.parent != SCRIPTS else [])]
    return found


REACHED_BY_CONFIGS = reachable({path for path in map(file_of, NAMED) if path is not None})


def test_every_name_in_a_config_is_a_module():
    assert [name for name in sorted(NAMED) if file_of(name) is None] == []


def test_a_module_directly_in_scripts_is_named_by_a_config_or_is_the_floor():
    named = {name.split(".")[1] for name in NAMED}
    assert sorted({path.stem for path in SCRIPTS.glob("*.py")} - FLOOR - named) == []


def test_package_inits_hold_a_docstring_and_nothing_else_unless_a_config_names_the_package():
    for path in SCRIPTS.glob("**/__init__.py"):
        if any(file_of(name) == path for name in NAMED):
            continue
        tree = tree_of(path)
        assert ast.get_docstring(tree), path
        assert len(tree.body) == 1, f"{path.relative_to(ROOT)} holds more than a docstring"


@pytest.mark.parametrize("path", sorted(REACHED_BY_CONFIGS, key=str), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_config_can_reach_imports_at_module_top_only(path):
    """MONAI Label takes the bundle's root off sys.path after parsing: a late import works once and then fails."""
    top = tree_of(path).body
    lines = {line for node in top for line in [node.lineno] if isinstance(node, ast.Import | ast.ImportFrom)}
    # TYPE_CHECKING, and modules that Windows lacks
    lines |= {one.lineno for node in top if isinstance(node, ast.If | ast.Try) for one in node.body}
    assert [(node.lineno, name) for node, name in imports(path) if node.lineno not in lines] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_keep_the_direction(path):
    for node, name in imports(path):
        where = f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"
        if path.is_relative_to(SCRIPTS):
            assert name.split(".")[0] not in ("bundle", "scripts"), f"{where}; use a relative import, never bundle"
            assert name != "fire" or path.name == "__main__.py", f"{where}; only __main__.py knows fire"
        if (SCRIPTS / "evaluation") in path.parents:
            assert name.split(".")[0] not in ("torch", "monai", "ignite"), f"{where}; statistics import no torch"


@pytest.mark.parametrize("path", sorted((SCRIPTS / "evaluation").glob("*.py")), ids=lambda path: path.name)
def test_statistics_open_no_file(path):
    opens = {"open", "read_csv", "read_text", "read_bytes", "write_text", "write_bytes", "read_json", "write_json"}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            assert called not in opens, f"{path.relative_to(ROOT)}:{node.lineno} calls {called}"


def test_packages_do_not_import_one_another_in_a_circle():
    """A module directly in scripts/ is a package of its own here; the floor is left out."""

    def room(path: Path) -> str:
        below = path.relative_to(SCRIPTS)
        return below.parts[0] if len(below.parts) > 1 else below.stem

    graph: dict[str, set[str]] = {}
    for path in SCRIPTS.glob("**/*.py"):
        targets = {room(used) for used in uses(path)} - FLOOR - {room(path)}
        if room(path) not in FLOOR:
            graph.setdefault(room(path), set()).update(targets)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_folders_of_tests_mirror_the_packages():
    packages = {path.parent.name for path in SCRIPTS.glob("*/__init__.py")} | {"bundle"}
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").glob("**/test_*.py")}
    assert sorted(folders - packages - {"."}) == []
    names = [path.name for path in (ROOT / "tests").glob("**/test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_needs_what_windows_lacks(path):
    """What it needs is imported outside ``try``: a guarded import says itself what it does without the module."""
    guarded = {id(one) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Try) for one in ast.walk(node)}
    names = {name.split(".")[0] for node, name in imports(path) if id(node) not in guarded}
    assert names & {"resource", "fcntl", "pwd", "grp", "termios"} == set()


def test_an_operating_point_is_read_without_the_packages_of_the_report():
    heavy = {"pandas", "matplotlib", "statsmodels"}
    program = f"import sys, scripts.report.operating_points_file; print({heavy} & {{*sys.modules}})"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"
