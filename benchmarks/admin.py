"""Measures every page of the admin at a million sessions and a history of 100 000 steps.

``make bench-admin`` fills a database of its own on SQLite, and on PostgreSQL when
``TEST_POSTGRES_URL`` is set, and writes the table into ``docs/admin.md``. The measure
beside each page is a page of the stock admin with two columns and ten rows, in the same
process. Each page is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.running import alone, machine, peak, write_between

PAGE = ROOT / "docs" / "admin.md"
MARKS = ("<!-- measured -->", "<!-- /measured -->")
SESSIONS, STEPS = 1_000_000, 100_000
"""How many the documented table is made with; ``--sessions`` and ``--steps`` try it with fewer."""
LONG = "the-long-one"
REPEATS = 15
PLAIN = "plain page: 2 columns, 10 rows"

STATE = (
    '{"messages":{"version":1,"items":[{"role":"user","content":"' + "x" * 1_800 + '"}]},'
    '"extra":{"version":1,"map":{"count":1}},"errors":{"version":1,"items":[]}}'
)
SMALL_STATE = STATE.replace("x" * 1_800, "hello")

NUMBERS = {
    "sqlite": "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count})"
    " SELECT n FROM c) AS numbers",
    "postgresql": "generate_series(1, {count}) AS numbers(n)",
}
BEFORE_NOW = {
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '-' || ({seconds}) || ' seconds')",
    "postgresql": "now() - ({seconds}) * interval '1 second'",
}


def configure(name: str, folder: str) -> None:
    """Set Django up on a database that the benchmark owns; once in a process."""
    import django
    from django.conf import settings

    from example_project.database_url import parse_database_url
    from tests.settings import base

    url = os.environ["TEST_POSTGRES_URL"] if name == "PostgreSQL" else "sqlite:///admin.sqlite3"
    database: dict[str, Any] = dict(parse_database_url(url, base_dir=Path(folder)))
    own = database["NAME"] if name == "SQLite" else "weavegraph_benchmark_admin"
    database |= {"NAME": own} if name == "SQLite" else {}
    database["TEST"] = {"NAME": own}
    values = {key: getattr(base, key) for key in dir(base) if key.isupper()}
    values |= {"DATABASES": {"default": database}, "ROOT_URLCONF": "benchmarks.admin"}
    settings.configure(**values, ALLOWED_HOSTS=["*"])
    django.setup()


def use_own(name: str, folder: str) -> None:
    """Set Django up, and point it at the database that was filled."""
    configure(name, folder)
    from django.db import connection

    connection.settings_dict["NAME"] = connection.settings_dict["TEST"]["NAME"]


def fill(name: str, folder: str, sessions: int, steps: int) -> None:
    """Make the database, its sessions, and one session of many steps."""
    configure(name, folder)
    from django.contrib.auth.models import Group, User
    from django.db import connection

    from benchmarks.loading import settle
    from weavegraph_checkpoints import triggers
    from weavegraph_checkpoints.backends.base import SESSION, STEP

    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    User.objects.create_superuser("root")
    Group.objects.bulk_create([Group(name=f"group {number}") for number in range(10)])
    numbers, age = NUMBERS[connection.vendor], BEFORE_NOW[connection.vendor]
    triggers.remove()
    with connection.cursor() as cursor:
        updated = age.format(seconds="n * 60")
        cursor.execute(
            f"INSERT INTO {SESSION} (id, owner, concurrency_limit, created_at, updated_at,"
            " last_step, revision, status, forked_from, last_message_count, last_error_count,"
            " last_state_bytes, last_frontier, last_versions_seen, last_state)"
            f" SELECT 'run-' || n, '', 1, {updated}, {updated}, 7, 7,"
            " CASE n %% 3 WHEN 0 THEN 'resumable' ELSE 'finished' END,"
            " CASE n %% 10 WHEN 0 THEN 'run-1' ELSE '' END, 1,"
            " CASE n %% 1000 WHEN 0 THEN 2 ELSE 0 END, 200, '[\"Custom:plan\"]', '{}', %s"
            f" FROM {numbers.format(count=sessions)}",
            [SMALL_STATE],
        )
        cursor.execute(
            f"INSERT INTO {SESSION} (id, owner, concurrency_limit, created_at, updated_at,"
            " last_step, revision, status, forked_from, last_message_count, last_error_count,"
            " last_state_bytes, last_frontier, last_versions_seen, last_state) VALUES"
            f" (%s, '', 1, {age.format(seconds='0')}, {age.format(seconds='0')}, %s, 1,"
            " 'resumable', '', 1, 3, 2000, '[\"Custom:plan\"]', '{}', %s)",
            [LONG, steps, STATE],
        )
        cursor.execute(
            f"INSERT INTO {STEP} (session_id, step, created_at, message_count, error_count,"
            " state_bytes, frontier, ran_nodes, skipped_nodes, versions_seen, state)"
            f" SELECT %s, n, {age.format(seconds=f'{steps} - n')}, 1,"
            f" CASE WHEN n > {steps} * 0.9 THEN 3 ELSE 0 END, 1900 + n %% 200,"
            ' \'["Custom:plan"]\', \'["Custom:plan", "Custom:act"]\', \'["Custom:review"]\','
            f' \'{{"Custom:plan": {{"messages": 1}}}}\', %s FROM {numbers.format(count=steps)}',
            [LONG, STATE],
        )
    triggers.install()
    settle(connection)


def drop(name: str, folder: str) -> None:
    """Drop the database."""
    configure(name, folder)
    from django.db import connection

    connection.creation._destroy_test_db(connection.settings_dict["TEST"]["NAME"], verbosity=0)


def pages(sessions: int, steps: int) -> dict[str, tuple[str, tuple[Any, ...], str]]:
    """Return what each page is, as its name, its arguments and its query."""
    middle = steps // 2
    last = min(sessions, 10_000) // 25
    return {
        "sessions": ("changelist", (), ""),
        "sessions, last page": ("changelist", (), f"p={last}"),
        "sessions, of a status": ("changelist", (), "status=resumable"),
        "sessions, with errors": ("changelist", (), "errors=yes"),
        "sessions, of the last week": ("changelist", (), "updated=week"),
        "sessions, forked": ("changelist", (), "forked=yes"),
        "sessions, of a status, with errors": ("changelist", (), "status=resumable&errors=yes"),
        "search: a whole id": ("changelist", (), f"q=run-{sessions // 2}"),
        "search: a beginning": ("changelist", (), "q=run-77"),
        "search: nothing": ("changelist", (), "q=nothing"),
        "steps, newest": ("change", (LONG,), ""),
        "steps, middle": ("change", (LONG,), f"before={middle}"),
        "steps, oldest": ("change", (LONG,), "before=50"),
        "steps of a frequent node": ("change", (LONG,), "node=act"),
        "steps of a node that is not there": ("change", (LONG,), "node=nobody"),
        "one step": ("step", (LONG, middle), ""),
        "compare": ("compare", (LONG,), f"from={middle - 1}&to={middle}"),
        "fork, the form": ("fork", (LONG,), ""),
        "delete, the question": ("delete", (LONG,), ""),
        "raw JSON of a step": ("raw", (LONG, middle), ""),
    }


def measure(
    name: str, folder: str, page: tuple[str, tuple[Any, ...], str]
) -> tuple[float, float, float]:
    """Measure one page beside the plain one: milliseconds of each, and megabytes more."""
    use_own(name, folder)
    from django.contrib.auth.models import User
    from django.test import Client
    from django.urls import reverse

    client = Client()
    client.force_login(User.objects.get(username="root"))
    plain_url = reverse("plain:auth_group_changelist")
    name_of_page, args, query = page
    path = reverse(f"admin:weavegraph_checkpoints_session_{name_of_page}", args=args)
    url = f"{path}?{query}" if query else path
    for _ in range(2):
        _took(client, plain_url)
    before = peak()
    times = [(_took(client, plain_url), _took(client, url)) for _ in range(REPEATS + 2)][2:]
    plain, took = (statistics.median(each) for each in zip(*times, strict=True))
    return took, plain, (peak() - before) / 1e6


def _took(client: Any, url: str) -> float:
    gc.collect()
    began = time.perf_counter()
    response = client.get(url)
    took = (time.perf_counter() - began) * 1000
    if response.status_code != 200:
        raise SystemExit(f"{url}: {response.status_code}")
    return took


def lines(databases: list[str], folder: str, sessions: int, steps: int) -> Iterator[str]:
    """Yield the lines of the table."""
    measured: dict[str, dict[str, tuple[float, float, float]]] = {}
    for database in databases:
        sys.stderr.write(f"{database}: filling\n")
        alone(fill, database, folder, sessions, steps)
        try:
            measured[database] = {}
            for name, page in pages(sessions, steps).items():
                measured[database][name] = alone(measure, database, folder, page)
                sys.stderr.write(f"{database}: {name}: {measured[database][name]}\n")
        finally:
            alone(drop, database, folder)
    heads = [f"{name}, ms | × plain | MB more" for name in databases]
    yield f"| page | {' | '.join(heads)} |"
    yield "|---|" + "--:|--:|--:|" * len(databases)
    plains = {
        name: statistics.median(plain for _took, plain, _more in rows.values())
        for name, rows in measured.items()
    }
    cells = [f"{plains[name]:.1f} | 1.0 | 0" for name in databases]
    yield f"| {PLAIN} | {' | '.join(cells)} |"
    for page in measured[databases[0]]:
        cells = [
            f"{took:.1f} | {took / plain:.1f} | {more:.0f}"
            for took, plain, more in (measured[name][page] for name in databases)
        ]
        yield f"| {page} | {' | '.join(cells)} |"


def main() -> None:
    """Measure, and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--print", action="store_true", help="print the table, write nothing")
    options = parser.parse_args()
    databases = ["SQLite"] + ["PostgreSQL"] * bool(os.environ.get("TEST_POSTGRES_URL"))
    about = machine(f"medians of {REPEATS}")
    with tempfile.TemporaryDirectory() as folder:
        table = "\n".join(lines(databases, folder, options.sessions, options.steps))
    text = f"\n{about}\n\n{table}\n"
    if options.print:
        sys.stdout.write(text)
        return
    write_between(PAGE, *MARKS, text)


def __getattr__(name: str) -> Any:
    """Give the URLs once Django is set up: this module is the root of them."""
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.contrib import admin
    from django.contrib.auth.models import Group
    from django.urls import path

    class PlainGroups(admin.ModelAdmin):  # type: ignore[type-arg]
        list_display = ("id", "name")

    plain = admin.AdminSite(name="plain")
    plain.register(Group, PlainGroups)
    patterns = [path("plain/", plain.urls), path("admin/", admin.site.urls)]
    globals()["urlpatterns"] = patterns
    return patterns


if __name__ == "__main__":
    main()
