from __future__ import annotations

from weavegraph_checkpoints import ExtrasChannel, MessagesChannel, VersionedState
from weavegraph_checkpoints.admin.presenters.versions_seen import (
    MAX_CHANNELS,
    MAX_NODES,
    build_versions_seen,
)

STATE = VersionedState(messages=MessagesChannel(version=5), extra=ExtrasChannel(version=2))


def test_channels_come_as_in_the_state_and_unknown_ones_last() -> None:
    seen = build_versions_seen({"a": {"other": 1, "extra": 2}, "b": {"messages": 5}}, STATE)
    assert seen.channels == (("messages", 5), ("extra", 2), ("other", None))


def test_a_node_that_saw_an_older_version_is_behind() -> None:
    seen = build_versions_seen({'Custom("plan")': {"messages": 4, "extra": 2, "other": 9}}, STATE)
    assert seen.rows == (('Custom("plan")', ((4, True), (2, False), (9, False))),)


def test_a_channel_never_seen_has_no_version() -> None:
    seen = build_versions_seen({"a": {"messages": 5}, "b": {"extra": 1}}, STATE)
    assert seen.rows[0] == ("a", ((5, False), (None, False)))


def test_a_large_matrix_is_cut() -> None:
    channels = {f"c{number}": number for number in range(MAX_CHANNELS + 7)}
    seen = build_versions_seen({f"n{number}": channels for number in range(MAX_NODES + 5)}, STATE)
    assert (len(seen.rows), len(seen.channels)) == (MAX_NODES, MAX_CHANNELS)
    assert (seen.hidden_nodes, seen.hidden_channels) == (5, 7)


def test_nothing_seen_is_an_empty_matrix() -> None:
    seen = build_versions_seen({}, STATE)
    assert (seen.rows, seen.channels) == ((), ())
