"""Verify that the keyframes of steps exist, and that their chains are unbroken."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby

from weavegraph_checkpoints.backends.batching import batched
from weavegraph_checkpoints.backends.rows import StepKey
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
) -> dict[StepKey, str]:
    wanted = sorted({(header.session_id, header.base_id or 0) for header in headers})
    bases: dict[str, list[int]] = defaultdict(list)
    for session_id, base_id in wanted:
        bases[session_id].append(base_id)
    breaks: dict[tuple[str, int], int | None] = {}
    chains = groupby(statements.get_chains(bases), lambda link: (link.session_id, link.root_id))
    for (session_id, _), links in chains:
        chain = list(links)
        end = _find_break(chain)
        for link in chain:
            is_broken = end is not None and link.id <= end
            breaks[session_id, link.id] = end if is_broken else None
    missing = [base_id for session_id, base_id in wanted if (session_id, base_id) not in breaks]
    owners = statements.get_owners(missing) if missing else {}
    reasons = {}
    for header in headers:
        base_id = header.base_id or 0
        base = header.session_id, base_id
        if base in breaks:
            if breaks[base] is not None:
                reasons[header.key] = f"the chain of keyframes is broken at {breaks[base]}"
        elif base_id in owners:
            reasons[header.key] = f"keyframe {base_id} is of session {owners[base_id]!r}"
        else:
            reasons[header.key] = f"keyframe {base_id} is missing"
    return reasons


def _find_break(chain: Sequence[KeyframeLink]) -> int | None:
    """Return the first keyframe that does not follow the one before it, from the root on."""
    previous_id = None
    for link in chain:
        if link.previous_id != previous_id or (link.id == link.root_id) != (previous_id is None):
            return link.id
        previous_id = link.id
    return None
