"""``latest/``: ETags and conditional requests."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from django.test import Client

from tests.api.clients import session_url, step_url
from tests.api.queries import capture_app_queries
from tests.builders import save_history
from tests.strategies import a_checkpoint
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

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
    assert answer["ETag"] == f'"{round(microseconds):x}-{row.revision:x}"'
    assert answer["Cache-Control"] == "private, no-cache"
    assert parsedate_to_datetime(answer["Last-Modified"]) == row.updated_at.replace(microsecond=0)
    assert "Cookie" in answer["Vary"]
    assert "Accept" in answer["Vary"]


def test_304_reads_no_state(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", [1])
    fresh = latest(api)
    answer, statements = capture_app_queries(lambda: latest(api, fresh["ETag"]))
    assert (answer.status_code, answer.content) == (304, b"")
    for header in ("ETag", "Cache-Control", "Last-Modified", "Vary"):
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


def test_if_modified_since_is_ignored(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", [1])
    modified = latest(api)["Last-Modified"]
    assert latest(api, **{"If-Modified-Since": modified}).status_code == 200


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
