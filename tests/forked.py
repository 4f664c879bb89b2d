"""Processes that share nothing with the tests but their databases, and start quickly."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext


def processes() -> ForkServerContext:
    """Return a context whose processes are forked from one that has set Django up."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.service.worker"])
    return context
