"""The labels that the writers set, and whether those that are stored are the right ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.torture.journal import (
    MERGE_LABELS,
    REPLACE_LABELS,
    Call,
    Journal,
    is_superseded,
)
from weavegraph_checkpoints.models import Label

LABELLED = {MERGE_LABELS: "free/0", REPLACE_LABELS: "free/1"}
"""The session whose labels the calls of each kind set."""


def build_labels(slot: int, token: str) -> dict[str, str]:
    """Return the labels that a call sets."""
    return {f"slot-{slot}": token}


def find_label_faults(journal: Journal, using: str) -> Iterator[str]:
    """Check that each label is that of the last call, and that calls did not mix."""
    stored: dict[str, dict[str, str]] = defaultdict(dict)
    for session_id, key, value in Label.objects.using(using).values_list(
        "session_id", "key", "value"
    ):
        stored[session_id][key] = value
    merges = journal.labels[LABELLED[MERGE_LABELS]]
    for slot in {call.slot for call in merges}:
        of_slot = [call for call in merges if call.slot == slot]
        found = stored[LABELLED[MERGE_LABELS]].get(f"slot-{slot}")
        yield from _faults(LABELLED[MERGE_LABELS], {f"slot-{slot}": found}, of_slot)
    replacements = journal.labels[LABELLED[REPLACE_LABELS]]
    yield from _faults(LABELLED[REPLACE_LABELS], stored[LABELLED[REPLACE_LABELS]], replacements)
    for target, fork in journal.forks.items():
        if fork.session_id == LABELLED[REPLACE_LABELS] and stored[target]:
            yield from _mixture_faults(target, stored[target], replacements)


def _faults(session_id: str, stored: dict[str, str | None], calls: list[Call]) -> Iterator[str]:
    """Check that ``stored`` are the labels of a call that no acknowledged call followed."""
    tokens = set(stored.values()) - {None}
    by = next((call for call in calls if call.token in tokens and call.may_have_happened), None)
    if by is not None:
        yield from _mixture_faults(session_id, stored, calls)
    elif tokens:
        yield f"{session_id}: nobody set the labels {stored}"
    if is_superseded(by, calls):
        yield f"{session_id}: has the labels {stored}, and those of a later call are lost"


def _mixture_faults(
    session_id: str, stored: dict[str, str | None], calls: list[Call]
) -> Iterator[str]:
    sets = [build_labels(call.slot, call.token or "") for call in calls]
    if stored not in sets:
        yield f"{session_id}: no call set exactly the labels {stored}"
