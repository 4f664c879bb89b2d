"""A temporary MariaDB Galera cluster on the loopback interface."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from tests.servers.base import TIMEOUT_SECONDS, free_port, skip_without, temporary_server
from tests.servers.mariadb import MariaDBServer

PROVIDERS = (
    "/usr/lib/galera/libgalera_smm.so",
    "/usr/lib64/galera-4/libgalera_smm.so",
    "/usr/lib64/galera/libgalera_smm.so",
)
RECOVERED = re.compile(rb"WSREP: Recovered position: (\S+:-?\d+)")


class GaleraNode(MariaDBServer):
    """A node that joins ``seeds``, or begins a new cluster if ``is_first`` is true."""

    is_first = False
    seeds: Sequence[GaleraNode] = ()

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory, *options)
        self.cluster_port, self.ist_port, self.sst_port = (free_port() for _ in range(3))
        self.position: str | None = None

    def command(self) -> list[str]:
        members = ",".join(f"127.0.0.1:{node.cluster_port}" for node in self.seeds)
        provider = {
            "base_host": "127.0.0.1",
            "base_port": self.cluster_port,
            "gmcast.listen_addr": f"tcp://127.0.0.1:{self.cluster_port}",
            "ist.recv_addr": f"127.0.0.1:{self.ist_port}",
            "gcache.size": "32M",
        }
        options = {
            "wsrep_on": "ON",
            "wsrep_provider": find_provider(),
            "wsrep_cluster_name": "weavegraph",
            "wsrep_cluster_address": f"gcomm://{'' if self.is_first else members}",
            "wsrep_node_address": "127.0.0.1",
            "wsrep_node_name": f"node_{self.cluster_port}",
            "wsrep_slave_threads": "4",
            "wsrep_sst_method": "rsync",
            "wsrep_sst_receive_address": f"127.0.0.1:{self.sst_port}",
            "wsrep_provider_options": ";".join(f"{key}={each}" for key, each in provider.items()),
            "binlog_format": "ROW",
            "innodb_autoinc_lock_mode": "2",
        }
        position = [] if self.position is None else [f"--wsrep_start_position={self.position}"]
        return [
            *super().command(),
            *(f"--{name}={each}" for name, each in options.items()),
            *position,
        ]

    def start(self) -> None:
        """Start or restart the node, and wait until it has joined and caught up."""
        self.position = self.recover_position()
        super().start()
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not self.is_synced():
            assert time.monotonic() < deadline, self.log.read_text(errors="replace")[-5000:]
            time.sleep(0.05)
        self.is_first = False

    def recover_position(self) -> str | None:
        """Return the last transaction that the data directory has, as after a crash."""
        if not (self.data / "grastate.dat").exists():
            return None
        done = subprocess.run(
            [*self.command(), "--wsrep-recover"],
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            **self._account_options(),
        )
        found = RECOVERED.search(done.stdout + done.stderr)
        assert found is not None, (done.stdout + done.stderr)[-5000:].decode(errors="replace")
        return found[1].decode()

    def forget_state(self) -> None:
        """Make a node that was killed ask for a transfer of the whole state."""
        (self.data / "grastate.dat").unlink()

    def get_status(self, *names: str) -> dict[str, str]:
        """Return status variables of the cluster."""
        among = ", ".join(f"'{name}'" for name in names)
        rows = self.execute(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({among})")
        return {name.lower(): value for name, value in rows}

    def is_synced(self, size: int | None = None) -> bool:
        """Return whether the node takes statements, in a cluster of ``size`` nodes if given."""
        import MySQLdb

        wanted = {"wsrep_ready": "ON", "wsrep_local_state_comment": "Synced"}
        if size is not None:
            wanted["wsrep_cluster_size"] = f"{size}"
        try:
            return self.get_status(*wanted) == wanted
        except (OperationalError, MySQLdb.Error):
            return False

    def isolate(self, is_isolated: bool) -> None:
        """Cut the node off from the others, or connect it again."""
        self.execute(f"SET GLOBAL wsrep_provider_options = 'gmcast.isolate={int(is_isolated)}'")

    def rejoin(self, size: int) -> None:
        """Wait until the node is synced in a cluster of ``size`` nodes, after a cut.

        A node ends itself if it cannot get what it missed; like systemd, start it again then.
        """
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not self.is_synced(size):
            assert time.monotonic() < deadline, self.log.read_text(errors="replace")[-5000:]
            if self.process is not None and self.process.poll() is not None:
                self.start()
            time.sleep(0.05)

    def count_transfers(self) -> dict[str, int]:
        """Return how often the node received the missing transactions, or the whole state."""
        log = self.log.read_text(errors="replace")
        whole = log.count("rsync SST completed on joiner")
        return {"IST": log.count("WSREP: IST received") - whole, "SST": whole}

    def find_failed_applications(self) -> list[Path]:
        """Return the files in which the node keeps transactions that it could not apply."""
        return sorted(self.data.glob("GRA_*.log"))


def find_provider() -> str | None:
    """Return the path of Galera's library, or ``None`` if it is not installed."""
    return next((path for path in PROVIDERS if Path(path).exists()), None)


def skip_without_galera() -> None:
    """Skip the test if Galera or what it needs for a state transfer is not installed."""
    if find_provider() is None:
        pytest.skip("Galera is not installed (Debian: galera-4)")
    for program, package in (("mariadbd", "mariadb-server"), ("rsync", "rsync"), ("lsof", "lsof")):
        skip_without(program, package)


@contextmanager
def galera_cluster(size: int, *options: str) -> Iterator[list[GaleraNode]]:
    """Start a cluster of ``size`` nodes, and kill it at the end."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weavegraph-")))
        directory.chmod(0o755)
        nodes: list[GaleraNode] = []
        for number in range(size):
            own = directory / f"node-{number}"
            own.mkdir()
            made = temporary_server(
                GaleraNode, *options, directory=own, is_first=not nodes, seeds=nodes
            )
            nodes.append(stack.enter_context(made))
        yield nodes


def wait_until_equal(nodes: Iterable[GaleraNode]) -> None:
    """Wait until each node has applied what the others have committed; nobody may write."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while len({_get_position(node) for node in nodes}) > 1:
        assert time.monotonic() < deadline, [_get_position(node) for node in nodes]
        time.sleep(0.05)


def _get_position(node: GaleraNode) -> Any:
    return node.get_status("wsrep_last_committed")["wsrep_last_committed"]
