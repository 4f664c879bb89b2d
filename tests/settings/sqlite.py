"""
SQLite in files, because threads and processes of the tests share them.

The first process creates their directory and removes it; processes started by a test inherit its
path, and so use the same files.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests.settings.base import *  # noqa: F403
from tests.settings.base import parse_database_url


def _directory() -> Path:
    if "WEAVEGRAPH_TEST_DIR" not in os.environ:
        made, maker = tempfile.mkdtemp(prefix="weavegraph-test-"), os.getpid()
        os.environ["WEAVEGRAPH_TEST_DIR"] = made
        atexit.register(lambda: os.getpid() == maker and shutil.rmtree(made, ignore_errors=True))
    return Path(os.environ["WEAVEGRAPH_TEST_DIR"])


DATABASES = {
    alias: parse_database_url(f"sqlite:///{alias}.sqlite3", base_dir=_directory())
    for alias in ("default", "other")
}
for database in DATABASES.values():
    database["TEST"] = {"NAME": database["NAME"]}
