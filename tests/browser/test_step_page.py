"""A step at a glance, and the lists on a phone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.admin.example_runs import session_urls
from tests.browser.conftest import Opener, get_horizontal_overflow
from tests.strategies import an_error_event
from weavegraph_checkpoints import Checkpoint, Message, VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

RUN = "support/2026-11/customer-4711"
NODES = ("agent", "tool:update_reservation_flights", "tool:" + "search_onestop_flight_" * 5)
PROMPT = "\n".join(f"Rule {number}: be polite, and never invent a flight." for number in range(60))
CALL = json.dumps([{"call": "search", "arguments": {"from": "JFK", "seats": 2}}])
RESULT = json.dumps({"flights": [{"number": f"HAT{number}", "price": 1.0} for number in range(9)]})

ESCAPES = """
(selector) => [...document.querySelectorAll(selector)]
    .filter((element) => element.getClientRects().length)
    .filter((element) => element.getBoundingClientRect().right > innerWidth + 0.5
        || element.scrollWidth > element.clientWidth + 1)
    .map((element) => element.outerHTML)
"""
"""The visible elements that end outside the window, or whose content is cut off."""

CUT_OFF = """
(elements) => elements
    .filter((element) => element.scrollWidth > element.clientWidth + 1)
    .map((element) => element.outerHTML)
