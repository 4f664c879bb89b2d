"""``latest/``: ETags and conditional requests."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from django.test import Client

from tests.api.clients import session_url, step_url
from tests.api.queries import capture_app_queries
from tests.builders import save_history
from tests.strategies import a_checkpoint
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

LATEST = session_url("a", "latest/")


def latest(client: Client, known: str | None = None, **headers: str) -> Any:
    if known is not None:
        headers["If-None-Match"] = known
    return client.get(LATEST, headers=headers)


def test_the_headers(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", [1])
    row = Session.objects.get()
    answer = latest(api)
    microseconds = (row.created_at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 10**6
    start = f'"{round(microseconds):x}-{row.revision:x}-'
    assert re.fullmatch(re.escape(start) + '[0-9a-f]{16}"', answer["ETag"])
    assert answer["Cache-Control"] == "private, no-cache"
    assert "Last-Modified" not in answer
    assert "Cookie" in answer["Vary"]
    assert "Accept" in answer["Vary"]


def test_304_reads_no_state(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", [1])
    fresh = latest(api)
    answer, statements = capture_app_queries(lambda: latest(api, fresh["ETag"]))
    assert (answer.status_code, answer.content) == (304, b"")
    for header in ("ETag", "Cache-Control", "Vary"):
        assert answer[header] == fresh[header]
    assert len(statements) == 1
    assert "state" not in statements[0].replace("status", "")


@pytest.mark.parametrize("form", ["{0}", "W/{0}", '"x", {0}', 'W/"x",{0} , "y"', "*"])
def test_forms_of_if_none_match_that_match(
    api: Client, checkpointer: DjangoCheckpointer, form: str
) -> None:
    save_history(checkpointer, "a", [1])
    assert latest(api, form.format(latest(api)["ETag"])).status_code == 304


@pytest.mark.parametrize("known", ['"x"', "", "x", '"', "W/", '"1-1"', '""', "\xff", ",,,"])
def test_forms_of_if_none_match_that_do_not_match(
    api: Client, checkpointer: DjangoCheckpointer, known: str
) -> None:
    save_history(checkpointer, "a", [1])
    answer, statements = capture_app_queries(lambda: latest(api, known))
    assert (answer.status_code, answer.json()["step"]) == (200, 1)
    assert len(statements) == 2


def test_the_etag_changes_on_every_save_and_never_repeats(
    api: Client, checkpointer: DjangoCheckpointer
) -> None:
    tags = []
    for step in (1, 1, 3, 2, 3):
        checkpointer.save(a_checkpoint("a", step))
        tags.append(latest(api)["ETag"])
    checkpointer.delete_session("a")
    assert latest(api, tags[-1]).status_code == 404
    assert latest(api, "*").status_code == 404
    for step in (1, 1, 3, 2, 3):
        checkpointer.save(a_checkpoint("a", step))
        Session.objects.update(created_at=datetime(2027, 1, 1, tzinfo=UTC))
        tags.append(latest(api)["ETag"])
    assert len(set(tags)) == len(tags)
    for tag in tags[:-1]:
        assert latest(api, tag).status_code == 200


def test_deleting_the_newest_step_changes_the_etag(
    api: Client, checkpointer: DjangoCheckpointer
) -> None:
    save_history(checkpointer, "a", [1, 2])
    tag = latest(api)["ETag"]
    row = Session.objects.get()
    row.steps.filter(step=2).delete()
    answer = latest(api, tag)
    assert (answer.status_code, answer.json()["step"]) == (200, 1)


def test_an_empty_session_has_no_etag(api: Client, db: Any) -> None:
    Session.objects.create(id="a")
    assert latest(api, "*").status_code == 404


def test_if_modified_since_is_ignored(
    api: Client, checkpointer: DjangoCheckpointer, settings: Any
) -> None:
    settings.MIDDLEWARE = [
        "django.middleware.http.ConditionalGetMiddleware",
        "django.middleware.gzip.GZipMiddleware",
        *settings.MIDDLEWARE,
    ]
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    save_history(checkpointer, "a", [1])
    assert latest(api, **{"If-Modified-Since": later}).json()["step"] == 1
    checkpointer.save(a_checkpoint("a", 2))
    tag = latest(api)["ETag"]
    assert latest(api, **{"If-Modified-Since": later}).json()["step"] == 2
    assert latest(api, tag, **{"If-Modified-Since": later}).status_code == 304
    Step.objects.filter(step=2).delete()
    assert latest(api, **{"If-Modified-Since": later}).json()["step"] == 1
    assert latest(api, tag).json()["step"] == 1


def save_two_steps(checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", [1, 2])


def fork_two_steps(checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "source", [1, 2])
    checkpointer.fork_session("source", "a")


def create_by_orm(checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "source", [1, 2])
    Session.objects.create(id="a")
    steps = list(Step.objects.filter(session="source").order_by("step"))
    for step in steps:
        step.state, step.base_id = step.whole_state(), None
        step.pk, step.session_id = None, "a"
    Step.objects.bulk_create(steps)


@pytest.mark.parametrize("create", [save_two_steps, fork_two_steps, create_by_orm])
@pytest.mark.parametrize("created_at", [datetime(2026, 1, 1, tzinfo=UTC), None])
def test_no_two_sessions_of_one_id_share_an_etag_even_if_the_clock_stops(
    api: Client,
    checkpointer: DjangoCheckpointer,
    create: Callable[[DjangoCheckpointer], None],
    created_at: datetime | None,
) -> None:
    tags = []
    for _ in range(20):
        create(checkpointer)
        if created_at is not None:
            Session.objects.update(created_at=created_at)
        assert all(latest(api, tag).status_code == 200 for tag in tags)
        tags.append(latest(api)["ETag"])
        assert latest(api, tags[-1]).status_code == 304
        Session.objects.all().delete()
    assert len(set(tags)) == len(tags)


def test_html_has_no_etag(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", [1])
    tag = latest(api)["ETag"]
    page = latest(api, tag, Accept="text/html")
    assert page.status_code == 200
    assert "ETag" not in page


def test_head(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", [1])
    tag = latest(api)["ETag"]
    assert api.head(LATEST)["ETag"] == tag
    assert api.head(LATEST, headers={"If-None-Match": tag}).status_code == 304


def test_only_latest_has_an_etag(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", [1])
    assert "ETag" not in api.get(step_url("a", 1))
