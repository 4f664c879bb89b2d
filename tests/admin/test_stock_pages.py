"""Our pages keep the context and the parameters of Django's own, on which themes rely."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.http import HttpRequest
from django.test import Client
from django.urls import path

from tests.admin.example_runs import a_run, body, get_page_urls
from weavegraph_checkpoints.admin.urls import SessionURLs
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stock", "run")]


class StockAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Django's own pages, read-only as ours."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


stock_site = admin.AdminSite(name="stock")
stock_site.register(Session, StockAdmin)
urlpatterns = [
    path("stock/", stock_site.urls),
    path("admin/", admin.site.urls),
]

OF_THE_FORM = {
    "absolute_url",
    "action_checkbox_name",
    "action_form",
    "actions_on_change_form",
    "adminform",
    "content_type_id",
    "errors",
    "form_url",
    "has_absolute_url",
    "has_editable_inline_admin_formsets",
    "has_file_field",
    "save_as",
    "save_on_top",
    "show_delete",
    "show_save",
    "show_save_and_add_another",
    "show_save_and_continue",
    "source_model",
    "source_model_var",
}
"""Variables of the form of Django's change page: our page has none."""

PAGES: dict[str, tuple[tuple[str, ...], dict[str, Any], set[str]]] = {
    "list": (("changelist",), {}, set()),
    "session": (("change", "run/1"), {}, OF_THE_FORM),
    "log": (("history", "run/1"), {}, set()),
    "delete": (("delete", "run/1"), {}, set()),
    "delete selected": (
        ("changelist",),
        {"action": "delete_selected", "_selected_action": "run/1"},
        set(),
    ),
}


@pytest.fixture
def stock(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


def get_context(client: Client, site: str, page: str, query: str = "") -> dict[str, Any]:
    """Return the context that the view of a page of a site gave to its template."""
    args, data, _missing = PAGES[page]
    url = f"{SessionURLs(site).get_url(*args)}{query}"
    response: Any = client.post(url, data) if data else client.get(url)
    assert response.status_code == 200
    return dict(response.context_data)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "query", ["", "?_popup=1&_to_field=id", "?_changelist_filters=errors%3Dyes"]
)
def test_stock_variables_keep_their_names_and_types(
    admin_client: Client, page: str, query: str
) -> None:
    if PAGES[page][0] == ("changelist",):
        query = query.replace("_changelist_filters", "q")
    stock = get_context(admin_client, "stock", page, query)
    ours = get_context(admin_client, "admin", page, query)
    assert stock.keys() - ours.keys() <= PAGES[page][2]
    for name, value in stock.items():
        if name in ours and value is not None and ours[name] is not None:
            assert isinstance(ours[name], type(value)), name
    same = {"object", "original", "is_popup", "to_field", "opts", "app_label", "preserved_filters"}
    same |= {name for name in stock if name.startswith("has_")} - {"has_permission"}
    for name in same & stock.keys() & ours.keys():
        assert ours[name] == stock[name], name


@pytest.mark.parametrize("page", PAGES)
def test_text_variables_are_text_that_cannot_reorder_the_page(
    admin_client: Client, page: str
) -> None:
    """Also the object itself, which themes show as text."""
    Session.objects.all().delete()
    for checkpoint in a_run("a\u202eb"):
        DjangoCheckpointer().save(checkpoint)
    args, data, _missing = PAGES[page]
    args = tuple("a\u202eb" if part == "run/1" else part for part in args)
    data = {name: "a\u202eb" if value == "run/1" else value for name, value in data.items()}
    url = SessionURLs("admin").get_url(*args)
    response: Any = admin_client.post(url, data) if data else admin_client.get(url)
    for name in ("object", "original", "title", "subtitle", "escaped_object", "object_name"):
        assert "\u202e" not in str(response.context_data.get(name, "")), name


# The filters of the list


FILTERS = "errors=yes&q=ru"


def get_urls_with_filters(site: str = "admin") -> SessionURLs:
    return SessionURLs(site, list_filters=FILTERS)


def test_the_list_passes_its_filters_to_the_pages_of_a_session(admin_client: Client) -> None:
    html = body(admin_client.get(f"{SessionURLs('admin').get_changelist_url()}?{FILTERS}"))
    urls = get_urls_with_filters()
    assert f'href="{urls.get_session_url("run/1")}"' in html
    assert f'href="{urls.get_url("prune")}"' in html


@pytest.mark.parametrize("page", get_page_urls("run/1", 3))
def test_every_page_links_back_to_the_filtered_list(admin_client: Client, page: str) -> None:
    if page in ("list", "raw", "download", "follow"):
        return
    urls = get_urls_with_filters()
    url = get_page_urls("run/1", 3)[page]
    separator = "&" if "?" in url else "?"
    url = f"{url}{separator}{urls.get_session_url('x').partition('?')[2]}"
    html = body(admin_client.get(url))
    assert f'href="{urls.get_changelist_url()}"'.replace("&", "&amp;") in html
    if page != "prune":
        assert f'href="{urls.get_session_url("run/1")}"' in html or page.startswith("session")
    if page.startswith("session"):
        for name in ("delete", "history", "fork", "compare"):
            assert f'href="{urls.get_url(name, "run/1")}"' in html
        assert html.count('<input type="hidden" name="_changelist_filters"') == 3


def test_a_delete_returns_to_the_filtered_list(admin_client: Client) -> None:
    urls = get_urls_with_filters()
    response = admin_client.post(urls.get_url("delete", "run/1"), {"post": "yes"})
    assert response["Location"] == f"{SessionURLs('admin').get_changelist_url()}?{FILTERS}"


def test_hostile_filters_are_escaped(admin_client: Client) -> None:
    urls = SessionURLs("admin", list_filters='q="><script>&_changelist_filters=x')
    html = body(admin_client.get(urls.get_session_url("run/1")))
    assert "><script>&" not in html
    assert "&lt;script&gt;" in html
