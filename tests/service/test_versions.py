"""The version of a session's latest checkpoint, and pages of steps without their states."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from asgiref.sync import async_to_sync

from tests.builders import save_history
from tests.service.statements import captured
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.django_db


def test_the_version_changes_on_every_save() -> None:
    checkpointer, versions = DjangoCheckpointer(), []
    for step in (1, 1, 3, 2):
        checkpointer.save(a_checkpoint("a", step))
        version = checkpointer.load_version("a")
        assert version is not None
        latest = checkpointer.load_latest("a")
        assert checkpointer.load_latest_with_version("a") == (latest, version)
        versions.append((version.created_at, version.revision))
    assert len(set(versions)) == len(versions)
    row = Session.objects.get()
    assert versions[-1] == (row.created_at, row.revision)


def test_a_session_that_is_created_again_has_another_version() -> None:
    checkpointer, versions = DjangoCheckpointer(), []
    for _ in range(10):
        checkpointer.save(a_checkpoint("a", 1))
        Session.objects.update(created_at=datetime(2026, 1, 1, tzinfo=UTC))
        version = checkpointer.load_version("a")
        assert version is not None
        assert checkpointer.load_latest_with_version("a") == (
            checkpointer.load_latest("a"),
            version,
        )
        versions.append((version.created_at, version.revision, version.newest_step_id))
        checkpointer.delete_session("a")
    assert len(set(versions)) == len(versions)


def test_only_the_version_reads_the_steps() -> None:
    checkpointer = DjangoCheckpointer()
    checkpointer.save(a_checkpoint("a", 1))
    with captured() as found:
        checkpointer.load_latest("a")
        checkpointer.load_latest_with_version("a")
        checkpointer.load_version("a")
    assert len(found.statements) == 3
    assert [Step._meta.db_table in sql for sql in found.statements] == [False, True, True]


@pytest.mark.parametrize("session_id", ["missing", "empty", "", "a\0", "x" * 256])
def test_no_checkpoint_has_no_version(session_id: str) -> None:
    Session.objects.create(id="empty")
    assert DjangoCheckpointer().load_version(session_id) is None
    assert DjangoCheckpointer().load_latest_with_version(session_id) is None


def test_the_version_of_a_session_of_another_owner() -> None:
    DjangoCheckpointer(owner="ann").save(a_checkpoint("a", 1))
    assert DjangoCheckpointer(owner="ann").load_version("a") is not None
    assert DjangoCheckpointer(owner="bob").load_version("a") is None
    assert DjangoCheckpointer(owner="bob").load_latest_with_version("a") is None


FIELDS = ("step", "frontier")


def test_a_page_without_states() -> None:
    checkpointer = DjangoCheckpointer()
    history = save_history(checkpointer, "a", range(3))
    with captured() as found:
        page = checkpointer.query_steps("a", fields=FIELDS)
    assert [each.step for each in page.checkpoints] == [2, 1, 0]
    assert all(each.state == VersionedState() for each in page.checkpoints)
    assert all(each.ran_nodes == () for each in page.checkpoints)
    assert [each.frontier for each in page.checkpoints] == [each.frontier for each in history[::-1]]
    assert len(found.statements) == 2
    assert not any("last_state" in sql for sql in found.statements)


@pytest.mark.django_db(transaction=True)
def test_the_async_methods() -> None:
    checkpointer = DjangoCheckpointer()
    checkpointer.save(a_checkpoint("a", 1))
    assert async_to_sync(checkpointer.aload_version)("a") == checkpointer.load_version("a")
    latest = checkpointer.load_latest_with_version("a")
    assert async_to_sync(checkpointer.aload_latest_with_version)("a") == latest
    page = async_to_sync(checkpointer.aquery_steps)("a", fields=FIELDS)
    assert page == checkpointer.query_steps("a", fields=FIELDS)
