"""Databases, processes, table filling, Markdown and plots that the benchmarks share."""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import sqlite3
import tempfile
import textwrap
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from math import log
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

import django
from django.conf import settings
from django.db import connections, transaction

from example_project.database_url import parse_database_url
from weavegraph_checkpoints import Checkpoint

ROOT = Path(__file__).resolve().parent.parent
COLOURS = defaultdict(lambda: "#bc4c00", this="#0969da", bare="#8c959f", whole="#8250df")
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
SERVER_URLS = {"PostgreSQL": "TEST_POSTGRES_URL", "MariaDB": "TEST_MARIADB_URL"}
PACKAGES = ["msgspec", "psycopg", "mysqlclient", "djangorestframework"]
PACKAGES += ["langgraph-checkpoint", "opentelemetry-sdk"]
COPY_BATCH_SIZE = 5000

Databases = dict[str, dict[str, Any]]
"""Entries of ``DATABASES``; can be sent to another process."""


# Databases


def get_servers() -> list[str]:
    """Return SQLite, and each server whose URL is set."""
    return ["SQLite", *(name for name, url in SERVER_URLS.items() if os.environ.get(url))]


def build_database(server: str, folder: str, name: str) -> dict[str, Any]:
    """Return the settings of a database that the benchmark creates and drops."""
    if server in SERVER_URLS:
        database = parse_database_url(os.environ[SERVER_URLS[server]], base_dir=Path(folder))
        database["NAME"] = f"weavegraph_benchmark_{os.getpid()}_{name}".replace("-", "_")
    else:
        database = parse_database_url(f"sqlite:///{name}.sqlite3", base_dir=Path(folder))
    charset = "utf8mb4" if server == "MariaDB" else None
    return {**database, "TEST": {"NAME": database["NAME"], "CHARSET": charset}}


def configure(databases: Databases, **values: Any) -> None:
    """Set Django up; once per process."""
    settings.configure(
        **{
            "DATABASES": {"default": {}, **databases},
            "INSTALLED_APPS": ["weavegraph_checkpoints"],
            "USE_TZ": True,
            **values,
        }
    )
    django.setup()


@contextmanager
def temporary_databases(servers: Mapping[str, str], **values: Any) -> Iterator[Databases]:
    """Set Django up with an empty database per alias, and drop them at the end."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="weavegraph-benchmark-"))
        databases = {
            alias: build_database(server, folder, alias) for alias, server in servers.items()
        }
        configure(databases, **values)
        for alias in databases:
            connections[alias].creation._create_test_db(verbosity=0, autoclobber=True)
            stack.callback(drop_database, alias)
        yield databases


def drop_database(alias: str) -> None:
    """Drop a database."""
    connection = connections[alias]
    connection.close()
    connection.creation._destroy_test_db(connection.settings_dict["NAME"], verbosity=0)


def create_tables(alias: str) -> None:
    """Run the migrations."""
    from django.core.management import call_command

    call_command("migrate", database=alias, verbosity=0)
    connections[alias].close()


@contextmanager
def record_statements(alias: str) -> Iterator[list[tuple[str, Any]]]:
    """Record each statement that Django sends, with its parameters."""
    recorded: list[tuple[str, Any]] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        recorded.append((sql, params))
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(record):
        yield recorded


# Filling tables


def fill(
    alias: str,
    template: Sequence[Checkpoint],
    copies: Iterable[tuple[str, int]] = (),
    without_steps: Iterable[str] = (),
) -> None:
    """Replace the content of the tables with copies of a session, by plain SQL.

    Each copy is a session id and an offset that is added to the step numbers.
    """
    from weavegraph_checkpoints import triggers
    from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
    from weavegraph_checkpoints.models import Label, Session, Step

    connection, service, copies = connections[alias], DjangoCheckpointer(using=alias), list(copies)
    adapt, now = connection.ops.adapt_datetimefield_value, datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {Step._meta.db_table}")
        cursor.execute(f"DELETE FROM {Label._meta.db_table}")
        cursor.execute(f"DELETE FROM {Session._meta.db_table}")
    for checkpoint in template:
        service.save(checkpoint)
    sessions = (
        (
            session_id,
            adapt(now - timedelta(minutes=number)),
            offset + len(template),
            "finished" if number % 3 else "resumable",
            0 if number % 1000 else 2,
            "" if number % 10 else template[0].session_id,
        )
        for number, (session_id, offset) in enumerate(
            {**dict(copies), **dict.fromkeys(without_steps, 0)}.items()
        )
    )
    replaced = ("id", "updated_at", "last_step", "status", "last_error_count", "forked_from")
    triggers.remove(using=alias)
    with transaction.atomic(alias), connection.cursor() as cursor:
        sql = _build_copy(Session, "id", dict.fromkeys(replaced, "%s"))
        while batch := list(islice(sessions, COPY_BATCH_SIZE)):
            cursor.executemany(sql.format(template[0].session_id), batch)
        sql = _build_copy(Step, "session_id", {"session_id": "%s", "step": "step + %s"})
        cursor.executemany(sql.format(template[0].session_id), copies)
    service.delete_session(template[0].session_id)
    triggers.install(using=alias)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _build_copy(model: Any, key: str, replaced: Mapping[str, str]) -> str:
    columns = [field.column for field in model._meta.fields if field.column != "id" or key == "id"]
    selected = ", ".join(replaced.get(column, column) for column in columns)
    into = f"{model._meta.db_table} ({', '.join(columns)})"
    return f"INSERT INTO {into} SELECT {selected} FROM {model._meta.db_table} WHERE {key} = '{{}}'"


# Processes, memory and time


def run_alone(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a fresh process, and return what it returns."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


def get_resident_memory() -> int:
    """Return the bytes of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def get_peak_memory() -> int:
    """Return the most bytes of memory that this process has held since it began.

    ``getrusage`` would count what the process that started it held.
    """
    status = Path("/proc/self/status").read_text()
    kilobytes = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes[1]) * 1024 if kilobytes else 0


