"""Convert DATABASE_URL to an entry of DATABASES, with the options that keep checkpoints safe."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

ENGINES = {
    "sqlite": "django.db.backends.sqlite3",
    "postgres": "django.db.backends.postgresql",
    "postgresql": "django.db.backends.postgresql",
    "mysql": "django.db.backends.mysql",
    "mariadb": "django.db.backends.mysql",
}

SAFE_OPTIONS: dict[str, dict[str, Any]] = {
    "django.db.backends.sqlite3": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=FAST"
        ),
    },
    "django.db.backends.postgresql": {
        "options": "-c synchronous_commit=on",
        "prepare_threshold": 5,
    },
    "django.db.backends.mysql": {
        "charset": "utf8mb4",
        "isolation_level": "read committed",
        "init_command": "SET sql_mode='STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'",
    },
}


def parse_database_url(url: str, *, base_dir: Path) -> dict[str, Any]:
    """
    Return the Django settings for one database.

    `sqlite:///name.sqlite3` is relative to `base_dir`, `sqlite:////var/lib/name.sqlite3` is
    absolute; a server is `postgres://user:password@host:port/name` or `mariadb://…`. User,
    password and name may be percent-encoded. The query string is merged into OPTIONS and
    overrides the safe defaults.
    """
    parts = _split(url)
    engine = ENGINES[parts.scheme]
    options = {key: int(text) if text.isdecimal() else text for key, text in _query(parts)}
    name = unquote(parts.path.removeprefix("/"))
    if not name:
        raise ImproperlyConfigured(f"The {parts.scheme} database URL has no database name.")
    database: dict[str, Any] = {"ENGINE": engine, "OPTIONS": SAFE_OPTIONS[engine] | options}
    if parts.scheme == "sqlite":
        database["NAME"] = name if name == ":memory:" else str(base_dir / name)
        return database
    return database | {
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
    }


def _split(url: str) -> SplitResult:
    """Split the URL. Error messages never repeat it, because it may contain a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ImproperlyConfigured(
            "The database URL has an invalid host or port; "
            "percent-encode special characters in the user and the password."
        ) from None
    if parts.scheme not in ENGINES:
        raise ImproperlyConfigured(
            f"A database URL starts with one of {', '.join(f'{name}://' for name in ENGINES)}."
        )
    if parts.fragment:
        raise ImproperlyConfigured("Write # as %23 in a database URL.")
    if parts.scheme == "sqlite" and parts.netloc:
        raise ImproperlyConfigured("Write sqlite:///name.sqlite3, with three slashes.")
    return parts


def _query(parts: SplitResult) -> list[tuple[str, str]]:
    try:
        return parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ImproperlyConfigured("Write the options of a database URL as ?name=value&…") from None
