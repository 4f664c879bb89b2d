"""The admin's pages depend on who asks: no cache stores them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache

from tests.admin.conftest import MakeClient
from tests.admin.example_runs import get_page_urls

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def cache_middleware(settings: Any) -> Any:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    settings.CACHE_MIDDLEWARE_SECONDS = 600
    settings.MIDDLEWARE = [
        "django.middleware.cache.UpdateCacheMiddleware",
        *settings.MIDDLEWARE,
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    cache.clear()
    yield
    cache.clear()


@pytest.mark.parametrize("role", ["superuser", "staff", "anonymous"])
def test_no_page_and_no_download_is_stored(role: str, make_client: MakeClient, run: str) -> None:
    client = make_client(role)
    for name, url in get_page_urls(run, 3).items():
        for method in (client.get, client.head, client.post, client.options):
            response = method(url)
            if response.status_code in (403, 405):  # Django's own page, which it stores nowhere.
                continue
            directives = response["Cache-Control"].split(", ")
            assert {"private", "no-store"} <= set(directives), (name, role)
            assert "Last-Modified" not in response
    assert not cache._cache  # type: ignore[attr-defined]
