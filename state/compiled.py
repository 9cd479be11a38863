"""One way to compile a kernel: without the GIL, and cached on disk where a disk can be written.

Numba keeps a compiled kernel until the file that defines it changes; a constant or a record type that the kernel takes
from another file may change unseen. So the cache's directory is named by a digest of the kernel's file and of all files
of ours that it imports, directly or not: what was compiled from other sources is never found.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import types
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])

ROOT = Path(__file__).resolve().parent.parent
CACHES_MAX = 128
"""Directories of compiled kernels that are kept; past it the ones unused for longest go."""

_IMPORT = re.compile(r"^(?:from|import) ((?:state|operators)(?:\.\w+)*)(?: import ([\w, ()\n]+))?", re.MULTILINE)


@cache
def _imports(path: Path) -> frozenset[Path]:
    """Files of ours that a file imports."""
    found: set[Path] = set()
    for module, names in _IMPORT.findall(path.read_text()):
        base = ROOT.joinpath(*module.split("."))
        candidates = [base.with_suffix(".py"), *(base / f"{name}.py" for name in re.findall(r"\w+", names))]
        found.update(c for c in candidates if c.is_file())
    return frozenset(found)


@cache
def sources_of(path: Path) -> tuple[Path, ...]:
    """A file and all files of ours that it imports, directly or not, sorted."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            waiting += _imports(one)
    return tuple(sorted(seen))


@cache
def _cache_directory(path: Path) -> str | None:
    """Where the kernels of a file are cached; None where no disk can be written (they are compiled at each start)."""
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in sources_of(path))).hexdigest()[:16]
    root = Path(os.environ.get("NUMBA_CACHE_DIR") or ROOT / ".cache" / "numba")
    directory = root / f"{path.stem}-{digest}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            os.utime(directory)
    except OSError:
        return None
    _forget_old(root)
    return str(directory)


def _forget_old(root: Path) -> None:
    with suppress(OSError):  # another process may be at it too
        caches = sorted(root.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in caches[CACHES_MAX:]:
            shutil.rmtree(old, ignore_errors=True)


def is_cached(path: Path) -> bool:
    """Were the kernels of a file compiled by an earlier start?"""
    directory = _cache_directory(path.resolve())
    return directory is not None and any(Path(directory).rglob("*.nbc"))


def _compile(function: F, **options: Any) -> F:
    directory = _cache_directory(Path(function.__code__.co_filename).resolve())
    if directory:
        config: Any = numba.config
        config.CACHE_DIR = directory  # read as the kernel is wrapped
    compiled: Any = numba.njit(cache=directory is not None, nogil=True, **options)(function)
    return cast(F, compiled)


def kernel(function: F) -> F:
    """Compile a pure function over arrays with Numba, releasing the GIL, cached when that is possible."""
    return _compile(function)


def inlined(function: F) -> F:
    """Like `kernel`, for a small function that is to be part of whatever kernel calls it: slower to compile, faster
    to run where it is large, called from one place, and takes many arrays."""
    return _compile(function, forceinline=True)


def _without_owner(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = array.meminfo.type(None)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        parts = [builder.extract_value(value, k) for k in range(len(kind))]
        lent = [_without_owner(context, builder, *part) for part in zip(cast(Any, kind).types, parts, strict=True)]
        return context.make_tuple(builder, kind, lent)
    return value


def _borrowed(_context: Any, value: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _without_owner(context, builder, signature.args[0], arguments[0])

    return value(value), code


borrowed: Any = intrinsic(_borrowed)
"""In a kernel: its arguments, arrays or (named) tuples of them, however nested, without the counting of references.

Whoever called the kernel holds them until it is over, so nothing has to be counted; but where functions hand dozens of
arrays on, each call counts each of them up and down, which takes a microsecond. What is borrowed may not be returned.
"""
