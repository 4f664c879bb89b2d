"""The attributes of spans and metrics, by OpenTelemetry's conventions."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints.domain import Checkpoint
from weavegraph_checkpoints.domain.limits import MAX_STEP, is_integer, is_session_id

SESSION_ID = "weavegraph.session.id"
FORK_ID = "weavegraph.fork.session.id"
STEP = "weavegraph.step"
STATE_BYTES = "weavegraph.state.bytes"
ROWS = "weavegraph.rows"
RETRIES = "weavegraph.retries"
DRY_RUN = "weavegraph.dry_run"
OPERATION = "weavegraph.operation"
DB_SYSTEM = "db.system.name"
DB_NAMESPACE = "db.namespace"
ERROR_TYPE = "error.type"

_SYSTEMS = {"mysql": "mariadb"}
_ID_PARAMETERS = {"session_id": SESSION_ID, "source_id": SESSION_ID, "target_id": FORK_ID}
_PARAMETERS = {*_ID_PARAMETERS, "step", "checkpoint", "dry_run"}


def get_database_attributes(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Return the attributes of a database; of SQLite the name of the file, not its path."""
    return _get_database_attributes(connection.vendor, str(connection.settings_dict["NAME"] or ""))


@lru_cache(maxsize=256)
def _get_database_attributes(vendor: str, name: str) -> dict[str, str]:
    system = _SYSTEMS.get(vendor, vendor)
    return (
        {DB_SYSTEM: system, DB_NAMESPACE: os.path.basename(name)} if name else {DB_SYSTEM: system}
    )


def get_error_type(error: BaseException) -> str:
    """Return the qualified name of the class of an exception."""
    cls = type(error)
    module = cls.__module__
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


def get_positions(function: Callable[..., Any]) -> dict[str, int]:
    """Return the positions of the parameters that become attributes."""
    names = enumerate(inspect.signature(function).parameters)
    return {name: position for position, name in names if name in _PARAMETERS}


def get_attributes(
    positions: dict[str, int], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return the attributes of valid arguments."""
    attributes: dict[str, Any] = {}
    for name, position in positions.items():
        value = args[position] if position < len(args) else kwargs.get(name)
        if isinstance(value, Checkpoint):
            attributes[SESSION_ID], attributes[STEP] = value.session_id, value.step
        elif name == "step" and is_integer(value, MAX_STEP):
            attributes[STEP] = value
        elif name == "dry_run" and value:
            attributes[DRY_RUN] = True
        elif name in _ID_PARAMETERS and is_session_id(value):
            attributes[_ID_PARAMETERS[name]] = value
    return attributes
