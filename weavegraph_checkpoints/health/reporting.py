"""Trace a verification, and log what it finds."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints import telemetry
from weavegraph_checkpoints.health.findings import Finding

logger = logging.getLogger("weavegraph_checkpoints.health")


@telemetry.traced_iterator("verify")
def report(connection: BaseDatabaseWrapper, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield the findings of a verification, and log each of them.

    The level is INFO, because the caller gets them too: ``check_checkpoints`` prints them.
    """
    telemetry.set_database(connection)
    for finding in findings:
        _log(finding, connection.alias)
        yield finding


def _log(finding: Finding, alias: str) -> None:
    # The detail may quote a key of a state.
    extra = {
        "problem": finding.problem,
        "session_id": finding.session_id,
        "step": finding.step,
        "repaired": finding.repaired,
        "database": alias,
    }
    if finding.session_id is None:
        logger.info("Found %s on %r", finding.problem, alias, extra=extra)
    else:
        logger.info(
            "Found %s in session %r on %r", finding.problem, finding.session_id, alias, extra=extra
        )
