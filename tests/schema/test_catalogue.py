"""What the database's own catalogue says of the tables."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection

from tests.scratch import query
from tests.triggers.helpers import KEYFRAME, LABEL, SESSION, STEP
from weavegraph_checkpoints.models import Keyframe, Label, Session, Step

pytestmark = pytest.mark.django_db

IDS = {
    (SESSION, "id"),
    (SESSION, "owner"),
    (SESSION, "forked_from"),
    (STEP, "session_id"),
    (KEYFRAME, "session_id"),
    (LABEL, "session_id"),
    (LABEL, "value"),
}
STATES = {(SESSION, "last_state"), (STEP, "state"), (KEYFRAME, "state")}
BIG = {
    SESSION: ["last_frontier", "last_versions_seen", "last_state"],
    STEP: [
        "frontier",
        "ran_nodes",
        "skipped_nodes",
        "updated_channels",
        "versions_seen",
        "state",
    ],
    KEYFRAME: ["state"],
}


def columns(table: str) -> dict[str, tuple[str, str | None, bool]]:
    """Return type, collation and nullability of each column, in their order."""
    if connection.vendor == "sqlite":
        rows = query(connection, f"PRAGMA table_info({table})")
        return {name: (kind.lower(), None, not notnull) for _, name, kind, notnull, *_ in rows}
    schema = "DATABASE()" if connection.vendor == "mysql" else "current_schema()"
    kind = "column_type" if connection.vendor == "mysql" else "data_type"
    rows = query(
        connection,
        f"SELECT column_name, {kind}, collation_name, is_nullable FROM information_schema.columns"
        f" WHERE table_schema = {schema} AND table_name = %s ORDER BY ordinal_position",
        table,
    )
    return {name: (kind, collation, nullable == "YES") for name, kind, collation, nullable in rows}


def test_session_ids_are_255_characters_compared_byte_for_byte() -> None:
    expected = {
        "mysql": ("varchar(255)", "utf8mb4_nopad_bin"),
        "postgresql": ("character varying", "C"),
        "sqlite": ("varchar(255)", None),
    }[connection.vendor]
    for table, name in IDS:
        assert columns(table)[name][:2] == expected, name


@pytest.mark.vendor("postgresql")
def test_session_ids_hold_255_characters_on_postgresql() -> None:
    lengths = query(
        connection,
        "SELECT table_name, column_name, character_maximum_length"
        " FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND collation_name = 'C'",
    )
    assert set(lengths) == {(table, name, 255) for table, name in IDS} | {(LABEL, "key", 63)}


@pytest.mark.vendor("sqlite")
def test_session_ids_have_the_collation_binary_on_sqlite() -> None:
    for table, name in IDS:
        (sql,) = query(connection, "SELECT sql FROM sqlite_master WHERE name = %s", table)[0]
        assert re.search(f'"{name}" varchar\\(255\\)[^,]* COLLATE "?BINARY"?', sql)


def test_the_keys_of_labels_are_63_characters_compared_byte_for_byte() -> None:
    expected = {
        "mysql": ("varchar(63)", "utf8mb4_nopad_bin"),
        "postgresql": ("character varying", "C"),
        "sqlite": ("varchar(63)", None),
    }[connection.vendor]
    assert columns(LABEL)["key"][:2] == expected


def test_states_are_stored_without_a_check() -> None:
    expected = {
        "mysql": ("longtext", "utf8mb4_bin"),
        "postgresql": ("json", None),
        "sqlite": ("text", None),
    }[connection.vendor]
    for table, name in STATES:
        assert columns(table)[name][:2] == expected


def test_the_small_columns_are_ordinary_json() -> None:
    expected = {"mysql": "longtext", "postgresql": "jsonb", "sqlite": "text"}[connection.vendor]
    for table, names in BIG.items():
        for name in set(names) - {"state", "last_state"}:
            assert columns(table)[name][0] == expected


def checked_columns() -> set[str]:
    """Return the columns whose JSON the database checks."""
    if connection.vendor == "mysql":
        rows = query(
            connection,
            "SELECT check_clause FROM information_schema.check_constraints"
            " WHERE constraint_schema = DATABASE() AND table_name IN (%s, %s, %s)",
            SESSION,
            STEP,
            KEYFRAME,
        )
    else:
        rows = query(connection, "SELECT sql FROM sqlite_master WHERE type = 'table'")
    names = {name for big in BIG.values() for name in big}
    text = " ".join(sql for (sql,) in rows).lower().replace("`", '"')
    return {name for name in names if f'json_valid("{name}")' in text}


@pytest.mark.vendor("mysql", "sqlite")
def test_only_the_small_columns_are_checked() -> None:
    names = {name for big in BIG.values() for name in big}
    assert checked_columns() == names - {"state", "last_state"}


@pytest.mark.vendor("postgresql")
def test_states_are_compressed_with_lz4() -> None:
    rows = query(
        connection,
        "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE a.attcompression = 'l' AND c.relkind = 'r'",
    )
    assert set(rows) == STATES


@pytest.mark.parametrize("table", [SESSION, STEP, KEYFRAME])
def test_the_big_columns_come_last(table: str) -> None:
    assert list(columns(table))[-len(BIG[table]) :] == BIG[table]


def test_which_columns_may_be_null() -> None:
    nullable = {
        (table, name)
        for table in (SESSION, STEP, KEYFRAME, LABEL)
        for name, kind in columns(table).items()
        if kind[2]
    }
    assert nullable == {
        (SESSION, "last_message_count"),
        (SESSION, "last_error_count"),
        (SESSION, "last_state_bytes"),
        (SESSION, "last_base_id"),
        (SESSION, "forked_at_step"),
        (SESSION, "last_frontier"),
        (SESSION, "last_versions_seen"),
        (SESSION, "last_state"),
        (STEP, "base_id"),
        (STEP, "message_count"),
        (STEP, "error_count"),
        (STEP, "state_bytes"),
        (STEP, "updated_channels"),
        (KEYFRAME, "previous_id"),
    }


def indexes(table: str) -> dict[str, tuple[Any, ...]]:
    """Return columns, orders and uniqueness of every index, the primary key's included."""
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, table)
    return {
        name: (
            tuple(constraint["columns"]),
            tuple(constraint.get("orders") or ()),
            constraint["unique"] or constraint["primary_key"],
        )
        for name, constraint in constraints.items()
        if constraint["index"] or constraint["unique"] or constraint["primary_key"]
    }


