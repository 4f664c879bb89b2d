"""Processes that share only the databases with the tests, and start quickly."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext
from typing import Any

from django.db import connections


def forkserver_context() -> ForkServerContext:
    """Return a multiprocessing context that forks processes with Django already set up."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.service.worker"])
    return context


def use_database(database: dict[str, Any]) -> None:
    """Make a database the default one in such a process."""
    connections.settings["default"] = database
    connections["default"] = connections.create_connection("default")
