"""A Galera cluster with the tables of the app, and the faults that happen to its nodes."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from django.db import connections

from example_project.database_url import SAFE_OPTIONS
from tests.scratch import APP, migrate
from tests.servers.base import DATABASE
from tests.servers.galera import GaleraNode, galera_cluster, wait_until_equal
from tests.torture.journal import DONE, Call
from tests.torture.supervisor import Supervisor

OPTIONS = SAFE_OPTIONS["django.db.backends.mysql"]
WAITING_OPTIONS = OPTIONS | {"init_command": f"{OPTIONS['init_command']}, wsrep_sync_wait=7"}
"""Wait for what other nodes have committed before reads, updates, deletes and inserts."""
STRICT = "--wsrep_mode=REQUIRED_PRIMARY_KEY,STRICT_REPLICATION"
MAX_SECONDS_DOWN = 3
MAX_SECONDS_WITHOUT_QUORUM = 30
"""How long to wait for the others; two that lose each other need the third."""


@dataclass
class Cluster:
    """Nodes, and an alias of Django's connections for each."""

    nodes: list[GaleraNode]
    aliases: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    """The aliases of the same nodes with ``wsrep_sync_wait``."""

    def count_transfers(self) -> Counter[str]:
        """Return the number of incremental (IST) and whole (SST) transfers to all nodes."""
        return sum((Counter(node.count_transfers()) for node in self.nodes), Counter())

    def get_rows(self, node: GaleraNode) -> dict[str, list[tuple[Any, ...]]]:
        """Return all rows of all tables of the app on a node."""
        tables = node.execute(f"SHOW TABLES LIKE '{APP}%'", name=DATABASE)
        return {
            table: node.execute(f"SELECT * FROM {table} ORDER BY id", name=DATABASE)
            for (table,) in tables
        }

    def find_differences(self) -> list[str]:
        """Return the tables that differ between nodes, and what nodes could not apply."""
        wait_until_equal(self.nodes)
        first, *others = (self.get_rows(node) for node in self.nodes)
        assert len(first) == 4, list(first)
        found = [
            f"{table} of node {number} differs"
            for number, rows in enumerate(others, 1)
            for table in first
            if rows[table] != first[table]
        ]
        failed = [path for node in self.nodes for path in node.find_failed_applications()]
        return found + [f"{path} could not be applied" for path in failed]

    def clear(self) -> None:
        """Delete all rows of the app, and close the connections of this thread."""
        steps, keyframes, labels, sessions = (
            f"DELETE FROM {APP}_{name}" for name in ("step", "keyframe", "label", "session")
        )
        unlink = f"UPDATE {APP}_keyframe SET previous_id = NULL"
        self.nodes[0].execute(steps, unlink, keyframes, labels, sessions, name=DATABASE)
        wait_until_equal(self.nodes)
        for alias in self.aliases + self.waiting:
            connections[alias].close()


@contextmanager
def migrated_cluster(size: int = 3) -> Iterator[Cluster]:
    """Start a cluster with the tables of the app."""
    with galera_cluster(size, STRICT) as nodes, ExitStack() as stack:
        nodes[0].create_database()
        cluster = Cluster(nodes)
        for number, node in enumerate(nodes):
            alias = stack.enter_context(node.alias(f"node-{number}", OPTIONS=OPTIONS))
            cluster.aliases.append(alias)
            alias = stack.enter_context(node.alias(f"waiting-{number}", OPTIONS=WAITING_OPTIONS))
            cluster.waiting.append(alias)
        migrate(connections[cluster.aliases[0]])
        wait_until_equal(nodes)
        connections[cluster.aliases[0]].close()
        yield cluster


@dataclass
class Faults:
    """Let faults happen to nodes while writers call the service on all of them."""

    cluster: Cluster
    supervisor: Supervisor
    chance: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    history: list[tuple[float, str]] = field(default_factory=list)
    """When which fault happened."""
    waits: list[float] = field(default_factory=list)
    """The seconds until the next save of another node returned."""
    acknowledged_while_isolated: list[Call] = field(default_factory=list)

    def happen(self, count: int) -> Iterator[None]:
        """Let ``count`` faults happen, each kind as often as the others."""
        kinds = {
            "kills": self.kill_node,
            "cuts": self.isolate_node,
            "kills_with_loss_of_state": self.kill_node_and_state,
            "kills_of_all_nodes": self.kill_all,
        }
        for _, (name, kind) in zip(range(count), cycle(kinds.items()), strict=False):
            self.counts[name] += 1
            self.supervisor.wait_for_saves(self._acknowledged + self.chance.randrange(200))
            self.supervisor.receive(self.chance.uniform(0, 0.05))
            self.history.append((time.monotonic(), name))
            kind()
            self.supervisor.wait_for_saves(self._acknowledged + 1)
            yield

    def kill_node(self) -> None:
        """Kill a node, which later receives the transactions that it missed."""
        node = self._choose()
        node.kill()
        self._wait_for_others(node)
        self._wait_for(node.start)

    def kill_node_and_state(self) -> None:
        """Kill a node, which later receives the whole state."""
        node = self._choose()
        node.kill()
        node.forget_state()
        self._wait_for_others(node)
        self._wait_for(node.start)

    def kill_all(self) -> None:
        """Kill all nodes at once; they find each other again when all are back."""
        for node in self.cluster.nodes:
            node.kill(wait=False)
        self.supervisor.receive(self.chance.uniform(0, 1))
        self._wait_for(*(node.start for node in self.cluster.nodes))

    def isolate_node(self) -> None:
        """Cut a node off from the others, and connect it again."""
        node = self._choose()
        node.isolate(True)
        isolated = time.monotonic()
        self._wait_for_others(node)
        self.supervisor.receive(self.chance.uniform(0, MAX_SECONDS_DOWN))
        connected = time.monotonic()
        node.isolate(False)
        self._wait_for(lambda: node.rejoin(len(self.cluster.nodes)))
        self.acknowledged_while_isolated += [
            call
            for call in self._saves_of(node)
            if call.outcome == DONE and call.begun > isolated and call.ended < connected
        ]

    @property
    def _acknowledged(self) -> int:
        return self.supervisor.journal.acknowledged

    def _choose(self) -> GaleraNode:
        return self.chance.choice(self.cluster.nodes)

    def _saves_of(self, node: GaleraNode) -> Iterator[Call]:
        place = self.cluster.nodes.index(node)
        for steps in self.supervisor.journal.saves.values():
            for calls in steps.values():
                yield from (call for call in calls if call.slot % len(self.cluster.nodes) == place)

    def _wait_for_others(self, node: GaleraNode) -> None:
        """Wait until the others save again, unless they lose each other too."""
        began = time.monotonic()
        self.supervisor.receive(0.1)
        before = self._acknowledged
        while self._acknowledged == before:
            if time.monotonic() > began + MAX_SECONDS_WITHOUT_QUORUM:
                self.counts["losses_of_quorum"] += 1
                return
            self.supervisor.receive(0.1)
        self.waits.append(time.monotonic() - began)

    def _wait_for(self, *calls: Callable[[], None]) -> None:
        """Make calls at the same time, and record the reports of the writers meanwhile."""
        with ThreadPoolExecutor(len(calls)) as pool:
            running = [pool.submit(call) for call in calls]
            while not all(each.done() for each in running):
                self.supervisor.receive(0.1)
            for each in running:
                each.result()
