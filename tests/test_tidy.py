"""House rules that a program can check: each breach is told with file, line and remedy."""

from __future__ import annotations

import ast
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("flows", "operators", "state", "benchmarks")
FOLDERS = (*PACKAGES, "tests", "deploy", "docs", ".ci")
TEXT_ENDINGS = {
    ".cfg",
    ".css",
    ".html",
    ".ini",
    ".js",
    ".json",
    ".md",
    ".py",
    ".sh",
    ".toml",
    ".txt",
    ".xml",
    ".yaml",
    ".yml",
}
LINES_MAX = 450
BYTES_MAX = 1_000_000

# Spelled in pieces, so that this file keeps its own rules.
_UNFINISHED = re.compile(
    r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")) + r")\b"
)
_LOOSE_RECORDS = re.compile(r"^    (?:    )*\w+ = np\.(?:zeros|empty)\(1, [A-Z_]+\)\[0\]", re.MULTILINE)
_REGISTRIES = re.compile(
    "|".join(
        (
            r"pypi\." + "org",
            "python" + r"hosted\.org",
            r"registry\." + r"npmjs\.org",
            r"repo1?\.maven" + r"\.(apache\.)?org",
            r"--(extra-)?index" + "-url",
            r"--find" + "-links",
        )
    )
)
_HOME_PATHS = re.compile(r"(?<![\w.~/$}-])/(" + "|".join(("work", "root", "home", "Users")) + r")/\w")
_ADDRESSES = re.compile(r"(?<![\w.-])(\d{1,3}(?:\.\d{1,3}){3})(?![\w.-]|\.\d)")


def _files(*folders: str) -> Iterator[Path]:
    """The project's own text files: in the given folders, or everywhere."""
    for folder in folders or FOLDERS:
        for path in sorted((PROJECT / folder).rglob("*")):
            if path.is_file() and (path.suffix in TEXT_ENDINGS or not path.suffix):
                yield path
    if not folders:
        for path in sorted(PROJECT.iterdir()):
            if path.is_file() and (path.suffix in TEXT_ENDINGS or path.name == "Makefile"):
                yield path


def _modules(*folders: str) -> Iterator[Path]:
    return (path for path in _files(*folders) if path.suffix == ".py")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if path.stat().st_size <= BYTES_MAX and "__pycache__" not in path.parts:
        yield from enumerate(path.read_text(errors="replace").splitlines(), start=1)


def _report(breaches: list[str]) -> None:
    if breaches:
        pytest.fail("\n".join(breaches), pytrace=False)


def _at(path: Path, line: int) -> str:
    return f"{path.relative_to(PROJECT)}:{line}"


def _matches(pattern: re.Pattern[str], remedy: str, *folders: str) -> list[str]:
    """A line for each place a pattern is found at."""
    return [
        f"{_at(path, number)}: {found[0]!r}: {remedy}"
        for path in _files(*folders)
        for number, line in _lines(path)
        if (found := pattern.search(line))
    ]


def test_no_module_is_longer_than_one_sitting() -> None:
    """A file that has outgrown its subject is two files."""
    _report(
        [
            f"{_at(path, LINES_MAX + 1)}: {length} lines, at most {LINES_MAX}: divide it"
            for path in _modules()
            if (length := len(path.read_text().splitlines())) > LINES_MAX
        ]
    )


def test_nothing_is_left_unfinished() -> None:
    """What is not done is not there; plans stand elsewhere."""
    _report(_matches(_UNFINISHED, "do it now, or leave it out"))


def test_no_kernel_takes_a_record_out_of_an_array_that_nothing_holds() -> None:
    """Compiled code frees such an array at once, and the record with it."""
    _report(
        _matches(
            _LOOSE_RECORDS, "give the array a name, and use it once more at the end of the kernel", "operators/kernels"
        )
    )


def test_no_package_registry_is_named() -> None:
    """Where packages come from is the machine's affair; hashes say which ones."""
    _report(_matches(_REGISTRIES, "leave it to the configuration of pip, npm or Maven"))


def test_no_path_of_one_machine_is_named() -> None:
    """The project runs wherever it is checked out."""
    _report(_matches(_HOME_PATHS, "make it relative to the project, or a setting"))


def test_no_address_but_loopback_is_named() -> None:
    """Other machines are named in settings; a service that listens everywhere is for the deployment to decide."""
    breaches = []
    for path in _files():
        for number, line in _lines(path):
            for text in _ADDRESSES.findall(line):
                try:
                    address = ipaddress.ip_address(text)
                except ValueError:
                    continue
                if not (address.is_loopback or address.is_unspecified):
                    breaches.append(f"{_at(path, number)}: {text!r}: name a host in the settings, or use 127.0.0.1")
    _report(breaches)


def test_operators_and_state_never_print() -> None:
    """Standard output belongs to the commands, standard error to the log."""
    breaches = []
    for path in _modules("operators", "state"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                breaches.append(f"{_at(path, node.lineno)}: print: log it, count it, or hand it back")
    _report(breaches)


def test_every_public_thing_says_what_it_is_for() -> None:
    """Modules, public classes and public functions have a docstring."""
    breaches = []
    for path in _modules(*PACKAGES):
        tree = ast.parse(path.read_text())
        if not ast.get_docstring(tree):
            breaches.append(f"{_at(path, 1)}: the module has no docstring: say in a line why it exists")
        for node in tree.body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if named and not ast.get_docstring(node):
                breaches.append(f"{_at(path, node.lineno)}: {node.name} has no docstring: say what it gives and takes")
    _report(breaches)


def test_tests_are_no_packages() -> None:
    """An __init__.py under tests would hide the package of the same name."""
    _report([f"{_at(path, 1)}: remove it" for path in _modules("tests") if path.name == "__init__.py"])


def test_file_names_of_tests_are_unique() -> None:
    """Then a name is enough to find one."""
    seen: dict[str, Path] = {}
    breaches = []
    for path in _modules("tests"):
        if path.name.startswith("test_") and (first := seen.setdefault(path.name, path)) != path:
            breaches.append(f"{_at(path, 1)}: {_at(first, 1)} has this name: choose another one")
    _report(breaches)


@pytest.mark.parametrize(
    ("pattern", "breach", "fine"),
    [
        (_UNFINISHED, "# TO" + "DO: later", "todos_total"),
        (_REGISTRIES, "https://pypi" + ".org/simple", "pip install"),
        (_HOME_PATHS, 'open("/ro' + 'ot/x")', "docs/work/x"),
        (_ADDRESSES, "host 10.1" + ".2.3:80", "version 1.2.3.4.5"),
    ],
)
def test_the_rules_find_what_they_look_for(pattern: re.Pattern[str], breach: str, fine: str) -> None:
    """A rule that cannot fail protects nothing."""
    assert pattern.search(breach)
    assert not pattern.search(fine)
