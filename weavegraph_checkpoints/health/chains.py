"""Verify that the keyframes of steps exist, and that their chains are unbroken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from weavegraph_checkpoints.backends.batching import batched
from weavegraph_checkpoints.health.sql import HealthStatements, KeyframeLink, StepHeader

BASES_BATCH_SIZE = 200
"""A chain has up to 129 keyframes."""


def find_broken_chains(
    statements: HealthStatements, headers: Iterable[StepHeader]
) -> list[tuple[StepHeader, str]]:
    """Return the steps whose keyframes are missing, or do not form a chain, and why.

    Steps that were replaced or deleted after ``headers`` were read are left out: so may their
    keyframes have been.
    """
    with_base = [header for header in headers if header.base_id is not None]
    broken = []
    for batch in batched(with_base, BASES_BATCH_SIZE):
        reasons = _find_reasons(statements, batch)
        for header in batch:
            reason = reasons.get(header.key)
            if reason is not None and statements.get_base_id(*header.key) == header.base_id:
                broken.append((header, reason))
    return broken


def _find_reasons(
    statements: HealthStatements, headers: Sequence[StepHeader]
) -> dict[tuple[str, int], str]:
    base_ids = sorted({header.base_id for header in headers if header.base_id is not None})
    owners: dict[int, str] = {}
    broken_at: dict[int, int] = {}
    chains = groupby(statements.get_chains(base_ids), lambda link: (link.session_id, link.root_id))
    for (session_id, _), links in chains:
        chain = list(links)
        end = _find_break(chain)
        for link in chain:
            owners[link.id] = session_id
            if end is not None and link.id <= end:
                broken_at[link.id] = end
    reasons = {}
    for header in headers:
        base_id = header.base_id or 0
        owner = owners.get(base_id)
        if owner is None:
            reasons[header.key] = f"keyframe {base_id} is missing"
        elif owner != header.session_id:
            reasons[header.key] = f"keyframe {base_id} is of session {owner!r}"
        elif base_id in broken_at:
            reasons[header.key] = f"the chain of keyframes is broken at {broken_at[base_id]}"
    return reasons


def _find_break(chain: Sequence[KeyframeLink]) -> int | None:
    """Return the first keyframe that does not follow the one before it, from the root on."""
    previous_id = None
    for link in chain:
        if link.previous_id != previous_id or (link.id == link.root_id) != (previous_id is None):
            return link.id
        previous_id = link.id
    return None
