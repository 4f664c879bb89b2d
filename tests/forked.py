"""Processes that share nothing with the tests but their databases, and start quickly."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext
from typing import Any

from django.db import connections


def processes() -> ForkServerContext:
    """Return a context whose processes are forked from one that has set Django up."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.service.worker"])
    return context


def use(database: dict[str, Any]) -> None:
    """In such a process, make a database the default one."""
    connections.settings["default"] = database
    connections["default"] = connections.create_connection("default")
