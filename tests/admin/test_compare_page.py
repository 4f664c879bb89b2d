"""The page that compares two steps, and its link to the REST API."""

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
"""The URLs of a project without the REST API."""

PATCH = re.compile(r'href="([^"]+)">View as JSON Patch')


@pytest.mark.skipif(not find_spec("rest_framework"), reason="no REST framework is installed")
@pytest.mark.parametrize("session_id", ["plain", "with/slash", ".."])
def test_link_to_the_json_patch(admin_client: Client, session_id: str) -> None:
    for checkpoint in a_run(session_id):
        DjangoCheckpointer().save(checkpoint)
    found = PATCH.search(body(admin_client.get(session_urls.get_compare_url(session_id, 2, 3))))
    assert found is not None
    answer = admin_client.get(unescape(found[1])).json()
    assert (answer["from"], answer["to"]) == (2, 3)
    assert any(each["path"].startswith("/messages/items/") for each in answer["patch"])


def test_no_link_to_the_json_patch_without_an_api_or_between_sessions(
    admin_client: Client, run: str
) -> None:
    DjangoCheckpointer().fork_session(run, "fork", at_step=4)
    with override_settings(ROOT_URLCONF=__name__):
        assert PATCH.search(body(admin_client.get(session_urls.get_compare_url(run, 2, 3)))) is None
    between = body(admin_client.get(session_urls.get_compare_url(run, 2, 3, "fork")))
    assert PATCH.search(between) is None
    assert "+1 message, " in between


def test_a_step_and_its_copy_in_a_fork_are_identical(admin_client: Client, run: str) -> None:
    DjangoCheckpointer().fork_session(run, "fork", at_step=4)
    html = body(admin_client.get(session_urls.get_compare_url(run, 4, 4, "fork")))
    assert "The two steps are identical" in html
    assert "Step 4 <bdi>fork</bdi>" in html


def test_a_missing_step_names_the_nearest_steps(admin_client: Client, run: str) -> None:
    html = body(admin_client.get(session_urls.get_compare_url(run, 2, 9)))
    assert "There is no step 9. The nearest steps: 6." in html
    assert PATCH.search(html) is None
