"""What is sent to the far end is complete, and old enough for its Python."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyrsync.ends.bundle import BOOTSTRAP, MODULES, MORE_MODULES, program

ALL = MODULES + MORE_MODULES

OLDEST = (3, 6)
#: Came with Python 3.7 or later, or may be left out by a distribution.
TOO_NEW = {"__future__", "contextvars", "dataclasses", "graphlib", "tomllib", "zoneinfo"}
#: Names that Python 3.6's modules lack.
TOO_NEW_NAMES = {"Protocol", "Final", "Literal", "TypedDict", "Self", "TypeAlias", "cache", "cached_property"}


def parsed(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    assert spec
    assert spec.origin
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"), feature_version=OLDEST)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield every module, and `module.name` for what is taken out of one; what is only for types is not run."""
    types = {node for block in ast.walk(tree) if is_for_types(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if node in types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("module", ALL)
def test_imports_come_with_python_or_earlier_in_the_bundle(module: str) -> None:
    earlier = ALL[: ALL.index(module)]
    tree = parsed(module)
    later = {name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for name in imported(node)}
    for name in imported(tree):
        if name.startswith("cyrsync"):
            loaded = ALL if name in later else earlier
            assert name in loaded or name.rpartition(".")[0] in loaded, name
        else:
            top = name.partition(".")[0]
            assert top in sys.stdlib_module_names - TOO_NEW
            assert name.rpartition(".")[2] not in TOO_NEW_NAMES


@pytest.mark.parametrize("module", ALL)
def test_no_annotation_is_evaluated_that_an_old_python_lacks(module: str) -> None:
    """`list[int]` and `int | None` must stand in quotes."""
    annotations: list[ast.expr | None] = []
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.FunctionDef):
            arguments = node.args
            annotations += [a.annotation for a in (*arguments.args, *arguments.kwonlyargs, *arguments.posonlyargs)]
            annotations += [a.annotation for a in (arguments.vararg, arguments.kwarg) if a]
            annotations.append(node.returns)
        elif isinstance(node, ast.AnnAssign):
            annotations.append(node.annotation)
    for annotation in annotations:
        assert annotation is None or isinstance(annotation, ast.Constant | ast.Name | ast.Attribute), ast.dump(
            annotation
        )


def test_nothing_is_sent_that_is_not_needed() -> None:
    needed, pending = set(), ["cyrsync.far.agent"]
    while pending:
        module = pending.pop()
        needed.add(module)
        names = {name for found in imported(parsed(module)) for name in (found, found.rpartition(".")[0])}
        pending += names & set(ALL) - needed
    assert needed == set(ALL)


def test_program() -> None:
    length, newline, loader = program().partition(b"\n")
    assert newline
    assert int(length) == len(loader)
    ast.parse(loader, feature_version=OLDEST)
    assert len(loader) < 100_000


def test_bootstrap_passes_through_any_shell() -> None:
    ast.parse(BOOTSTRAP, feature_version=OLDEST)
    assert not set("'\"!$`\\\n") & set(BOOTSTRAP)


@pytest.mark.parametrize("module", ALL)
def test_nothing_global_is_annotated(module: str) -> None:
    """Before Python 3.8 that is a SyntaxError, which no parser tells of."""
    tree = parsed(module)
    told = {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    annotated = {
        node.target.id for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert not told & annotated
