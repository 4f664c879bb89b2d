"""Check that the installed wheel contains all files of the package, and no others."""

from __future__ import annotations

import sys
import zipfile
from importlib import metadata
from pathlib import Path, PurePosixPath

import weavegraph_checkpoints

wheel, source = Path(sys.argv[1]), Path(sys.argv[2])
version = metadata.version("weavegraph-checkpoints")
package = Path(weavegraph_checkpoints.__file__).parent

expected = {
    path.relative_to(source.parent).as_posix()
    for path in source.rglob("*")
    if path.is_file() and path.suffix != ".pyc"
}
packed = {
    name
    for name in zipfile.ZipFile(wheel).namelist()
    if not PurePosixPath(name).parts[0].endswith(".dist-info")
}

problems = [
    *(f"missing from the wheel: {name}" for name in sorted(expected - packed)),
    *(f"not part of the package: {name}" for name in sorted(packed - expected)),
]
if source.resolve() == package.resolve():
    problems.append("the source tree was imported instead of the wheel")
if f"-{version}-" not in wheel.name:
    problems.append(f"the installed version {version} differs from that of {wheel.name}")
if not (package / "py.typed").exists():
    problems.append("py.typed is missing")
if getattr(weavegraph_checkpoints, "__version__", version) != version:
    problems.append("__version__ differs from the version in the metadata")
if problems:
    sys.exit("\n".join(problems))
sys.stdout.write(f"{wheel.name}: {len(packed)} files, imported from {package}\n")
