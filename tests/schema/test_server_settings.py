"""Settings of a connection or a server that change the meaning of SQL do not change ours.

Those that do have a system check: see ``tests/checks``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.builders import save_history, wrong_snapshots
from tests.scratch import migrate
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import NodeKind, StepQuery, VersionedState, health, pruning
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.health import stats
from weavegraph_checkpoints.models import Session, Step

ALIAS = "scratch"
TEXT = "a\\b 'c' \"d\" \\u0041 {0} % %s ünï 😀\x01"
STATE = VersionedState.new(extra={"k\\1": {"a": [1, "x\\y"], "b": 1e23}, TEXT: TEXT})
STAMPS = (
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    datetime(2026, 3, 29, 2, 30, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
)

POSTGRESQL = {
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "default_transaction_isolation": "serializable",
    "datestyle": "ISO,DMY",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "timezone": "Asia/Kolkata",
    "row_security": "off",
    "search_path": '"$user",public,pg_temp',
    "lc_messages": "C",
    "lc_numeric": "C",
    "client_encoding": "LATIN1",
    "default_transaction_deferrable": "on",
    "enable_indexscan": "off",
    "extra_float_digits": "-5",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "xmloption": "document",
    "array_nulls": "off",
    "check_function_bodies": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit_above_cost": "0",
    "escape_string_warning": "on",
    "lo_compat_privileges": "on",
    "default_text_search_config": "simple",
    "default_tablespace": "",
    "default_toast_compression": "pglz",
    "session_replication_role": "origin",
    "statement_timeout": "60000",
    "idle_in_transaction_session_timeout": "60000",
}
MODES = ("", "ANSI", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "TRADITIONAL", "MSSQL")
MARIADB = [
    *(f"sql_mode = '{mode}'" for mode in MODES),
    "sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,HIGH_NOT_PRECEDENCE,PIPES_AS_CONCAT,REAL_AS_FLOAT'",
    "sql_mode = 'ONLY_FULL_GROUP_BY,NO_UNSIGNED_SUBTRACTION,NO_AUTO_VALUE_ON_ZERO,IGNORE_SPACE'",
    "sql_mode = 'TIME_ROUND_FRACTIONAL,SIMULTANEOUS_ASSIGNMENT,STRICT_TRANS_TABLES'",
    "sql_safe_updates = 1",
    "max_statement_time = 60",
    "group_concat_max_len = 4",
    "innodb_strict_mode = 0",
    "autocommit = 0",
    "time_zone = '+05:30'",
    "sql_auto_is_null = 1",
    "completion_type = 0",
    "optimizer_switch = 'derived_merge=off,mrr=off,semijoin=off'",
    "sql_select_limit = 18446744073709551615",
    "div_precision_increment = 0",
    "character_set_results = utf8mb4",
    "collation_connection = utf8mb4_turkish_ci",
    "collation_connection = utf8mb4_bin",
    "lc_time_names = 'de_DE'",
    "tx_isolation = 'SERIALIZABLE'",
    "unique_checks = 0",
    "foreign_key_checks = 0",
    "storage_engine = 'InnoDB'",
    "explicit_defaults_for_timestamp = 0",
    "old_mode = ''",
    "standard_compliant_cte = 0",
]
SQLITE = [
    "foreign_keys = OFF",
    "case_sensitive_like = ON",
    "recursive_triggers = ON",
    "ignore_check_constraints = ON",
    "reverse_unordered_selects = ON",
    "defer_foreign_keys = ON",
    "legacy_alter_table = ON",
    "secure_delete = ON",
    "auto_vacuum = FULL",
    "temp_store = MEMORY",
    "journal_mode = TRUNCATE",
    "locking_mode = NORMAL",
    "cell_size_check = ON",
    "automatic_index = OFF",
    "full_column_names = ON",
    "short_column_names = OFF",
    "empty_result_callbacks = ON",
]


def use_everything(scratch: BaseDatabaseWrapper) -> None:
    """Migrate, save, load, query, fork, repair, measure, prune and delete."""
    migrate(scratch)
    checkpointer = DjangoCheckpointer(ALIAS)
    for step, stamp in enumerate(STAMPS, 1):
        saved = a_checkpoint(
            "s \\ 'a' \"b\" é😀",
            step,
            state=STATE,
            created_at=stamp,
            ran_nodes=[TEXT, "plain"],
            versions_seen={TEXT: {TEXT: 2**64 - 1}},
        )
        if step == 2:
            checkpointer.save_with_concurrency_check(saved, 1)
            checkpointer.save_with_concurrency_check(saved, None, replace=True)
        else:
            checkpointer.save(saved)
        assert checkpointer.load(saved.session_id, step) == saved
        latest = checkpointer.load_latest(saved.session_id)
        assert latest is not None
        assert (latest.state, latest.versions_seen) == (saved.state, saved.versions_seen)
        assert abs(datetime.now(UTC) - latest.created_at) < timedelta(minutes=5)
    for node in (TEXT, "plain"):
        page = checkpointer.query_steps(
            saved.session_id, StepQuery(ran_node=NodeKind.custom(node), limit=2, offset=1)
        )
        assert (page.page_info.total_count, page.page_info.page_size) == (4, 2)
    for lookup in (
        {"state__extra__map__k\\1__a__0": 1},
        {"state__extra__map__k\\1__a__1": "x\\y"},
        {"state__extra__map__k\\1__b__gt": 1e22},
        {"state__extra__map__k\\1__b__isnull": False},
    ):
        assert Step.objects.using(ALIAS).filter(**lookup).count() == 4, lookup
    assert checkpointer.fork_session(saved.session_id, "fork").step == 4
    save_history(checkpointer, "other", range(1, 6))
    assert checkpointer.list_sessions() == ["other", "fork", saved.session_id]
    assert Session.objects.using(ALIAS).with_id_prefix("s \\").count() == 1
    assert wrong_snapshots(ALIAS) == []
    assert list(health.verify(using=ALIAS, deep=True, repair=True)) == []
    Session.objects.using(ALIAS).filter(pk="fork").update(status="empty", last_step=0)
    repaired = list(health.verify(using=ALIAS, repair=True))
    assert repaired
    assert all(finding.repaired for finding in repaired)
    assert stats.collect(using=ALIAS).steps == 13
    policies = (
        RetentionPolicy(keep_last=3),
        RetentionPolicy(keep_last=1, older_than=timedelta(days=9)),
        RetentionPolicy(delete_inactive=timedelta(0), session_ids=["fork"]),
    )
    for policy in policies:
        counted = pruning.prune(policy, using=ALIAS, dry_run=True)
        pruned = pruning.prune(policy, using=ALIAS)
        assert (pruned.steps, pruned.sessions) == (counted.steps, counted.sessions)
        assert pruned.steps > 0
    assert wrong_snapshots(ALIAS) == []
    assert checkpointer.delete_session(saved.session_id)
    assert checkpointer.list_sessions() == ["other"]


def reopen(scratch: BaseDatabaseWrapper, **options: Any) -> None:
    scratch.close()
    scratch.settings_dict["OPTIONS"].update(options)
    connections[ALIAS].__dict__.pop("timezone", None)


@pytest.mark.vendor("postgresql")
@pytest.mark.parametrize("name", POSTGRESQL)
def test_postgresql(empty_scratch: BaseDatabaseWrapper, name: str) -> None:
    value = POSTGRESQL[name].replace("\\", "\\\\").replace(" ", "\\ ")
    reopen(empty_scratch, options=f"-c {name}={value}")
    use_everything(empty_scratch)


@pytest.mark.vendor("mysql")
@pytest.mark.parametrize("setting", MARIADB)
def test_mariadb(empty_scratch: BaseDatabaseWrapper, setting: str) -> None:
    reopen(empty_scratch, init_command=f"SET SESSION {setting}")
    use_everything(empty_scratch)


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize("setting", SQLITE)
def test_sqlite(empty_scratch: BaseDatabaseWrapper, setting: str) -> None:
    before = empty_scratch.settings_dict["OPTIONS"].get("init_command", "")
    reopen(empty_scratch, init_command=f"PRAGMA {setting}; {before}")
    use_everything(empty_scratch)
