"""What import-linter does not see: imports inside functions, files that grow too long, names that say nothing."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
APPS = [app for app in ("deerflow_site", "accounts", "runs", "feedback", "textchat") if (ROOT / app).is_dir()]
FILES = [path for app in APPS for path in (ROOT / app).rglob("*.py") if "migrations" not in path.parts]
#: Longer files are to be split.
MAX_LINES = 400
EMPTY_NAMES = {"utils", "helpers", "common", "misc"}

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def inner_imports(tree: ast.AST) -> Iterator[int]:
    """The lines of imports inside functions."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield node.lineno


@each_file
def test_nothing_is_imported_inside_a_function(path: Path) -> None:
    assert list(inner_imports(ast.parse(path.read_text()))) == []


@each_file
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@each_file
def test_files_are_named_after_what_is_in_them(path: Path) -> None:
    assert path.stem not in EMPTY_NAMES


def test_an_import_inside_a_function_is_seen() -> None:
    tree = ast.parse("import a\nclass B:\n    def c(self):\n        if self:\n            from d import e\n")
    assert list(inner_imports(tree)) == [5]
