from __future__ import annotations

from weavegraph_checkpoints import ExtrasChannel, MessagesChannel, VersionedState
from weavegraph_checkpoints.admin.presenters.versions_seen import MOST_CHANNELS, MOST_NODES, seen_of

STATE = VersionedState(messages=MessagesChannel(version=5), extra=ExtrasChannel(version=2))


def test_channels_come_as_in_the_state_and_unknown_ones_last() -> None:
    seen = seen_of({"a": {"other": 1, "extra": 2}, "b": {"messages": 5}}, STATE)
    assert seen.channels == (("messages", 5), ("extra", 2), ("other", None))


def test_a_node_that_saw_an_older_version_is_behind() -> None:
    seen = seen_of({'Custom("plan")': {"messages": 4, "extra": 2, "other": 9}}, STATE)
    (row,) = seen.rows
    assert row.node == 'Custom("plan")'
    assert [(cell.version, cell.is_behind) for cell in row.cells] == [
        (4, True),
        (2, False),
        (9, False),
    ]


def test_a_channel_never_seen_has_no_version() -> None:
    seen = seen_of({"a": {"messages": 5}, "b": {"extra": 1}}, STATE)
    assert [cell.version for cell in seen.rows[0].cells] == [5, None]
    assert not seen.rows[0].cells[1].is_behind


def test_a_large_matrix_is_cut() -> None:
    channels = {f"c{number}": number for number in range(MOST_CHANNELS + 7)}
    seen = seen_of({f"n{number}": channels for number in range(MOST_NODES + 5)}, STATE)
    assert (len(seen.rows), len(seen.channels)) == (MOST_NODES, MOST_CHANNELS)
    assert (seen.hidden_nodes, seen.hidden_channels) == (5, 7)


def test_nothing_seen_is_an_empty_matrix() -> None:
    seen = seen_of({}, STATE)
    assert (seen.rows, seen.channels) == ((), ())
