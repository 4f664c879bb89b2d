"""Query sets of sessions, steps and labels."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
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
# A list without a backslash (CHAR(92)) contains a node as it is, in quotes.
_CONTAINS_PLAIN_NODE = (
    f"CASE WHEN INSTR({{column}}, CHAR(92)) THEN {_CONTAINS_NODE['mysql']}"
    """ ELSE INSTR({column}, CONCAT('"', %s, '"')) > 0 END"""
)
# In COALESCE no database makes a join of it, and PostgreSQL assumes that half of the rows match:
# a sorted page is then read by the index of its order.
_HAS_LABEL = (
    "(SELECT label.value FROM {table} AS label"
    " WHERE label.session_id = {session_id} AND label.key = %s) = %s"
)
_LABELLED = (
    "SELECT label.session_id FROM {table} AS label WHERE label.key = %s AND label.value = %s"
)
# PostgreSQL reads an array first, whatever the statistics say.
_IS_LABELLED = {
    "postgresql": f"{{session_id}} = ANY(ARRAY({_LABELLED}))",
    "sqlite": f"{{session_id}} IN ({_LABELLED})",
}
# UTF-8 has no surrogates: U+E000 follows U+D7FF.
_AFTER_SURROGATES = {0xD800: 0xE000}


def contains_node(vendor: str, column: str, node: NodeKind) -> tuple[str, list[str]]:
    """Return the condition that a column of nodes contains exactly a node, and its parameters."""
    encoded = node.encoded
    if vendor == "postgresql":
        return _CONTAINS_NODE[vendor].format(column=column), [json.dumps([encoded])]
    if vendor == "mysql" and json.dumps(encoded, ensure_ascii=False) == f'"{encoded}"':
        return _CONTAINS_PLAIN_NODE.format(column=column), [encoded, encoded]
    return _CONTAINS_NODE[vendor].format(column=column), [encoded]


class ContainsNode(models.Lookup):
    """``ContainsNode(F("ran_nodes"), node)``: the column contains exactly this node."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, params = self.process_lhs(compiler, connection)
        sql, parameters = contains_node(connection.vendor, column, as_node(self.rhs))
        return sql, (*params, *parameters)


def match_labels(
    vendor: str, table: str, session_id: str, labels: Mapping[str, str], rarest: str | None
) -> tuple[str, list[str]]:
    """Return the condition that a session has all of some labels, and its parameters.

    ``session_id`` is the column of its id, and ``table`` the table of labels. With ``rarest``,
    the key of a label that few sessions have, these sessions are found by an index. Otherwise
    the labels of each session are looked up, in whatever order the sessions are read.
    """
    names = {"table": table, "session_id": session_id}
    others = {key: value for key, value in labels.items() if key != rarest}
    matches = " AND ".join([_HAS_LABEL.format(**names)] * len(others))
    conditions = [f"COALESCE({matches}, FALSE)"] if others else []
    parameters = [text for label in others.items() for text in label]
    if rarest is not None:
        is_among = _IS_LABELLED.get(vendor, _IS_LABELLED["sqlite"])
        conditions.insert(0, is_among.format(**names))
        parameters = [rarest, labels[rarest], *parameters]
    return " AND ".join(conditions), parameters


class HasLabels(models.Lookup):
    """``HasLabels(F("pk"), (table, labels, rarest))``; see ``match_labels``."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, _params = self.process_lhs(compiler, connection)
        table, labels, rarest = self.rhs
        table = connection.ops.quote_name(table)
        sql, parameters = match_labels(connection.vendor, table, column, labels, rarest)
        return f"({sql})", tuple(parameters)


class LabelQuerySet(models.QuerySet[Any]):
    """Labels."""

    def get_by_natural_key(self, session_id: str, key: str) -> Any:
        """Return a label, for ``loaddata``."""
        return self.get(session=session_id, key=key)


class SessionQuerySet(models.QuerySet[Any]):
    """Sessions."""

    def newest_first(self) -> Self:
        """Order by last update, newest first, ties by id."""
        return self.order_by("-updated_at", "id")

    def owned_by(self, owner: str | None) -> Self:
        """Filter by owner; ``None`` means all sessions."""
        return self.all() if owner is None else self.filter(owner=owner)

    def with_id_prefix(self, prefix: str) -> Self:
        """Filter by the beginning of the id, byte for byte.

        This is a range of the primary key, which sorts by code point. On SQLite, ``LIKE``
        would be case-insensitive.
        """
        bounds = {"id__gte": prefix}
        stem = prefix.rstrip(chr(sys.maxunicode))
        if stem:
            following = ord(stem[-1]) + 1
            bounds["id__lt"] = stem[:-1] + chr(_AFTER_SURROGATES.get(following, following))
        return self.filter(**bounds) if prefix else self.all()

    def with_labels(self, labels: Mapping[str, str], *, rarest: str | None = None) -> Self:
        """Filter by labels, all of them; ``rarest`` is the key of one that few sessions have."""
        if not labels:
            return self.all()
        table = self.model._meta.get_field("labels").related_model._meta.db_table
        return self.filter(HasLabels(models.F("pk"), (table, labels, rarest)))

    def defer_state(self) -> Self:
        """Defer the state and ``versions_seen``, the large columns."""
        return self.defer("last_state", "last_versions_seen")


class StepQuerySet(models.QuerySet[Any]):
    """Steps. Filter by session: that is what the index serves."""

    def ran(self, node: NodeKind | str) -> Self:
        """Filter by a node that ran."""
        return self.filter(ContainsNode(models.F("ran_nodes"), node))

    def skipped(self, node: NodeKind | str) -> Self:
        """Filter by a node that was skipped."""
        return self.filter(ContainsNode(models.F("skipped_nodes"), node))

    def defer_state(self) -> Self:
        """Defer the state and ``versions_seen``, the large columns."""
        return self.defer("state", "versions_seen")

    def get_by_natural_key(self, session_id: str, step: int) -> Any:
        """Return the step without its state, for ``loaddata``."""
        return self.defer_state().get(session=session_id, step=step)

    def for_session(self, session_id: str) -> Self:
        """Filter by session."""
        return self.filter(session_id=session_id)

    def with_node(self, node: NodeKind | str) -> Self:
        """Filter by a node that ran or was skipped."""
        ran, skipped = (
            ContainsNode(models.F(name), node) for name in ("ran_nodes", "skipped_nodes")
        )
        return self.filter(models.Q(ran) | models.Q(skipped))

    def with_previous(self) -> Self:
        """Annotate each step with ``previous``, the number of the step before it."""
        before = self.model._default_manager.filter(
            session_id=models.OuterRef("session_id"), step__lt=models.OuterRef("step")
        ).order_by("-step")
        return self.annotate(previous=models.Subquery(before.values("step")[:1]))

    def step_numbers(self) -> models.QuerySet[Any, int]:
        """Return the step numbers, which the unique index covers."""
        return self.values_list("step", flat=True)

    def first_at_or_above(self, steps: Sequence[int]) -> list[int]:
        """Return the lowest step at or above each number, in one query.

        Each number costs an index lookup; pass a few dozen at most.
        """
        lookups = {
            f"at_{index}": models.Subquery(
                self.filter(step__gte=step).order_by("step").values("step")[:1]
            )
            for index, step in enumerate(steps)
        }
        rows = self.order_by("step").annotate(**lookups).values_list(*lookups)[:1]
        return sorted({step for row in rows for step in row if step is not None})
