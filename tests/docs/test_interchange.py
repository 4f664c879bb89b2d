"""The page about interchange says what the code does."""

from __future__ import annotations

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.commands.runner import run
from tests.docs.markdown import ROOT, names, page, rows
from tests.docs.test_names import shape, written
from tests.interchange.crate_databases import REAL_FILE
from weavegraph_checkpoints import interchange
from weavegraph_checkpoints.interchange import crate, target
from weavegraph_checkpoints.interchange.sources import sqlite
from weavegraph_checkpoints.models import Session, Step

PAGE = page("interchange")


def test_the_functions_are_documented_with_their_parameters() -> None:
    documented = dict(written(row[0]) for row in rows(PAGE.section("From Python")))
    functions = {name: getattr(interchange, name) for name in interchange.__all__}
    assert documented == {
        name: shape(each) for name, each in functions.items() if name[0].islower()
    }
    for name in ("InvalidRow", "ImportResult", "ExportResult"):
        assert name in PAGE.text


def test_every_column_has_its_place() -> None:
    section = PAGE.section("Column mapping")
    sessions, steps = section.split("| crate, table `steps` |")
    for table, part, model in (
        ("sessions", sessions, Session),
        ("steps", f"| crate, table `steps` |{steps}", Step),
    ):
        lines = list(rows(part))
        theirs = {name for line in lines for name in names(line[0])}
        assert theirs == set(crate.TABLES[table])
        ours = {name for line in lines for name in names(line[1])}
        snapshot = {"last_step", "last_frontier", "last_versions_seen", "last_state"}
        columns = {field.column for field in model._meta.concrete_fields}
        assert ours == (columns - snapshot | {"last_…"} if model is Session else columns - {"id"})


def test_the_limits_are_those_of_the_code() -> None:
    text = " ".join(PAGE.text.split())
    assert f"document of up to {crate.MAX_LEVELS} levels" in text
    assert f"up to {sqlite.TIMEOUT_SECONDS:.0f} seconds" in text
    assert f"`{target.APPLICATION_ID:#x}`" in text
    assert (crate.MIN_INTEGER, crate.MAX_INTEGER) == (-(2**63), 2**64 - 1)
    assert "beyond −2^63 to 2^64−1" in text


def test_the_three_commands_are_those_of_the_project() -> None:
    first, second, third = PAGE.blocks[0].text.splitlines()
    assert first.startswith("$ make demo SERVE=no ")
    assert second.startswith("$ .venv/bin/python manage.py import_weavegraph ")
    assert ROOT / second.split()[-1] == REAL_FILE
    assert third.startswith("$ .venv/bin/python manage.py runserver ")


@pytest.mark.django_db(transaction=True)
def test_the_admin_shows_what_the_crate_wrote(client: Client) -> None:
    run("import_weavegraph", str(REAL_FILE))
    client.force_login(User.objects.create_superuser("ada"))
    listed = client.get(reverse("admin:weavegraph_checkpoints_session_changelist"))
    assert listed.status_code == 200
    assert "22 sessions" in listed.content.decode()
    for session_id in Session.objects.values_list("id", flat=True):
        url = reverse("admin:weavegraph_checkpoints_session_change", args=[quote(session_id)])
        assert client.get(url).status_code == 200, session_id
