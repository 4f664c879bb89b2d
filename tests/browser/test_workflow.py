"""Find a failed run, read its error, and resume it from an earlier step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.admin.example_runs import session_urls
from tests.browser.conftest import Opener, get_horizontal_overflow
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import (
    Checkpoint,
    ErrorEvent,
    Message,
    NodeKind,
    NodeScope,
    VersionedState,
    WeaveError,
)
from weavegraph_checkpoints.admin.urls import SessionURLs
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Label, Session

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser

FAILED = "orders/2026-11/run-317"

filtered_urls = SessionURLs("admin", list_filters="errors=yes")
"""The URLs with the filter of the list that the user came from."""


@pytest.fixture
def failed_among_500(transactional_db: None) -> None:
    """500 sessions, one of them with an error."""
    sessions = [
        Session(id=f"orders/2026-11/run-{number}", status="finished") for number in range(500)
    ]
    Session.objects.bulk_create([row for row in sessions if row.id != FAILED])
    checkpointer = DjangoCheckpointer()
    error = ErrorEvent(
        error=WeaveError(
            message="the supplier did not answer in 30 s",
            cause=WeaveError(message="connection reset by peer"),
        ),
        scope=NodeScope(kind="order", step=4),
        tags=["network"],
    )
    for step in range(1, 6):
        checkpointer.save(
            Checkpoint(
                session_id=FAILED,
                step=step,
                state=VersionedState.new(
                    [Message.assistant(f"thought {number}") for number in range(step)],
                    {"stock": 10 - step},
                    [error] if step >= 4 else [],
                ),
                frontier=["order"],
                versions_seen={},
                ran_nodes=["order" if step % 2 == 0 else "plan"],
            )
        )
    assert checkpointer.load_latest(FAILED) is not None


@pytest.mark.parametrize(
    ("width", "theme", "script"),
    [(1440, "light", True), (360, "dark", True), (1440, "dark", False), (360, "light", False)],
)
@pytest.mark.usefixtures("failed_among_500")
def test_find_a_failed_run_read_its_error_and_fork_before_it(
    open_page: Opener, width: int, theme: str, script: bool
) -> None:
    page = open_page(session_urls.get_changelist_url(), width=width, theme=theme, script=script)

    # Find the failed run.
    if width == 360:
        page.get_by_role("link", name="Filters").click()
    page.get_by_role("link", name="has errors").click()
    page.get_by_role("link", name=FAILED).click()
    page.locator("h1", has_text=FAILED).wait_for()
    page.locator(".weave-main-property", has_text="resumable").wait_for()
    page.locator(".weave-main-property", has_text="order").wait_for()
    assert get_horizontal_overflow(page) <= 0

    # Read the error.
    page.get_by_role("link", name="newest error at step 4").click()
    page.get_by_role("heading", name="node order at step 4").wait_for()
    page.get_by_text("the supplier did not answer in 30 s").first.wait_for()
    page.get_by_text("connection reset by peer", exact=True).wait_for()

    # Compare with the previous step.
    if script:
        page.keyboard.press("j")
        page.wait_for_url(f"**{filtered_urls.get_step_url(FAILED, 3)}")
        page.keyboard.press("ArrowRight")
        page.wait_for_url(f"**{filtered_urls.get_step_url(FAILED, 4)}")
        page.keyboard.press("c")
    else:
        page.get_by_role("link", name="Step 3").click()
        page.get_by_role("link", name="Step 4").click()
        page.get_by_role("link", name="Compare with the previous step").click()
    page.wait_for_url(f"**{filtered_urls.get_compare_url(FAILED, 3, 4)}")
    summary = page.locator(".weave-change-summary").inner_text()
    assert summary.startswith("+1 message, 1 extra changed, 1 error added, +")
    page.get_by_text("thought 3", exact=True).wait_for()

    # Fork before the error.
    page.get_by_role("link", name="Step 3").click()
    page.get_by_role("link", name="Fork here").click()
    assert page.get_by_label("At step").input_value() == "3"
    page.get_by_label("New session id").fill("second-try")
    page.get_by_role("button", name="Fork").click()
    page.get_by_text(f"Forked from {FAILED} at step 3.").wait_for()
    page.locator("h1", has_text="second-try").wait_for()

    # Resume the fork.
    checkpointer = DjangoCheckpointer()
    latest = checkpointer.load_latest("second-try")
    assert latest is not None
    assert (latest.step, len(latest.state.errors.items)) == (3, 0)
    checkpointer.save(a_checkpoint("second-try", 4, state=latest.state, frontier=[NodeKind.END]))
    page.reload()
    page.locator(".weave-main-property", has_text="finished").wait_for()
    newest = page.get_by_role("link", name="Newest step")
    assert newest.get_attribute("href") == filtered_urls.get_step_url("second-try", 4)

    # Return to the list.
    page.locator(".breadcrumbs").get_by_role("link", name="Sessions").click()
    page.wait_for_url(f"**{session_urls.get_changelist_url()}?errors=yes")


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.usefixtures("failed_among_500")
def test_find_the_failed_run_of_a_customer_among_5000_on_a_phone(
    open_page: Opener, script: bool
) -> None:
    """A search and two taps lead to the error; each tap and the error are on the first screen."""
    others = [Session(id=f"support/{number}", status="finished") for number in range(4500)]
    Session.objects.bulk_create(others)
    labels = [
        Label(session_id=session_id, key=key, value=value)
        for number, session_id in enumerate(Session.objects.values_list("id", flat=True))
        if session_id != FAILED
        for key, value in (("customer", str(number % 4712)), ("env", "prod"))
    ]
    Label.objects.bulk_create(labels)
    DjangoCheckpointer().set_labels(FAILED, {"customer": "4711", "env": "prod"})
    for number in range(2):
        later = f"support/2026-11-30/customer-chat-{number:06}"
        checkpointer = DjangoCheckpointer(owner="support-eu")
        checkpointer.save(a_checkpoint(later, 42, frontier=[NodeKind.END]))
        checkpointer.set_labels(later, {"agent": "a", "customer": "4711", "env": "test", "x": "y"})

    page = open_page(session_urls.get_changelist_url(), width=360, script=script)
    page.set_viewport_size({"width": 360, "height": 740})
    assert is_on_first_screen(page.locator("#searchbar"))
    page.locator("#searchbar").fill("customer=4711")
    page.locator("#searchbar").press("Enter")
    page.locator(".paginator", has_text="4 sessions").wait_for()
    card = page.locator("#result_list tbody tr").nth(2)
    assert is_on_first_screen(card.get_by_text("! 1"))
    link = card.get_by_role("link", name=FAILED)
    assert is_on_first_screen(link)
    link.click()
    link = page.get_by_role("link", name="newest error at step 4")
    link.wait_for()
    assert is_on_first_screen(link)
    link.click()
    error = page.get_by_text("the supplier did not answer in 30 s").first
    error.wait_for()
    assert is_on_first_screen(error)


def is_on_first_screen(element: Locator) -> bool:
    """Return whether an element is visible without scrolling."""
    box = element.bounding_box()
    assert box is not None
    assert element.page.evaluate("scrollY") == 0
    return bool(element.page.evaluate("innerHeight") >= box["y"] + box["height"])


@pytest.mark.usefixtures("failed_among_500")
def test_compare_two_selected_steps(open_page: Opener) -> None:
    page = open_page(session_urls.get_session_url(FAILED))
    page.get_by_role("radio", name="From 1", exact=True).check()
    page.get_by_role("radio", name="To 5", exact=True).check()
    page.get_by_role("button", name="Compare selected steps").click()
    assert "+4 messages" in page.locator(".weave-change-summary").inner_text()
    page.get_by_role("link", name="Swap").click()
    assert "−4 messages" in page.locator(".weave-change-summary").inner_text()


@pytest.mark.usefixtures("failed_among_500")
def test_shortcuts_are_ignored_in_fields_and_with_modifiers(open_page: Opener) -> None:
    page = open_page(session_urls.get_step_url(FAILED, 3))
    for chord in ("Control+k", "Alt+k", "Meta+k", "x"):
        page.keyboard.press(chord)
    assert page.url.endswith("/steps/3/")
    page.keyboard.press("?")
    assert page.locator("#weave-keys").get_attribute("open") is not None
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("e")
    page.wait_for_url("**/steps/4/")
    page.goto(session_urls.get_compare_url(FAILED, 3, 4))
    page.get_by_label("From step").press("ArrowLeft")
    page.get_by_label("From step").press("j")
    assert page.get_by_label("From step").input_value() in ("j3", "3j")
    assert page.url.endswith("?from=3&to=4")


@pytest.mark.usefixtures("failed_among_500")
def test_the_tab_order_follows_the_page(open_page: Opener) -> None:
    page = open_page(session_urls.get_session_url(FAILED))
    page.get_by_role("link", name="newest error at step 4").focus()
    names = []
    for _ in range(9):
        names.append(page.evaluate("document.activeElement.textContent.trim()"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", names
        page.keyboard.press("Tab")
    buttons = ["Newest step", "Compare", "Fork", "Download", "Edit labels", "History", "Delete"]
    assert names[0].startswith("newest error at step 4")
    assert names[1:] == ["5", *buttons]
    levels = page.evaluate(
        "[...document.querySelectorAll('#content :is(h1, h2, h3)')].map((h) => h.tagName)"
    )
    assert levels[0] == "H1"
    assert set(levels[1:]) == {"H2"}


@pytest.mark.usefixtures("failed_among_500")
def test_copy_the_raw_json(open_page: Opener) -> None:
    page = open_page(session_urls.get_step_url(FAILED, 3))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#weave-raw").text_content()