def test_the_indexes_of_sessions_and_none_beyond() -> None:
    found = indexes(SESSION)
    assert found.pop("weavegraph_session_updated")[:2] == (("updated_at", "id"), ("DESC", "ASC"))
    assert found.pop("weavegraph_session_status")[:2] == (
        ("status", "updated_at"),
        ("ASC", "DESC"),
    )
    assert found.pop("weavegraph_session_owner")[:2] == (
        ("owner", "updated_at"),
        ("ASC", "DESC"),
    )
    if connection.features.supports_partial_indexes:
        for name in ("weavegraph_session_failed", "weavegraph_session_forked"):
            assert found.pop(name)[:2] == (("updated_at", "id"), ("DESC", "ASC"))
    assert {kind[0] for kind in found.values()} == {("id",)}
    assert all(kind[2] for kind in found.values())


def test_no_check_complains_of_the_indexes_with_a_condition() -> None:
    assert Session.check(databases=[connection.alias]) == []


def test_the_indexes_of_steps_and_none_beyond() -> None:
    found = indexes(STEP)
    assert found.pop("weavegraph_step_unique")[::2] == (("session_id", "step"), True)
    assert found.pop("weavegraph_step_created")[::2] == (("created_at",), False)
    assert sorted(kind[::2] for kind in found.values()) == [(("base_id",), False), (("id",), True)]


def test_the_indexes_of_keyframes_and_none_beyond() -> None:
    found = indexes(KEYFRAME)
    assert found.pop("weavegraph_keyframe_unique")[::2] == (("session_id", "root_id", "id"), True)
    assert {kind[0] for kind in found.values()} == {("id",), ("previous_id",)}
    assert all(kind[2] for kind in found.values())


def test_the_indexes_of_labels_and_none_beyond() -> None:
    found = indexes(LABEL)
    assert found.pop("weavegraph_label_unique")[::2] == (("session_id", "key"), True)
    assert found.pop("weavegraph_label_value")[::2] == (("key", "value", "session_id"), False)
    assert [kind[::2] for kind in found.values()] == [(("id",), True)]


@pytest.mark.vendor("postgresql")
def test_there_is_no_index_for_like() -> None:
    rows = query(
        connection,
        "SELECT indexdef FROM pg_indexes WHERE tablename IN (%s, %s, %s, %s)",
        SESSION,
        STEP,
        KEYFRAME,
        LABEL,
    )
    assert len(rows) == 16
    assert not any("_like" in definition or "_pattern_ops" in definition for (definition,) in rows)


def test_the_foreign_keys() -> None:
    with connection.cursor() as cursor:
        relations = connection.introspection.get_relations(cursor, STEP)
        keyframe_relations = connection.introspection.get_relations(cursor, KEYFRAME)
        label_relations = connection.introspection.get_relations(cursor, LABEL)
    assert relations["session_id"][:2] == ("id", SESSION)
    assert relations["base_id"][:2] == ("id", KEYFRAME)
    assert keyframe_relations["session_id"][:2] == ("id", SESSION)
    assert keyframe_relations["previous_id"][:2] == ("id", KEYFRAME)
    assert label_relations["session_id"][:2] == ("id", SESSION)


def test_keyframes_and_labels_have_no_permissions() -> None:
    assert not Permission.objects.filter(content_type__model__in=["keyframe", "label"]).exists()


def test_tables_and_models_have_django_s_default_names() -> None:
    assert (SESSION, STEP, KEYFRAME, LABEL) == (
        "weavegraph_checkpoints_session",
        "weavegraph_checkpoints_step",
        "weavegraph_checkpoints_keyframe",
        "weavegraph_checkpoints_label",
    )
    assert list(columns(SESSION)) == [field.column for field in Session._meta.concrete_fields]
    assert list(columns(KEYFRAME)) == [field.column for field in Keyframe._meta.concrete_fields]
    assert list(columns(LABEL)) == [field.column for field in Label._meta.concrete_fields]
    assert list(columns(STEP)) == [field.column for field in Step._meta.concrete_fields]


def test_a_row_of_sessions_by_sql_needs_few_columns() -> None:
    now = {"mysql": "UTC_TIMESTAMP(6)", "sqlite": "'2026-01-01'"}.get(connection.vendor, "now()")
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {SESSION} (id, created_at, updated_at) VALUES ('a', {now}, {now})"
        )
    session = Session.objects.get()
    assert (session.owner, session.concurrency_limit, session.forked_from) == ("", 1, "")
    assert (session.last_step, session.revision, session.status) == (0, 0, "empty")
