"""Imports the object that a graph spec points to, and words what goes wrong so that a stranger may read it."""

import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from runs.langgraph_json import GraphSpec

#: An absolute path up to its last name; web addresses and relative paths do not match.
FOLDERS = re.compile(r"(?<![\w/.\\-])(?:file://|[A-Za-z]:)?[/\\](?![/\\])(?:[^\s/\\'\"()<>|,;]+[/\\])*(?=[^\s/\\'\"])")
REASON_LENGTH = 500


def load_attribute(spec: GraphSpec, import_paths: Sequence[Path]) -> object:
    """Import the module of `spec` and return its attribute; whatever the module raises goes to the caller."""
    if isinstance(spec.source, Path):
        module = _import_file(spec.source, import_paths)
    else:
        module = importlib.import_module(spec.source)
    return getattr(module, spec.attribute)


def extend_import_path(folders: Sequence[Path]) -> None:
    """Put `folders` last on the import path: a deployment's files never hide the server's own modules."""
    sys.path.extend(str(folder) for folder in folders if str(folder) not in sys.path)
    importlib.invalidate_caches()


def reason_of(exc: BaseException) -> str:
    """Return "ExceptionType: message" on one line of bounded length, without the folders of this machine."""
    message = " ".join(FOLDERS.sub("", str(exc)[: 4 * REASON_LENGTH]).split())
    if len(message) > REASON_LENGTH:
        message = f"{message[: REASON_LENGTH - 1]}…"
    return f"{type(exc).__name__}: {message}" if message else type(exc).__name__


def _import_file(file: Path, import_paths: Sequence[Path]) -> ModuleType:
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file.name}")
    # Under the name that its neighbours import it by, the file is not executed twice, its relative imports work, and
    # checkpoints name classes that another process finds.
    if name := _importable_name(file, import_paths):
        return importlib.import_module(name)
    return _import_as(_private_name(file, import_paths), file)


def _private_name(file: Path, import_paths: Sequence[Path]) -> str:
    """Return a name that stays the same when the whole deployment moves to another folder."""
    below = (file.relative_to(folder) for folder in reversed(import_paths) if file.is_relative_to(folder))
    return re.sub(r"\W", "_", f"graph_file_{next(below, file).with_suffix('')}")


def _importable_name(file: Path, import_paths: Sequence[Path]) -> str | None:
    for folder in sorted(import_paths, key=lambda path: len(path.parts), reverse=True):
        if not file.is_relative_to(folder):
            continue
        parts = file.relative_to(folder).with_suffix("").parts
        if all(part.isidentifier() for part in parts) and _finds(".".join(parts), file):
            return ".".join(parts)
    return None


def _finds(name: str, file: Path) -> bool:
    """Whether importing `name` gives `file`, and not a module of the server or of a package."""
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).exists() and file.samefile(spec.origin)


def _import_as(name: str, file: Path) -> ModuleType:
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(file):
        return known
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
