"""A long query on a replica needs rows that the primary has deleted and vacuumed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connections

from tests.builders import save_history
from tests.replica.documented import PRIMARY
from tests.servers import PostgresReplica, PostgresServer, temporary_server
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Step

pytestmark = pytest.mark.vendor("postgresql")

QUERY_SECONDS = 3
IMPATIENT = "--max-standby-streaming-delay=100ms"


@contextmanager
def long_query(standby: str) -> Iterator[Future[int]]:
    """Run a query on the replica, which has read its first row when the block begins."""

    def count() -> int:
        try:
            with connections[standby].cursor() as cursor:
                table = Step._meta.db_table
                cursor.execute(f"SELECT pg_sleep({QUERY_SECONDS} / 20.0) FROM {table}")
                return len(cursor.fetchall())
        finally:
            connections[standby].close()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(count)
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        with connections[standby].cursor() as cursor:
            while not future.done():
                cursor.execute(sleeping)
                if cursor.fetchone() == (1,):
                    break
        yield future


def delete_and_vacuum() -> None:
    assert DjangoCheckpointer(PRIMARY).delete_session("run")
    with connections[PRIMARY].cursor() as cursor:
        cursor.execute(f"VACUUM {Step._meta.db_table}")


@pytest.mark.parametrize("feedback", ["off", "on"])
def test_a_prune_cancels_a_long_query_unless_the_replica_says_what_it_needs(
    routed: DjangoCheckpointer, primary: PostgresServer, feedback: str
) -> None:
    save_history(routed, "run", range(20))
    options = [
        IMPATIENT,
        f"--hot-standby-feedback={feedback}",
        "--wal-receiver-status-interval=1s",
    ]
    with temporary_server(PostgresReplica, *options, primary=primary) as server:
        server.catch_up()
        with server.alias("standby") as standby, long_query(standby) as query:
            wait_for_feedback(primary, feedback)
            delete_and_vacuum()
            if feedback == "on":
                assert query.result() == 20
            else:
                with pytest.raises(OperationalError, match="conflict with recovery") as caught:
                    query.result()
                assert caught.value.__cause__.sqlstate == "40001"  # type: ignore[union-attr]


def wait_for_feedback(primary: PostgresServer, feedback: str) -> None:
    """Wait until the primary knows the oldest snapshot of the replica, if it says so."""
    known = "SELECT count(*) FROM pg_stat_replication WHERE backend_xmin IS NOT NULL"
    while feedback == "on" and primary.execute(known) != [(1,)]:
        pass
