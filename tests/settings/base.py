"""Settings of the tests on every database; see `sqlite`, `postgres` and `mariadb`."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from example_project.database_url import parse_database_url
from weavegraph_checkpoints import conf
from weavegraph_checkpoints.serde.deltas import planning

BASE_DIR = Path(__file__).resolve().parent.parent.parent

SECRET_KEY = "tests"
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "weavegraph_checkpoints",
    "example_project.audit",
]

# The API is optional, and so are its tests: see CONTRIBUTING.md.
if find_spec("rest_framework"):
    INSTALLED_APPS += ["rest_framework", "rest_framework.authtoken", "drf_spectacular"]
    INSTALLED_APPS += ["drf_spectacular_sidecar"]
SPECTACULAR_SETTINGS = {"SWAGGER_UI_DIST": "SIDECAR", "SWAGGER_UI_FAVICON_HREF": "SIDECAR"}

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# The settings of docs/databases.md for a pool in transaction mode.
BEHIND_PGBOUNCER = {
    "CONN_MAX_AGE": 0,
    "DISABLE_SERVER_SIDE_CURSORS": True,
    "OPTIONS": {"prepare_threshold": None},
}


# Store states as changes from this size on, with many keyframes; see CONTRIBUTING.md.
if changes_from := os.environ.get("WEAVEGRAPH_TEST_CHANGES_FROM_BYTES"):
    conf.DEFAULT_CHANGES_FROM_BYTES = int(changes_from)
    planning.SMALL_DELTA_BYTES = 300
    planning.FREE_LINKS = planning.MAX_LINKS
    planning.MAX_IDLE_ROOTS = 2**31


def server_databases(variable: str, **test: Any) -> dict[str, dict[str, Any]]:
    """
    Return two databases on the server whose URL is in an environment variable.

    The database in the URL is not used: only `test_…` databases are created and dropped. Their
    names contain the id of the creating process, so that parallel runs use different databases;
    processes started by a test inherit the id, and so use the same databases.
    """
    url = os.environ.get(variable)
    if not url:
        raise ImproperlyConfigured(f"Set {variable} to test on this database; see CONTRIBUTING.")
    run = os.environ.setdefault("WEAVEGRAPH_TEST_RUN", str(os.getpid()))
    server = parse_database_url(url, base_dir=BASE_DIR)
    names = {alias: f"test_weavegraph_{run}_{alias}" for alias in ("default", "other")}
    return {
        alias: server | {"NAME": name, "TEST": {"NAME": name, **test}}
        for alias, name in names.items()
    }
