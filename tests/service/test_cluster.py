"""What a node of a Galera cluster is asked; tests/torture has a cluster."""

from __future__ import annotations

import pytest
from django.db import connections

from tests.builders import save_history
from tests.service.statements import captured
from weavegraph_checkpoints.backends import mariadb
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Label

pytestmark = pytest.mark.vendor("mysql")


@pytest.fixture
def checkpointer(committed: None, monkeypatch: pytest.MonkeyPatch) -> DjangoCheckpointer:
    monkeypatch.delitem(mariadb._cluster_nodes, connections["default"], raising=False)
    checkpointer = DjangoCheckpointer()
    save_history(checkpointer, "session", [1])
    return checkpointer


def test_a_connection_is_asked_once_whether_it_is_to_a_node(
    checkpointer: DjangoCheckpointer,
) -> None:
    questions = []
    for value in ("1", "2"):
        with captured() as found:
            checkpointer.set_labels("session", {"key": value})
        questions.append(sum("wsrep_on" in sql for sql in found.statements))
        assert not any("''" in sql for sql in found.statements)
    assert questions == [1, 0]


def test_on_a_node_changes_of_labels_write_a_common_key(
    checkpointer: DjangoCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mariadb._cluster_nodes, connections["default"], True)
    with captured() as found:
        assert checkpointer.set_labels("session", {"key": "value"}) == {"key": "value"}
    lock, insert, delete, *_ = found.statements
    assert lock.endswith("FOR UPDATE")
    assert insert.startswith("INSERT INTO weavegraph_checkpoints_label")
    assert "('session', '', '')" in insert
    assert delete.endswith("WHERE session_id = 'session' AND `key` = ''")
    assert list(Label.objects.values_list("session_id", "key", "value")) == [
        ("session", "key", "value")
    ]
