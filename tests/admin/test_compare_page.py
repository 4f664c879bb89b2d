"""The page that compares two steps, and its way to the same over REST."""

from __future__ import annotations

import re
from html import unescape
from importlib.util import find_spec

import pytest
from django.contrib import admin
from django.test import Client, override_settings
from django.urls import path

from tests.admin.example_runs import a_run, body, session_urls
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

pytestmark = pytest.mark.django_db

urlpatterns = [path("admin/", admin.site.urls)]
"""Those of a project that mounts no API."""

PATCH = re.compile(r'href="([^"]+)">View as JSON Patch')


@pytest.mark.skipif(not find_spec("rest_framework"), reason="no REST framework is installed")
@pytest.mark.parametrize("session_id", ["plain", "with/slash", ".."])
def test_the_same_is_a_link_away_as_a_patch(root: Client, session_id: str) -> None:
    for checkpoint in a_run(session_id):
        DjangoCheckpointer().save(checkpoint)
    found = PATCH.search(body(root.get(session_urls.get_compare_url(session_id, 2, 3))))
    assert found is not None
    answer = root.get(unescape(found[1])).json()
    assert (answer["from"], answer["to"]) == (2, 3)
    assert any(each["path"].startswith("/messages/items/") for each in answer["patch"])


def test_there_is_no_such_link_without_an_api_or_between_two_sessions(
    root: Client, run: str
) -> None:
    DjangoCheckpointer().fork_session(run, "fork", at_step=4)
    with override_settings(ROOT_URLCONF=__name__):
        assert PATCH.search(body(root.get(session_urls.get_compare_url(run, 2, 3)))) is None
    between = body(root.get(session_urls.get_compare_url(run, 2, 3, "fork")))
    assert PATCH.search(between) is None
    assert "+1 message, " in between


def test_a_step_and_its_copy_in_a_fork_are_the_same(root: Client, run: str) -> None:
    DjangoCheckpointer().fork_session(run, "fork", at_step=4)
    html = body(root.get(session_urls.get_compare_url(run, 4, 4, "fork")))
    assert "The two steps are identical" in html
    assert "Step 4 <bdi>fork</bdi>" in html


def test_a_step_that_is_not_there_names_those_that_are_near(root: Client, run: str) -> None:
    html = body(root.get(session_urls.get_compare_url(run, 2, 9)))
    assert "There is no step 9. The nearest steps: 6." in html
    assert PATCH.search(html) is None
