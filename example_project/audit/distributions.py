"""Read the metadata of the installed Python distributions, which may be invalid."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

SPDX = {
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""Classifiers that name exactly one licence; "BSD License", for example, may mean several."""

_LICENCE = re.compile(r"[\w.+() /-]{2,40}")
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


class InvalidMetadata(Exception):
    """The metadata of a distribution is unreadable or incomplete."""


def search_path() -> list[str]:
    """Return the directories that are searched for distributions."""
    return sys.path


def installed() -> dict[str, Path]:
    """Return the metadata directory of each distribution, by name.

    If two have the same name, the first wins, as in an import.
    """
    folders: dict[str, Path] = {}
    for directory in search_path():
        for folder in sorted(Path(directory).glob("*-info")):
            folders.setdefault(normalize_name(folder.stem.partition("-")[0]), folder)
    return dict(sorted(folders.items()))


def normalize_name(name: str) -> str:
    """Return the normalized name of a distribution (PyPA name normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_facts(folder: Path) -> dict[str, Any]:
    """Return the metadata of a distribution; raise ``InvalidMetadata`` if it is invalid."""
    distribution = Distribution.at(folder)
    try:
        metadata = distribution.metadata.json
        requires = distribution.requires or []
    except Exception as error:  # the reader may raise anything for an invalid file
        raise InvalidMetadata(f"the metadata cannot be read: {error}") from error
    if not metadata.get("name") or not metadata.get("version"):
        raise InvalidMetadata("the metadata has no name or no version")
    classifiers = [text for text in metadata.get("classifier", []) if text.startswith("License ::")]
    return {
        "version": metadata["version"],
        "license_expression": metadata.get("license_expression"),
        "license": str(metadata.get("license", "")).strip().partition("\n")[0],
        "license_classifiers": classifiers,
        "requires": list(requires),
    }


def get_licence(facts: dict[str, Any]) -> str | None:
    """Return the licence in the metadata, or ``None`` if it is missing or ambiguous."""
    expression: str | None = facts["license_expression"]
    if expression:
        return expression
    names = [text.rpartition(" :: ")[2] for text in facts["license_classifiers"]]
    known = {SPDX[name] for name in names if name in SPDX}
    if len(known) == 1:
        return known.pop()
    line: str = facts["license"]
    clear = _LICENCE.fullmatch(line) and line.upper() not in ("UNKNOWN", "BSD", "GPL", "LGPL")
    return line if clear else None


def get_size(folder: Path) -> dict[str, int] | None:
    """Return the size and number of the installed files, or ``None`` if they are not listed.

    Compiled modules are not counted, because they are created at run time.
    """
    try:
        listed = Distribution.at(folder).files
    except Exception as error:  # as above
        raise InvalidMetadata(f"the list of files cannot be read: {error}") from error
    if listed is None:
        return None
    paths = (Path(str(file.locate())) for file in listed if file.suffix != ".pyc")
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    return {"bytes": sum(sizes), "files": len(sizes)}


def get_requirements(facts: dict[str, Any]) -> list[str]:
    """Return the names of the unconditional requirements; those with markers are ignored."""
    always = (text for text in facts["requires"] if ";" not in text)
    found = (match for text in always if (match := _REQUIREMENT.match(text)))
    return sorted({normalize_name(match[1]) for match in found})


def dependency_closure(name: str, requires: dict[str, list[str]]) -> list[str]:
    """Return a distribution and its direct and indirect requirements."""
    reached: set[str] = set()
    waiting: Iterable[str] = {name}
    while waiting := set(waiting) - reached:
        reached |= waiting
        waiting = [needed for one in waiting for needed in requires.get(one, [])]
    return sorted(reached)
