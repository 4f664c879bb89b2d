"""Read the Python distributions that are installed, without trusting their metadata."""

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
"""The classifiers that name exactly one licence; "BSD License", say, may mean several."""

_LICENCE = re.compile(r"[\w.+() /-]{2,40}")
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


class BrokenMetadata(Exception):
    """A distribution does not say what every distribution has to say."""


def search_path() -> list[str]:
    """Return where distributions are looked for."""
    return sys.path


def installed() -> dict[str, Path]:
    """Return the metadata folder of each distribution, by name.

    Of two with the same name the first counts, as in an import.
    """
    folders: dict[str, Path] = {}
    for place in search_path():
        for folder in sorted(Path(place).glob("*-info")):
            folders.setdefault(normal_name(folder.stem.partition("-")[0]), folder)
    return dict(sorted(folders.items()))


def normal_name(name: str) -> str:
    """Return a distribution's name in the form in which names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what a distribution says of itself; raise ``BrokenMetadata`` if it cannot."""
    distribution = Distribution.at(folder)
    try:
        metadata = distribution.metadata.json
        requires = distribution.requires or []
    except Exception as error:  # whatever a broken file makes the reader raise
        raise BrokenMetadata(f"the metadata cannot be read: {error}") from error
    if not metadata.get("name") or not metadata.get("version"):
        raise BrokenMetadata("the metadata gives no name or no version")
    classifiers = [text for text in metadata.get("classifier", []) if text.startswith("License ::")]
    return {
        "version": metadata["version"],
        "license_expression": metadata.get("license_expression"),
        "license": str(metadata.get("license", "")).strip().partition("\n")[0],
        "license_classifiers": classifiers,
        "requires": list(requires),
    }


def licence_of(facts: dict[str, Any]) -> str | None:
    """Return the one licence that the metadata names, or ``None`` if it is not clear."""
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


def size_of(folder: Path) -> dict[str, int] | None:
    """Return the bytes and the number of the installed files, or ``None`` without a list of them.

    Compiled modules do not count: they come and go.
    """
    try:
        listed = Distribution.at(folder).files
    except Exception as error:  # as above
        raise BrokenMetadata(f"the list of files cannot be read: {error}") from error
    if listed is None:
        return None
    paths = (Path(str(file.locate())) for file in listed if file.suffix != ".pyc")
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    return {"bytes": sum(sizes), "files": len(sizes)}


def requirements_of(facts: dict[str, Any]) -> list[str]:
    """Return the names of what is always required; conditions (``; …``) are left out."""
    always = (text for text in facts["requires"] if ";" not in text)
    found = (match for text in always if (match := _REQUIREMENT.match(text)))
    return sorted({normal_name(match[1]) for match in found})


def brought_in(name: str, requires: dict[str, list[str]]) -> list[str]:
    """Return a distribution with all that it requires, directly or not."""
    reached: set[str] = set()
    waiting: Iterable[str] = {name}
    while waiting := set(waiting) - reached:
        reached |= waiting
        waiting = [needed for one in waiting for needed in requires.get(one, [])]
    return sorted(reached)
