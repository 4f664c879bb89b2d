"""Responses depend on who asks: no shared cache stores them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client, override_settings
from django.urls import URLPattern, include, path
from django.views.decorators.cache import cache_page

from tests.api.calls import CALLS, Call
from tests.api.clients import ALL, SESSIONS, create_client
from tests.builders import save_history
from weavegraph_checkpoints.api import urls as api_urls
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer


def _cached(pattern: URLPattern) -> URLPattern:
    """Return a copy of a URL pattern whose view is decorated with ``cache_page``."""
    view = cache_page(600)(pattern.callback)
    return URLPattern(pattern.pattern, view, pattern.default_args, pattern.name)


urlpatterns = [path("api/", include([_cached(pattern) for pattern in api_urls.urlpatterns]))]

VARY = {"Accept", "Authorization", "Cookie"}
OTHERS = [
    Call(name="not found", needs="", path="run/nothing/", status=404),
    Call(name="no slash", needs="", path="run", status=404),
    Call(name="no session", needs="", path="missing/", status=404),
    Call(name="not a segment", needs="", path="~/", status=404),
    Call(name="not allowed", needs="", path="run/latest/", method="patch", status=405),
    Call(name="options", needs="", path="run/steps/", method="options"),
    Call(name="head", needs="", path="run/latest/", method="head"),
    Call(name="invalid", needs="", path="?limit=x", status=400),
    Call(name="query not in UTF-8", needs="", path="?id=%FF", status=400),
]


class TenantByHeader:
    """Authenticates by a header of the project's own."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        from django.contrib.auth.models import User

        name = request.headers.get("X-Tenant")
        if name:
            request._dont_enforce_csrf_checks = True
            request.user = User.objects.get(username=name)
        return self.get_response(request)


@pytest.fixture(autouse=True)
def tenants(settings: Any, db: Any) -> Any:
    settings.WEAVEGRAPH_CHECKPOINTS = {"API_OWNER": "tests.api.owners.get_owner_by_name"}
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    settings.CACHE_MIDDLEWARE_SECONDS = 600
    settings.MIDDLEWARE = [
        "django.middleware.cache.UpdateCacheMiddleware",
        *settings.MIDDLEWARE,
        "tests.api.test_caches.TenantByHeader",
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    save_history(DjangoCheckpointer(owner="ann"), "run", [1, 2])
    save_history(DjangoCheckpointer(owner="ann"), "other", [1])
    for name in ("ann", "bob"):
        create_client(*ALL, username=name)
    cache.clear()
    yield
    cache.clear()


def assert_private(response: Any) -> None:
    assert response["Cache-Control"].removesuffix(", no-transform") == "private, no-cache"
    assert {each.strip() for each in response["Vary"].split(",")} >= VARY
    assert "Last-Modified" not in response
    assert "Expires" not in response


@pytest.mark.parametrize("call", [*CALLS, *OTHERS], ids=str)
@pytest.mark.parametrize("name", ["ann", "bob", ""])
def test_every_response_is_private(call: Call, name: str) -> None:
    response = call.by(Client(headers={"X-Tenant": name}))
    if name == "ann":
        assert response.status_code == call.status
    assert_private(response)


def test_a_304_is_private() -> None:
    ann = Client(headers={"X-Tenant": "ann"})
    tag = ann.get(f"{SESSIONS}run/latest/")["ETag"]
    response = ann.get(f"{SESSIONS}run/latest/", headers={"If-None-Match": tag})
    assert response.status_code == 304
    assert_private(response)


def test_a_page_of_the_browsable_api_is_private() -> None:
    ann = Client(headers={"X-Tenant": "ann", "Accept": "text/html"})
    assert_private(ann.get(f"{SESSIONS}run/"))


@pytest.mark.parametrize("urls", [None, "tests.api.test_caches"], ids=["middleware", "cache_page"])
@pytest.mark.parametrize("path", ["", "run/", "run/latest/", "run/steps/", "run/steps/1/"])
def test_no_tenant_gets_the_response_of_another(path: str, urls: str | None) -> None:
    with override_settings(**({"ROOT_URLCONF": urls} if urls else {})):
        ann, bob, nobody = (Client(headers={"X-Tenant": name}) for name in ("ann", "bob", ""))
        first = ann.get(SESSIONS + path)
        assert first.status_code == 200
        assert b"run" in first.content
        other = bob.get(SESSIONS + path)
        assert other.status_code == (404 if path else 200)
        assert path or other.json()["results"] == []
        assert nobody.get(SESSIONS + path).status_code == 403
        assert ann.get(SESSIONS + path).content == first.content


def test_no_stale_response() -> None:
    ann = Client(headers={"X-Tenant": "ann"})
    assert ann.get(f"{SESSIONS}run/latest/").json()["step"] == 2
    save_history(DjangoCheckpointer(owner="ann"), "run", [3])
    assert ann.get(f"{SESSIONS}run/latest/").json()["step"] == 3