"""
"""Those of some elements whose content is cut off."""


@pytest.fixture
def run(transactional_db: None) -> None:
    """Twenty steps, the last with a long result of a tool; an error since step 8."""
    messages = [Message.system(PROMPT), Message.user("Please change my flight.")]
    for step in range(1, 21):
        texts = {19: Message.assistant(CALL), 20: Message.tool(RESULT)}
        messages.append(texts.get(step, Message.assistant(f"Thought {step}.")))
        state = VersionedState.new(
            messages,
            {"calls": step // 10, "step": step, "long": "value " * step},
            [an_error_event()] if step >= 8 else [],
        )
        DjangoCheckpointer(owner="the support team of the northern region").save(
            Checkpoint(
                session_id=RUN,
                step=step,
                state=state,
                frontier=[NODES[step % 3]],
                versions_seen={node: {"messages": step - 1, "extra": 1} for node in NODES},
                ran_nodes=[NODES[(step + 2) % 3]],
                skipped_nodes=NODES[1:],
                updated_channels=["messages", "extra"],
            )
        )
    DjangoCheckpointer().fork_session(RUN, f"{RUN}-again", at_step=5)


def get_top(page: Page, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    return box["y"]


@pytest.mark.parametrize("width", [1440, 360])
@pytest.mark.usefixtures("run")
def test_what_happened_is_on_the_first_screen(open_page: Opener, width: int) -> None:
    page = open_page(session_urls.get_step_url(RUN, 7), width=width)
    assert get_top(page, "#weave-message-9 .weave-text") < 900
    assert get_horizontal_overflow(page) <= 0
    titles = page.locator("#content h2[id]").all_inner_texts()
    assert titles == ["This step", "Conversation", "Extras", "Execution", "Raw JSON"]


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.usefixtures("run")
def test_json_is_formatted_with_a_switch_to_the_exact_text(open_page: Opener, script: bool) -> None:
    page = open_page(session_urls.get_step_url(RUN, 20), script=script)
    message = page.locator("#weave-message-22")
    assert '"number": "HAT8"' in message.locator(".weave-formatted").inner_text()
    summary = message.get_by_text("Exact text")
    summary.focus()
    summary.press("Enter")
    exact = message.locator(".weave-exact pre")
    exact.wait_for()
    assert exact.inner_text() == RESULT
    assert not message.locator(".weave-formatted").is_visible()
    summary.press("Enter")
    message.locator(".weave-formatted").wait_for()
    assert not exact.is_visible()


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.usefixtures("run")
def test_earlier_and_long_messages_unfold(open_page: Opener, script: bool) -> None:
    page = open_page(session_urls.get_step_url(RUN, 20), script=script)
    conversation = page.locator("section", has=page.locator("#weave-conversation-title"))
    assert not conversation.get_by_text("Thought 18.").is_visible()
    conversation.get_by_text("21 earlier messages").click()
    conversation.get_by_text("Thought 18.").wait_for()
    rest = conversation.get_by_text("Rule 59")
    assert not rest.is_visible()
    conversation.get_by_text("48 more lines").click()
    rest.wait_for()
    conversation.get_by_role("link", name="more lines").click()
    page.wait_for_url("**#weave-message-22")


@pytest.mark.parametrize("width", [1440, 768, 360])
@pytest.mark.usefixtures("run")
def test_opened_pages_do_not_scroll_sideways(open_page: Opener, width: int) -> None:
    page = open_page(session_urls.get_step_url(RUN, 20), width=width)
    page.evaluate("document.querySelectorAll('#content details').forEach((d) => d.open = true)")
    assert get_horizontal_overflow(page) <= 0
    assert page.evaluate(ESCAPES, ".weave-page .weave-text, .weave-changed-extras li") == []
    assert page.evaluate(ESCAPES, ".weave-scroll-region:has(> .weave-versions-seen)") == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.usefixtures("run")
def test_on_a_phone_nothing_important_is_hidden_to_the_right(open_page: Opener, theme: str) -> None:
    page = open_page(session_urls.get_changelist_url(), width=360, theme=theme)
    link = page.locator("#result_list th").get_by_role("link", name=RUN, exact=True)
    row = link.locator("xpath=ancestor::tr")
    text = row.inner_text()
    for expected in (RUN, "resumable", "! 1", "step", "20", "updated", "next", "owner the support"):
        assert expected in " ".join(text.split()), text
    assert page.evaluate(ESCAPES, "#result_list tbody :is(tr, th, td, bdi)") == []
    assert get_horizontal_overflow(page) <= 0

    link.click()
    assert page.evaluate(ESCAPES, ".weave-steps :is(tr, th, td, bdi)") == []
    assert page.evaluate(ESCAPES, ".weave-grid tbody th > a") == []
    names = page.locator(".weave-grid tbody th > a").all_inner_texts()
    assert set(names) == set(NODES)
    assert get_top(page, ".weave-error-note") < get_top(page, ".weave-main-property")
    radios = page.locator(".weave-steps tbody tr").first.get_by_role("radio")
    tops = [radio.bounding_box() for radio in radios.all()]
    assert [box and box["y"] for box in tops] == [tops[0] and tops[0]["y"]] * 2
    card = page.locator(".weave-steps tbody tr").nth(12)
    assert " ".join(card.inner_text().split()).startswith("Step 8 ")
    assert "Errors 1 +1" in " ".join(card.inner_text().split())
    assert get_horizontal_overflow(page) <= 0


@pytest.mark.usefixtures("run")
def test_a_card_begins_with_what_says_whether_a_run_failed(open_page: Opener) -> None:
    DjangoCheckpointer().set_labels(RUN, {"customer": "4711", "env": "prod"})
    page = open_page(session_urls.get_changelist_url(), width=360)
    card = "#result_list tbody tr:has(.weave-error)"
    fields = ("session_id", "errors", "step", "owner_name", "labels")
    tops = [get_top(page, f"{card} .field-{name}") for name in fields]
    assert tops == sorted(tops)
    assert tops[1] < tops[3] < tops[4]


@pytest.mark.parametrize("width", [1440, 768])
@pytest.mark.usefixtures("run")
def test_a_desktop_shows_the_names_of_nodes_in_full(open_page: Opener, width: int) -> None:
    page = open_page(session_urls.get_changelist_url(), width=width)
    shown = page.locator("#result_list .field-next_nodes bdi").first
    assert shown.get_attribute("title") == NODES[2]
    box, font_size = shown.bounding_box(), shown.evaluate("(e) => getComputedStyle(e).fontSize")
    assert box is not None
    assert 3 <= box["height"] / float(font_size.removesuffix("px")) < 5, "three lines"
    page.goto(session_urls.get_session_url(RUN))
    for names in (".weave-grid tbody th > a", ".weave-steps bdi"):
        texts = {text.rstrip(",") for text in page.locator(names).all_inner_texts()}
        assert texts >= set(NODES), names
        assert page.locator(names).evaluate_all(CUT_OFF) == [], names


@pytest.mark.usefixtures("run")
def test_cards_are_rows_for_screen_readers(open_page: Opener) -> None:
    """Radio buttons keep their names, and the cells their roles."""
    page = open_page(session_urls.get_session_url(RUN), width=360)
    page.get_by_role("radio", name="From 3", exact=True).check()
    page.get_by_role("radio", name="To 20", exact=True).check()
    page.get_by_role("button", name="Compare selected steps").click()
    assert "+17 messages" in page.locator(".weave-change-summary").inner_text()


@pytest.mark.usefixtures("run")
def test_the_keys_work_on_a_step(open_page: Opener) -> None:
    page = open_page(session_urls.get_step_url(RUN, 19))
    page.locator("summary", has_text="earlier messages").focus()
    for key, expected in (("j", "/steps/18/"), ("k", "/steps/19/"), ("k", "/steps/20/")):
        page.keyboard.press(key)
        page.wait_for_url(f"**{expected}")
    page.keyboard.press("c")
    page.wait_for_url("**from=19&to=20")


@pytest.mark.usefixtures("run")
def test_the_labels_of_cards_are_not_shown_in_tables(open_page: Opener) -> None:
    page = open_page(session_urls.get_changelist_url())
    labels = page.locator("#result_list .weave-card-label").all()
    assert labels
    assert not any(label.is_visible() for label in labels)


@pytest.mark.parametrize(
    ("width", "last_column"),
    [(1600, "origin"), (1440, "origin"), (1300, "origin"), (1100, "updated")],
)
@pytest.mark.usefixtures("run")
def test_a_desktop_shows_what_identifies_a_run_without_scrolling(
    open_page: Opener, width: int, last_column: str
) -> None:
    DjangoCheckpointer().set_labels(RUN, {"customer": "4711", "env": "staging", "team": "returns"})
    page = open_page(session_urls.get_changelist_url(), width=width)
    page.evaluate("document.querySelector('#toggle-nav-sidebar').click()")
    page.wait_for_function("!document.querySelector('#main').classList.contains('shifted')")
    region = page.locator("#changelist .results").bounding_box()
    last = page.locator(f"#result_list thead .column-{last_column}").bounding_box()
    assert region is not None
    assert last is not None
    assert last["x"] + last["width"] <= region["x"] + region["width"]
    hidden = page.locator("#result_list thead th:not(:visible)").count()
    assert hidden == {1600: 0, 1440: 1}.get(width, 2)
    assert page.locator("#result_list tbody .field-labels a").count() == 3


@pytest.mark.usefixtures("run")
def test_on_a_phone_the_list_names_its_filters(open_page: Opener) -> None:
    DjangoCheckpointer().set_labels(RUN, {"customer": "4711"})
    url = session_urls.get_label_url("customer", "4711")
    page = open_page(f"{url}&errors=yes", width=360)
    filters = page.locator(".weave-filters-link")
    names = " ".join(filters.inner_text().split())
    assert names == "Filters ↓ label customer=4711 errors has errors Clear all filters"
    filters.get_by_role("link", name="Clear all filters").click()
    page.wait_for_url(f"**{session_urls.get_changelist_url()}?")
    assert filters.inner_text().split() == ["Filters", "↓"]


@pytest.mark.usefixtures("run")
def test_the_page_numbers_fit_on_a_phone(open_page: Opener) -> None:
    Session.objects.bulk_create(Session(id=f"support/{number}") for number in range(5000))
    for number in (1, 2, 100, 201):
        page = open_page(f"{session_urls.get_changelist_url()}?p={number}", width=360)
        assert get_horizontal_overflow(page) <= 0, number