def time_call(call: Callable[[], Any]) -> float:
    """Return how many seconds a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def describe_machine() -> str:
    """Return the processor, the operating system, and the versions of Python and Django."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} "
        f"{platform.release().split('-')[0]}, Python {platform.python_version()}, "
        f"Django {django.__version__}"
    )


def describe_run() -> str:
    """Return the date, the machine, its load, and the versions of what is measured."""
    versions = [f"SQLite {sqlite3.sqlite_version}"]
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions.append(f"{package} {version(package)}")
    return textwrap.fill(
        f"Measured on {datetime.now(UTC):%Y-%m-%d} on {describe_machine()}; load"
        f" {os.getloadavg()[0]:.1f} at the start; {', '.join(versions)}.",
        width=100,
        break_on_hyphens=False,
    )


# Reports


def format_ms(seconds: float) -> str:
    """Return seconds as milliseconds with three significant digits."""
    value = seconds * 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.{1 if value >= 10 else 2}f}"


def format_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> str:
    """Return a Markdown table; all but the first ``texts`` columns are aligned right."""
    rules = ["---"] * texts + ["---:"] * (len(heads) - texts)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rules, *rows])


def write_section(path: Path, name: str, text: str) -> None:
    """Replace the text between ``<!-- name -->`` and ``<!-- /name -->`` in a file."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    _old, after = rest.split(end)
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def plot_bars(title: str, panels: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return an SVG with a bar for each median, in colours for light and dark pages."""
    parts, y = [], 20
    for head, bars in panels.items():
        parts.append(f'<text x="20" y="{y}" font-size="15">{escape(head)}</text>')
        scale = 600 / max(map(median, bars.values()))
        for label, seconds in bars.items():
            y += 22
            width, colour = median(seconds) * scale, COLOURS[label.split()[0]]
            parts += [
                f'<text x="30" y="{y}">{escape(label)}</text>',
                f'<rect x="230" y="{y - 12}" width="{width:.0f}" height="14" fill="{colour}" />',
                f'<text x="{236 + width:.0f}" y="{y}">{format_ms(median(seconds))}</text>',
            ]
        y += 34
    return _build_svg(title, y - 20, parts)


def plot_lines(title: str, panels: Mapping[str, Mapping[str, Mapping[int, float]]]) -> str:
    """Return an SVG with a line for each series, both axes logarithmic, one panel for each key.

    A series is a value for each number of steps; all values are above 0.
    """
    parts, height = [], 240
    for index, (head, lines) in enumerate(panels.items()):
        top = 20 + index * (height + 50)
        points = [(x, y) for line in lines.values() for x, y in line.items()]
        scale_x = _log_scale([x for x, _ in points], 70, 640)
        scale_y = _log_scale([y for _, y in points], top + height, top + 20)
        parts.append(f'<text x="20" y="{top}" font-size="15">{escape(head)}</text>')
        labels: list[tuple[float, float, str]] = []
        for name, line in lines.items():
            colour = COLOURS[name.split()[0]]
            at = [(scale_x(x), scale_y(y)) for x, y in sorted(line.items())]
            path = " ".join(f"{x:.0f},{y:.0f}" for x, y in at)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" />')
            parts += [f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{colour}" />' for x, y in at]
            labels.append((*at[-1], f"{name}: {line[max(line)]:.1f}"))
        parts += _place_labels(labels)
        for x in sorted({x for x, _ in points}):
            parts.append(f'<text x="{scale_x(x) - 10:.0f}" y="{top + height + 20}">{x:,}</text>')
    bottom = len(panels) * (height + 50) + 20
    return _build_svg(title, bottom, parts)


def _place_labels(labels: Sequence[tuple[float, float, str]]) -> Iterator[str]:
    """Yield the labels at the ends of lines, none over another."""
    lowest = 0.0
    for x, y, text in sorted(labels, key=itemgetter(1)):
        lowest = max(y + 4, lowest + 15)
        yield f'<text x="{x + 10:.0f}" y="{lowest:.0f}">{escape(text)}</text>'


def _log_scale(values: Sequence[float], start: float, stop: float) -> Callable[[float], float]:
    low, high = log(min(values)), log(max(values))
    return lambda value: start + (stop - start) * (log(value) - low) / ((high - low) or 1)


def _build_svg(title: str, height: int, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 {height}" role="img"'
    fonts = ' font-family="sans-serif" font-size="13" fill="#808080">'
    return "\n".join([head + fonts, f"<title>{escape(title)}</title>", *parts, "</svg>\n"])
