from __future__ import annotations

from weavegraph_checkpoints import ExtrasChannel, MessagesChannel, VersionedState
from weavegraph_checkpoints.admin.presenters.versions_seen import (
    MAX_CHANNELS,
    MAX_NODES,
    build_versions_seen,
)

STATE = VersionedState(messages=MessagesChannel(version=5), extra=ExtrasChannel(version=2))


def test_channels_of_the_state_come_first() -> None:
    seen = build_versions_seen({"a": {"other": 1, "extra": 2}, "b": {"messages": 5}}, STATE)
    assert seen.channels == (("messages", 5), ("extra", 2), ("other", None))


def test_a_node_that_has_seen_an_older_version_is_behind() -> None:
    seen = build_versions_seen({'Custom("plan")': {"messages": 4, "extra": 2, "other": 9}}, STATE)
    assert seen.rows == (('Custom("plan")', ((4, True), (2, False), (9, False))),)


def test_an_unseen_channel_has_no_version() -> None:
    seen = build_versions_seen({"a": {"messages": 5}, "b": {"extra": 1}}, STATE)
    assert seen.rows[0] == ("a", ((5, False), (None, False)))


def test_a_large_table_is_truncated() -> None:
    channels = {f"c{number}": number for number in range(MAX_CHANNELS + 7)}
    seen = build_versions_seen({f"n{number}": channels for number in range(MAX_NODES + 5)}, STATE)
    assert (len(seen.rows), len(seen.channels)) == (MAX_NODES, MAX_CHANNELS)
    assert (seen.hidden_nodes, seen.hidden_channels) == (5, 7)


def test_no_versions_make_an_empty_table() -> None:
    seen = build_versions_seen({}, STATE)
    assert (seen.rows, seen.channels) == ((), ())
