"""Follow a session: new steps appear, and the reader keeps the place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.admin.example_runs import create_session_with_steps, session_urls
from tests.admin.hostile import SESSION_ID, a_hostile_run
from tests.browser.conftest import Opener, PageErrors, get_horizontal_overflow
from tests.browser.test_axe import run_axe
from tests.strategies import a_checkpoint, an_error_event
from weavegraph_checkpoints import VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

POLL = 2_000
MARK = "window.isSamePage = true"
HIDDEN_TO_THE_LEFT = "(each) => each.scrollWidth - each.clientWidth + each.scrollLeft"
"""The width that a region hides to the left, if it begins at its right edge."""


def save(step: int, session_id: str = "run", **fields: Any) -> None:
    DjangoCheckpointer().save(a_checkpoint(session_id, step, **fields))


def get_switch(page: Page) -> Locator:
    return page.get_by_role("switch", name="Follow")


def follow(page: Page) -> None:
    """Switch on, and mark the page: a reload would lose the mark."""
    page.evaluate(MARK)
    page.clock.install()
    get_switch(page).click()
    page.get_by_text("Following", exact=True).wait_for()
    assert get_switch(page).get_attribute("aria-checked") == "true"


def wait_for_status(page: Page, text: str) -> None:
    """Wait for a text, and let the time between two look-ups pass at once."""
    status = page.locator("#weave-follow-status", has_text=text)
    for _ in range(200):
        if status.is_visible():
            break
        page.clock.fast_forward(POLL)
        page.wait_for_timeout(50)
    else:
        pytest.fail(f"{text!r} did not appear")
    assert page.evaluate("window.isSamePage")


def get_top(page: Page, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    return box["y"]


def get_bottom(page: Page, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    return box["y"] + box["height"]


@pytest.fixture
def running(transactional_db: None) -> None:
    create_session_with_steps("run", 60)


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("width", [1440, 360])
def test_new_steps_appear_everywhere(open_page: Opener, width: int) -> None:
    page = open_page(session_urls.get_session_url("run"), width=width)
    follow(page)
    error = VersionedState.new(errors=[an_error_event()])
    save(61, state=error, ran_nodes=["act"], frontier=["plan"])
    wait_for_status(page, "Step 61, resumable")
    page.locator("#weave-step-61").wait_for(state="attached")
    page.locator(".weave-properties", has_text="61").wait_for()
    page.get_by_text("newest error at step 61").wait_for()
    assert page.locator(".weave-grid thead a").last.inner_text().endswith("61")
    page.locator(".weave-grid th", has_text="act").wait_for()
    save(62, frontier=[])
    wait_for_status(page, "Step 62, finished")
    assert get_switch(page).get_attribute("aria-checked") == "false"
    assert get_horizontal_overflow(page) <= 0
    if width == 360:  # The wide page is that of test_axe.py.
        assert get_bottom(page, ".weave-follow") <= get_top(page, ".weave-properties dt")
        assert [found for found in run_axe(page) if found[0]] == []


@pytest.mark.usefixtures("running")
def test_scroll_focus_and_selection_are_kept(open_page: Opener) -> None:
    page = open_page(session_urls.get_session_url("run"))
    follow(page)
    page.get_by_role("radio", name="From 40", exact=True).check()
    page.get_by_role("radio", name="To 50", exact=True).check()
    page.get_by_label("Go to step").fill("12")
    region = page.locator(".weave-grid").locator("..")
    region.evaluate("(element) => { element.scrollLeft = -30; }")
    hidden = region.evaluate(HIDDEN_TO_THE_LEFT)
    link = page.locator("#weave-step-35")
    link.focus()
    link.scroll_into_view_if_needed()
    top = link.evaluate("(element) => element.getBoundingClientRect().top")
    assert page.evaluate("window.scrollY") > 0
    save(61)
    wait_for_status(page, "Step 61, resumable")
    assert page.get_by_role("radio", name="From 40", exact=True).is_checked()
    assert page.get_by_role("radio", name="To 50", exact=True).is_checked()
    assert page.get_by_label("Go to step").input_value() == "12"
    assert page.evaluate("document.activeElement.id") == "weave-step-35"
    assert abs(link.evaluate("(element) => element.getBoundingClientRect().top") - top) < 2
    assert region.evaluate(HIDDEN_TO_THE_LEFT) == hidden > 0


@pytest.mark.usefixtures("transactional_db")
def test_the_same_columns_stay_visible_when_the_weave_grows(open_page: Opener) -> None:
    create_session_with_steps("run", 40)
    page = open_page(session_urls.get_session_url("run"), width=360)
    follow(page)
    region = page.locator(".weave-grid").locator("..")
    region.evaluate("(element) => { element.scrollLeft = -300; }")
    column = get_column(page, 25)
    save(41)
    wait_for_status(page, "Step 41, resumable")
    assert abs(get_column(page, 25) - column) < 2


@pytest.mark.usefixtures("running")
def test_the_weave_stays_at_its_end(open_page: Opener) -> None:
    page = open_page(session_urls.get_session_url("run"), width=360)
    region = page.locator(".weave-grid").locator("..")
    right = region.evaluate("(each) => each.getBoundingClientRect().right")
    assert right - 40 < get_column(page, 60) < right
    follow(page)
    save(61)
    wait_for_status(page, "Step 61, resumable")
    assert right - 40 < get_column(page, 61) < right


@pytest.mark.usefixtures("running")
def test_the_weave_begins_at_its_end_without_script(open_page: Opener) -> None:
    page = open_page(session_urls.get_session_url("run"), width=360, script=False)
    assert 200 < get_column(page, 60) < 360
    names = page.locator(".weave-grid tbody th").first
    assert names.evaluate("(each) => each.getBoundingClientRect().left") < 30


def get_column(page: Page, step: int) -> float:
    """Return the left edge of the column of a step in the weave."""
    link = page.locator(f".weave-grid thead a[href$='/steps/{step}/']")
    return float(link.evaluate("(each) => each.getBoundingClientRect().left"))


@pytest.mark.usefixtures("transactional_db")
def test_the_first_step_appears(open_page: Opener) -> None:
    Session.objects.create(id="run")
    page = open_page(session_urls.get_session_url("run"))
    follow(page)
    save(0)
    wait_for_status(page, "Step 0, resumable")
    page.get_by_role("heading", name="The weave").wait_for()
    page.get_by_label("Go to step").wait_for()


@pytest.mark.usefixtures("running")
def test_switching_off(open_page: Opener) -> None:
    page = open_page(session_urls.get_session_url("run"))
    follow(page)
    get_switch(page).press("Space")
    wait_for_status(page, "Not following")
    assert get_switch(page).get_attribute("aria-checked") == "false"
    save(61)
    page.clock.run_for(5 * POLL)
    page.wait_for_timeout(200)
    assert page.locator("#weave-step-61").count() == 0
    get_switch(page).click()
    wait_for_status(page, "Step 61, resumable")


@pytest.mark.usefixtures("running")
def test_it_stops_when_the_page_is_hidden(open_page: Opener) -> None:
    page = open_page(session_urls.get_session_url("run"))
    follow(page)
    page.evaluate(
        "Object.defineProperty(document, 'hidden', { value: true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    wait_for_status(page, "Stopped: the page was hidden")
    assert get_switch(page).get_attribute("aria-checked") == "false"


@pytest.mark.usefixtures("running")
def test_it_stops_after_an_hour(open_page: Opener) -> None:
    page = open_page(session_urls.get_session_url("run"))
    follow(page)
    began = page.evaluate("Date.now()")
    page.clock.fast_forward("59:50")
    assert get_switch(page).get_attribute("aria-checked") == "true"
    page.clock.fast_forward("00:10")
    wait_for_status(page, "Stopped after an hour")
    assert 3_600_000 <= page.evaluate("Date.now()") - began < 3_660_000


@pytest.mark.usefixtures("running")
def test_it_stops_when_the_session_is_deleted(open_page: Opener) -> None:
    page = open_page(session_urls.get_session_url("run"))
    follow(page)
    DjangoCheckpointer().delete_session("run")
    wait_for_status(page, "Stopped: the server did not answer")


@pytest.mark.usefixtures("running")
def test_without_script_it_is_a_link_that_reloads(open_page: Opener) -> None:
    page = open_page(session_urls.get_session_url("run", node="plan"), script=False)
    save(61, ran_nodes=["plan"])
    page.get_by_role("link", name="Reload").click()
    page.locator("#weave-step-61").wait_for()
    assert page.url.endswith("?node=plan")


@pytest.mark.usefixtures("transactional_db")
def test_hostile_text_does_nothing(open_page: Opener, page_errors: PageErrors) -> None:
    history = a_hostile_run(SESSION_ID)
    Session.objects.create(id=SESSION_ID)
    page = open_page(session_urls.get_session_url(SESSION_ID))
    follow(page)
    for checkpoint in history:
        DjangoCheckpointer().save(checkpoint)
    wait_for_status(page, f"Step {history[-1].step}, ")
    page.locator(".weave-grid").wait_for()
    assert page.locator("#content :is(iframe, script, style)").count() == 0
    assert page_errors.found == []
