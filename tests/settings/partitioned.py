"""PostgreSQL with the steps and keyframes in partitions, by the SQL of docs/scale-out.md."""

from __future__ import annotations

from tests.settings.postgres import *  # noqa: F403

WEAVEGRAPH_TEST_PARTITIONED = True
