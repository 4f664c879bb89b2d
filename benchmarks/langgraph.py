"""LangGraph's checkpointers, to be compared with this app."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from benchmarks.candidates import Candidate, build_conninfo
from weavegraph_checkpoints import Checkpoint
from weavegraph_checkpoints.serde.values import state_document

# Only `make bench` installs them.
with suppress(ImportError):
    from langgraph.checkpoint.base.id import uuid6
    from langgraph.checkpoint.sqlite import SqliteSaver
with suppress(ImportError):
    from langgraph.checkpoint.postgres import PostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import ConnectionPool


class LangGraph(Candidate):
    """A checkpointer of LangGraph with the channels ``messages``, ``extra`` and ``errors``.

    Messages are plain dicts, the cheapest that it accepts. ``put_writes``, which its runtime
    calls for the intermediate writes of each task, is left out.
    """

    saver: Any

    def prepare(self, session_id: str, checkpoints: Sequence[Checkpoint]) -> list[Any]:
        messages: dict[int, dict[str, Any]] = {}
        versions: dict[str, str] = {}
        prepared: list[Any] = []
        config: dict[str, Any] = {"thread_id": session_id, "checkpoint_ns": ""}
        for checkpoint in checkpoints:
            changed = checkpoint.updated_channels if versions else ("messages", "extra", "errors")
            new = {
                channel: self.saver.get_next_version(versions.get(channel), None)
                for channel in changed
            }
            versions = versions | new
            values = state_document(checkpoint.state)
            identity = str(uuid6(clock_seq=checkpoint.step))
            document = {
                "v": 4,
                "id": identity,
                "ts": checkpoint.created_at.isoformat(),
                "channel_values": {
                    "messages": [
                        messages.setdefault(
                            id(message), {"role": message.role, "content": message.content}
                        )
                        for message in values["messages"].items
                    ],
                    "extra": values["extra"].map,
                    "errors": msgspec.to_builtins(values["errors"]["items"]),
                },
                "channel_versions": versions,
                "versions_seen": {
                    node: {channel: versions[channel] for channel in channels}
                    for node, channels in checkpoint.versions_seen.items()
                },
                "updated_channels": list(changed),
            }
            metadata = {
                "source": "loop",
                "step": checkpoint.step,
                "parents": {},
                "ran_node": str(checkpoint.ran_nodes[0]),
            }
            prepared.append(({"configurable": config}, document, metadata, new))
            config = config | {"checkpoint_id": identity}
        return prepared

    def save(self, prepared: Any) -> None:
        self.saver.put(*prepared)

    def load_latest(self, session_id: str) -> Any:
        return self.saver.get_tuple(self._config(session_id))

    def page(self, session_id: str, limit: int) -> Sequence[Any]:
        return list(self.saver.list(self._config(session_id), limit=limit))

    def page_of_node(self, session_id: str, node: str, limit: int) -> Sequence[Any]:
        return list(
            self.saver.list(self._config(session_id), filter={"ran_node": node}, limit=limit)
        )

    def _config(self, session_id: str) -> Any:
        return {"configurable": {"thread_id": session_id, "checkpoint_ns": ""}}


class LangGraphSqlite(LangGraph):
    """``SqliteSaver.from_conn_string``, as its docs use it; it sets WAL itself."""

    title = "langgraph-sqlite"
    servers = ("SQLite",)

    def create(self) -> None:
        self.open()
        self.saver.setup()
        self.close()

    def open(self) -> None:
        saver = SqliteSaver.from_conn_string(self.database)
        self.saver = self.resources.enter_context(saver)
        self.saver.conn.execute("PRAGMA synchronous=FULL")
        self.saver.conn.execute("PRAGMA secure_delete=FAST")


class LangGraphPostgres(LangGraph):
    """``PostgresSaver.from_conn_string``: autocommit, dict_row, prepared statements."""

    title = "langgraph-postgres"
    servers = ("PostgreSQL",)
    options: dict[str, Any] = {}

    def create(self) -> None:
        with PostgresSaver.from_conn_string(build_conninfo(self.alias)) as saver:
            saver.setup()

    def open(self) -> None:
        self.saver = self.resources.enter_context(
            PostgresSaver.from_conn_string(build_conninfo(self.alias), **self.options)
        )


class LangGraphPipeline(LangGraphPostgres):
    """The same with ``pipeline=True``."""

    title = "langgraph-postgres, pipeline"
    options = {"pipeline": True}


class LangGraphPool(LangGraphPostgres):
    """A ``ConnectionPool`` with the arguments that LangGraph's docs name."""

    title = "langgraph-postgres, pool"

    def open(self) -> None:
        pool = ConnectionPool(
            build_conninfo(self.alias),
            min_size=1,
            max_size=20,
            kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        )
        self.saver = PostgresSaver(self.resources.enter_context(pool))
