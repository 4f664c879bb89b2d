"""Queries that every face of the app shares."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Self

from django.db import models

from weavegraph_checkpoints.domain.nodes import NodeKind, as_node

HOLDS_NODE = {
    "mysql": (
        "EXISTS (SELECT 1 FROM JSON_TABLE({column}, '$[*]' COLUMNS (node LONGTEXT"
        " CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$')) AS nodes"
        " WHERE nodes.node = %s)"
    ),
    "postgresql": "{column} @> %s::jsonb",
    "sqlite": "EXISTS (SELECT 1 FROM json_each({column}) WHERE value = %s)",
}
"""Per vendor the SQL that finds exactly one node in a column of nodes."""


def node_parameter(node: NodeKind, vendor: str) -> str:
    """Return the parameter that ``HOLDS_NODE`` takes."""
    return json.dumps([node.encoded]) if vendor == "postgresql" else node.encoded


class HoldsNode(models.Lookup):
    """``HoldsNode(F("ran_nodes"), node)``: exactly this node is among the column's."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, params = self.process_lhs(compiler, connection)
        sql = HOLDS_NODE[connection.vendor].format(column=column)
        return sql, (*params, node_parameter(as_node(self.rhs), connection.vendor))


class SessionQuerySet(models.QuerySet[Any]):
    """Sessions."""

    def newest_first(self) -> Self:
        """Order by the last update, newest first, ties by id."""
        return self.order_by("-updated_at", "id")

    def owned_by(self, owner: str | None) -> Self:
        """Narrow to the sessions of an owner; ``None`` means all."""
        return self.all() if owner is None else self.filter(owner=owner)

    def light(self) -> Self:
        """Leave the state out, which lists never read."""
        return self.defer("last_state", "last_versions_seen")

    def starting_with(self, prefix: str) -> Self:
        """Narrow to the ids that begin with some text, by a range of the key."""
        found = self.filter(id__gte=prefix)
        end = _after_prefix(prefix)
        return found if end is None else found.filter(id__lt=end)


class StepQuerySet(models.QuerySet[Any]):
    """Steps. Every query that leaves here names its session."""

    def ran(self, node: NodeKind | str) -> Self:
        """Narrow to the steps in which exactly this node ran."""
        return self.filter(HoldsNode(models.F("ran_nodes"), node))

    def skipped(self, node: NodeKind | str) -> Self:
        """Narrow to the steps in which exactly this node was skipped."""
        return self.filter(HoldsNode(models.F("skipped_nodes"), node))

    def light(self) -> Self:
        """Leave the state out, which lists never read."""
        return self.defer("state", "versions_seen")

    def of(self, session_id: str) -> Self:
        """Narrow to the steps of one session."""
        return self.filter(session_id=session_id)

    def took_part(self, node: NodeKind | str) -> Self:
        """Narrow to the steps in which exactly this node ran or was skipped."""
        ran, skipped = (HoldsNode(models.F(name), node) for name in ("ran_nodes", "skipped_nodes"))
        return self.filter(models.Q(ran) | models.Q(skipped))

    def with_previous(self) -> Self:
        """Give each step the number of the one before it in its session: ``previous``."""
        before = self.model._default_manager.filter(
            session_id=models.OuterRef("session_id"), step__lt=models.OuterRef("step")
        ).order_by("-step")
        return self.annotate(previous=models.Subquery(before.values("step")[:1]))

    def numbers(self) -> models.QuerySet[Any, int]:
        """Return the numbers of the steps, which the unique index holds."""
        return self.values_list("step", flat=True)

    def nearest(self, steps: Sequence[int]) -> list[int]:
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


def _after_prefix(prefix: str) -> str | None:
    """Return the first text, by code points, after all that begin with ``prefix``."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if following == 0xD800 else following)
