"""URLs: absolute, behind a proxy and a script name, at every mount point."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import include, path, set_script_prefix
from rest_framework.test import APIRequestFactory, force_authenticate

from tests.api.clients import ALL, create_user, post, put, step_url
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import serde
from weavegraph_checkpoints.api.viewsets import SessionViewSet
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

_API = "weavegraph_checkpoints.api.urls"
_NESTED = path("nested/<slug:tenant>/", include(_API))

urlpatterns = [
    path("api/v1/", include((_API, "v1"), namespace="v1")),
    path("outer/", include(([path("inner/", include((_API, "api")))], "outer"))),
    _NESTED,
]


def collect_urls(client: Client, base: str) -> set[str]:
    """Return the URLs in every response on the session ``a b``."""
    session = f"{base}sessions/~YSBi/"
    body = serde.dumps(a_checkpoint("a b", 1))
    page = client.get(f"{base}sessions/").json()
    steps = client.get(f"{session}steps/").json()["checkpoints"]
    fork = post(client, f"{session}fork/", {"target": "f"})
    client.delete(f"{base}sessions/f/")
    return {
        page["results"][0]["url"],
        client.get(session).json()["url"],
        steps[0]["url"],
        client.get(f"{session}latest/").json()["url"],
        client.get(f"{session}steps/1/").json()["url"],
        put(client, f"{session}steps/1/", body).json()["url"],
        fork.json()["url"],
        fork["Location"],
    }


@pytest.fixture
def stored(checkpointer: DjangoCheckpointer) -> None:
    checkpointer.save(a_checkpoint("a b", 1))


def expected(base: str) -> set[str]:
    return {
        f"{base}sessions/~YSBi/",
        f"{base}sessions/~YSBi/steps/1/",
        f"{base}sessions/f/",
    }


@pytest.mark.urls("tests.api.test_urls")
@pytest.mark.parametrize("mount", ["/api/v1/", "/outer/inner/", "/nested/ann/"])
def test_at_every_mount_point(api: Client, stored: None, mount: str) -> None:
    assert collect_urls(api, mount) == expected(f"http://testserver{mount}")


def test_behind_a_proxy(api: Client, stored: None, settings: Any) -> None:
    settings.USE_X_FORWARDED_HOST = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.ALLOWED_HOSTS = ["runs.example.com"]
    api.defaults |= {
        "HTTP_X_FORWARDED_HOST": "runs.example.com:8443",
        "HTTP_X_FORWARDED_PROTO": "https",
    }
    assert collect_urls(api, "/api/") == expected("https://runs.example.com:8443/api/")


def test_behind_a_script_name(api: Client, stored: None) -> None:
    api.defaults |= {"SCRIPT_NAME": "/deep/prefix"}
    set_script_prefix("/deep/prefix/")
    try:
        assert collect_urls(api, "/api/") == expected("http://testserver/deep/prefix/api/")
    finally:
        set_script_prefix("/")


def test_page_links_are_absolute(api: Client, stored: None) -> None:
    put(api, step_url("c", 1), serde.dumps(a_checkpoint("c", 1)))
    page = api.get("/api/sessions/?limit=1").json()
    assert page["next"] == "http://testserver/api/sessions/?limit=1&offset=1"


def test_a_view_called_without_a_resolver_match(stored: None) -> None:
    request = APIRequestFactory().get("/anywhere")
    force_authenticate(request, create_user(*ALL))
    answer = SessionViewSet.as_view({"get": "retrieve"})(request, session="~YSBi")
    assert answer.data["url"] == "http://testserver/api/sessions/~YSBi/"
