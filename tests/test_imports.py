"""Who may import whom."""

from __future__ import annotations

import ast

import pytest
from conftest import ROOT

MODULES = sorted([*ROOT.glob("scripts/**/*.py"), *ROOT.glob("bundle/**/*.py")], key=str)


def imports(tree: ast.AST) -> list[tuple[ast.stmt, str]]:
    found: list[tuple[ast.stmt, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node, "." * node.level + (node.module or "")))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_stay_at_module_top_and_keep_the_direction(path):
    tree = ast.parse(path.read_text())
    found = imports(tree)
    for node, name in found:
        where = f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"
        if path.is_relative_to(ROOT / "scripts"):
            assert node in tree.body, f"{where} below module top; MONAI Label would fail on it"
            assert name.split(".")[0] not in ("bundle", "scripts"), f"{where}; use a relative import, never bundle"
            assert name != "fire" or path.name == "__main__.py", f"{where}; only __main__.py knows fire"
            if (ROOT / "scripts" / "evaluation") in path.parents or path.name == "evaluation.py":
                assert name.split(".")[0] not in ("torch", "monai", "ignite"), f"{where}; statistics import no torch"
