"""axe finds no accessibility violations in our markup, on any page, in either theme and width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.admin.example_runs import a_run, create_session_with_steps, session_urls
from tests.browser.conftest import Opener
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

STOCK = {
    "button-name": "without scripts, the button for the theme is not hidden and has no name",
    "label-title-only": "an icon is the only label of the search field",
}
"""Violations in the markup of Django's admin, by rule."""

OURS = "[class*=weave-]"
"""Our elements, or elements around them, have such a class."""

IS_OURS = "([target, ours]) => document.querySelector(target).closest(ours) !== null"


@pytest.fixture
def runs(transactional_db: None) -> None:
    for checkpoint in a_run("run"):
        DjangoCheckpointer().save(checkpoint)
    labels = {"customer": "4711", "env": "prod", "note": "two words", "team": "x" * 60}
    DjangoCheckpointer().set_labels("run", labels)
    DjangoCheckpointer().fork_session("run", "fork", at_step=4)
    create_session_with_steps("long", 120)
    Session.objects.create(id="empty", owner="me")
    large = VersionedState.new_with_user_message("large " * 200_000)
    DjangoCheckpointer().save(a_checkpoint("large", 1, state=large))


def run_axe(page: Page) -> list[tuple[bool, str, str]]:
    """Return the violations: whether they are in our markup, the rule and the element."""
    from axe_playwright_python.sync_playwright import Axe

    return [
        (page.evaluate(IS_OURS, [node["target"][0], OURS]), violation["id"], node["html"])
        for violation in Axe().run(page).response["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize(
    ("theme", "width", "has_scripts"),
    [
        ("light", 1440, True),
        ("dark", 1440, False),
        ("light", 360, False),
        ("dark", 360, True),
    ],
)
@pytest.mark.usefixtures("runs")
def test_axe_finds_nothing_on_our_pages(
    open_page: Opener, theme: str, width: int, has_scripts: bool
) -> None:
    urls = [
        session_urls.get_changelist_url(),
        f"{session_urls.get_changelist_url()}?q=nothing",
        session_urls.get_label_url("customer", "4711"),
        session_urls.get_session_url("run"),
        session_urls.get_session_url("fork"),
        session_urls.get_session_url("empty"),
        session_urls.get_session_url("long", before=70),
        session_urls.get_session_url("long", node="plan"),
        session_urls.get_step_url("run", 5),
        session_urls.get_step_url("run", 1),
        session_urls.get_url("value", "run", 5, query={"at": "/extra/map"}),
        session_urls.get_compare_url("run", 2, 5),
        session_urls.get_compare_url("run", 5, 2),
        session_urls.get_compare_url("run", 2, 3, "fork"),
        session_urls.get_step_url("large", 1),
        session_urls.get_url("fork", "run"),
        session_urls.get_url("labels", "run"),
        session_urls.get_url("prune"),
        session_urls.get_url("delete", "run"),
        session_urls.get_url("history", "fork"),
    ]
    page = open_page(urls[0], theme=theme, width=width)
    if not has_scripts:
        # axe itself does not run in a browser without JavaScript.
        page.route("**/*.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    ours, stock = [], {}
    for url in urls:
        page.goto(url)
        page.evaluate("document.querySelectorAll('#content details').forEach((d) => d.open = true)")
        for is_ours, rule, element in run_axe(page):
            if is_ours:
                ours.append((url, rule, element))
            else:
                stock[rule] = element
    assert ours == []
    assert stock.keys() <= STOCK.keys(), stock


@pytest.mark.usefixtures("runs")
def test_axe_finds_nothing_in_a_form_with_errors(open_page: Opener) -> None:
    page = open_page(session_urls.get_url("fork", "run"))
    page.get_by_label("New session id").fill("fork")
    page.get_by_role("button", name="Fork").click()
    page.get_by_text("A session with this id already exists.").wait_for()
    assert page.get_by_label("New session id").get_attribute("aria-invalid") == "true"
    assert [found for found in run_axe(page) if found[0]] == []


@pytest.mark.usefixtures("runs")
def test_labels_are_edited_without_script(open_page: Opener) -> None:
    page = open_page(session_urls.get_session_url("run"), script=False)
    page.get_by_role("link", name="Edit labels").click()
    field = page.get_by_label("Labels")
    assert field.input_value().splitlines()[:3] == [
        "customer=4711",
        "env=prod",
        'note="two words"',
    ]
    field.fill("customer=4711\nenv")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("'env' is not a label.").wait_for()
    assert page.get_by_label("Labels").get_attribute("aria-invalid") == "true"
    page.get_by_label("Labels").fill("customer=4711\nenv=test")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The labels were changed.").wait_for()
    assert DjangoCheckpointer().get_labels("run") == {"customer": "4711", "env": "test"}
    page.get_by_role("link", name="env=test").click()
    assert page.get_by_role("link", name="run", exact=True).count() == 1


@pytest.mark.usefixtures("runs")
def test_axe_finds_nothing_after_submitting_a_form(open_page: Opener) -> None:
    page = open_page(session_urls.get_url("prune"), theme="dark")
    page.get_by_label("Keep last").fill("2")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("heading", name="Most affected sessions").wait_for()
    assert [found for found in run_axe(page) if found[0]] == []
    page.get_by_role("button", name="Prune").click()
    page.get_by_text("Pruned ").wait_for()
    page.get_by_label("Select this object for an action").first.check()
    page.get_by_label("Action:").select_option("delete_selected")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Yes").wait_for()
    assert [found for found in run_axe(page) if found[0]] == []
