"""Queries that every face of the app shares."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Self

from django.db import models

from weavegraph_checkpoints.domain.nodes import NodeKind, as_node

_CONTAINS_NODE = {
    "mysql": (
        "EXISTS (SELECT 1 FROM JSON_TABLE({column}, '$[*]' COLUMNS (node LONGTEXT"
        " CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$')) AS nodes"
        " WHERE nodes.node = %s)"
    ),
    "postgresql": "{column} @> %s::jsonb",
    "sqlite": "EXISTS (SELECT 1 FROM json_each({column}) WHERE value = %s)",
}
# What follows U+D7FF in text that is UTF-8.
_AFTER_SURROGATES = {0xD800: 0xE000}


def contains_node(vendor: str, column: str, node: NodeKind) -> tuple[str, str]:
    """Return the condition that a column of nodes contains exactly a node, and its parameter."""
    parameter = json.dumps([node.encoded]) if vendor == "postgresql" else node.encoded
    return _CONTAINS_NODE[vendor].format(column=column), parameter


class ContainsNode(models.Lookup):
    """``ContainsNode(F("ran_nodes"), node)``: the column contains exactly this node."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, params = self.process_lhs(compiler, connection)
        sql, parameter = contains_node(connection.vendor, column, as_node(self.rhs))
        return sql, (*params, parameter)


class SessionQuerySet(models.QuerySet[Any]):
    """Sessions."""

    def newest_first(self) -> Self:
        """Order by the last update, newest first, ties by id."""
        return self.order_by("-updated_at", "id")

    def owned_by(self, owner: str | None) -> Self:
        """Narrow to the sessions of an owner; ``None`` means all."""
        return self.all() if owner is None else self.filter(owner=owner)

    def with_id_prefix(self, prefix: str) -> Self:
        """Narrow to the sessions whose id begins with ``prefix``, byte for byte.

        A range of the primary key, which sorts by code point: SQLite's ``LIKE`` would take
        ``a`` for ``A``.
        """
        bounds = {"id__gte": prefix}
        begun = prefix.rstrip(chr(sys.maxunicode))
        if begun:
            following = ord(begun[-1]) + 1
            bounds["id__lt"] = begun[:-1] + chr(_AFTER_SURROGATES.get(following, following))
        return self.filter(**bounds) if prefix else self.all()

    def defer_state(self) -> Self:
        """Leave the state out, which lists never read."""
        return self.defer("last_state", "last_versions_seen")


class StepQuerySet(models.QuerySet[Any]):
    """Steps. Every query that leaves here names its session."""

    def ran(self, node: NodeKind | str) -> Self:
        """Narrow to the steps in which exactly this node ran."""
        return self.filter(ContainsNode(models.F("ran_nodes"), node))

    def skipped(self, node: NodeKind | str) -> Self:
        """Narrow to the steps in which exactly this node was skipped."""
        return self.filter(ContainsNode(models.F("skipped_nodes"), node))

    def defer_state(self) -> Self:
        """Leave the state out, which lists never read."""
        return self.defer("state", "versions_seen")

    def get_by_natural_key(self, session_id: str, step: int) -> Any:
        """Return the step, without the state: what ``loaddata`` asks for."""
        return self.defer_state().get(session=session_id, step=step)

    def for_session(self, session_id: str) -> Self:
        """Narrow to the steps of one session."""
        return self.filter(session_id=session_id)

    def with_node(self, node: NodeKind | str) -> Self:
        """Narrow to the steps in which exactly this node ran or was skipped."""
        ran, skipped = (
            ContainsNode(models.F(name), node) for name in ("ran_nodes", "skipped_nodes")
        )
        return self.filter(models.Q(ran) | models.Q(skipped))

    def with_previous(self) -> Self:
        """Give each step the number of the one before it in its session: ``previous``."""
        before = self.model._default_manager.filter(
            session_id=models.OuterRef("session_id"), step__lt=models.OuterRef("step")
        ).order_by("-step")
        return self.annotate(previous=models.Subquery(before.values("step")[:1]))

    def step_numbers(self) -> models.QuerySet[Any, int]:
        """Return the numbers of the steps, which the unique index holds."""
        return self.values_list("step", flat=True)

    def first_at_or_above(self, steps: Sequence[int]) -> list[int]:
        """Return the lowest step at or above each of some numbers, in one query.

        A key look-up each: give it some tens.
        """
        look_ups = {
            f"at_{index}": models.Subquery(
                self.filter(step__gte=step).order_by("step").values("step")[:1]
            )
            for index, step in enumerate(steps)
        }
        rows = self.order_by("step").annotate(**look_ups).values_list(*look_ups)[:1]
        return sorted({step for row in rows for step in row if step is not None})
