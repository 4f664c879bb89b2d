"""One session: where it stands, how it came there, and its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from weavegraph_checkpoints.admin import queries
from weavegraph_checkpoints.admin.base import HistoryAdmin, step_parameter
from weavegraph_checkpoints.admin.formatting import (
    format_age_html,
    format_duration,
    format_node,
    format_signed,
    format_status,
    format_time_html,
    format_timestamp,
    get_strings,
)
from weavegraph_checkpoints.admin.presenters.timeline import (
    HEIGHT,
    WIDTH,
    StepDelta,
    build_timeline,
)
from weavegraph_checkpoints.admin.presenters.weave import (
    MAX_NODES,
    Weave,
    build_cell_symbols,
    build_weave,
)
from weavegraph_checkpoints.admin.queries import StepPage
from weavegraph_checkpoints.admin.urls import Addresses
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.limits import is_storable_text
from weavegraph_checkpoints.domain.nodes import NodeKind
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.querysets import StepQuerySet

MAX_NAMES = 8
"""Of the nodes or channels in one place."""


def session_page(
    request: HttpRequest, admin: HistoryAdmin, object_id: str, extra_context: dict[str, Any]
) -> HttpResponse:
    """Show a session, or go to the step that was asked for."""
    session = admin.session_or_404(request, object_id)
    steps = admin.steps_of(session)
    if request.GET.get("go"):
        found = _step_asked_for(request, admin, session, steps)
        if found is not None:
            return found
    node = _node_asked_for(request)
    page = _page_asked_for(request, steps, node)
    points = queries.points_of(steps, session.last_step)
    every_node = request.GET.get("nodes") == "all"
    weave = build_weave(list(reversed(page.steps)), max_nodes=None if every_node else MAX_NODES)
    addresses = admin.addresses
    urls = addresses.steps(session.pk, (facts.step for facts in page.steps))
    errors = session.last_error_count or 0
    newest, first = (
        queries.find_error_increase(steps, points, count) if errors else None
        for count in (errors, 1)
    )
    return admin.render(
        request,
        admin.session_template,
        {
            **admin.frame(request, session),
            "title": escape_control_chars(session.pk),
            **_header(session, addresses),
            "errors": errors,
            "newest_error": _linked(addresses, session, newest),
            "first_error": _linked(addresses, session, first),
            "timeline": build_timeline(points),
            "timeline_view": f"0 -4 {WIDTH} {HEIGHT + 8}",
            "weave": weave,
            "weave_rows": _weave_rows(weave, addresses, session),
            "weave_columns": _weave_columns(weave, urls),
            "every_node": every_node,
            "all_nodes_url": f"?{_query(request, nodes='all')}",
            "steps": _step_rows(page, urls),
            "node": "" if node is None else format_node(node.encoded),
            "node_parameter": "" if node is None else node.encoded,
            **_turns(page, addresses, session, node),
            **extra_context,
        },
    )


def _step_asked_for(
    request: HttpRequest, admin: HistoryAdmin, session: Session, steps: StepQuerySet
) -> HttpResponse | None:
    wanted = step_parameter(request.GET["go"].strip())
    if wanted is None:
        messages.warning(request, _("A step is a whole number."))
        return None
    if steps.filter(step=wanted).exists():
        return HttpResponseRedirect(admin.addresses.step(session.pk, wanted))
    near = [record.step for record in neighbours(steps, wanted)]
    messages.warning(request, not_there(wanted, near))
    return None


def neighbours(steps: StepQuerySet, step: int) -> list[Any]:
    """Return the steps before and after a number, as far as there are any."""
    found = (queries.before(steps, step), queries.after(steps, step))
    return [record for record in found if record is not None]


def not_there(step: int, near: list[int]) -> str:
    """Return that a step is not there, and which are near."""
    if not near:
        return _("There is no step %(step)s.") % {"step": step}
    return _("There is no step %(step)s; the nearest are: %(near)s.") % {
        "step": step,
        "near": ", ".join(map(str, near)),
    }


def _node_asked_for(request: HttpRequest) -> NodeKind | None:
    text = request.GET.get("node", "")
    if not text:
        return None
    if not is_storable_text(text):
        messages.warning(request, _("No node can have this name."))
        return None
    return NodeKind.decode(text)


def _page_asked_for(request: HttpRequest, steps: StepQuerySet, node: NodeKind | None) -> StepPage:
    up_to = step_parameter(request.GET.get("before"))
    if node is not None:
        return queries.page_of_node(steps, node.encoded, up_to)
    later_than = step_parameter(request.GET.get("after"))
    if later_than is not None:
        return queries.page_after(steps, later_than)
    return queries.newest_page(steps, up_to)


def _query(request: HttpRequest, **changes: str) -> str:
    kept = request.GET.copy()
    kept.pop("go", None)
    for key, value in changes.items():
        kept[key] = value
    return kept.urlencode()


def _header(session: Session, addresses: Addresses) -> dict[str, Any]:
    is_finished = session.status == Session.Status.FINISHED
    frontier = () if is_finished else get_strings(session.last_frontier)
    nodes = _some([format_node(name) for name in frontier])
    is_empty = session.status == Session.Status.EMPTY
    last = None if is_empty else session.last_step
    return {
        "status": format_status(session.status, session.get_status_display()),
        "next_nodes": nodes["shown"],
        "next_hidden": nodes["hidden"],
        "last": last,
        "last_url": None if last is None else addresses.step(session.pk, last),
        "messages_count": intcomma(session.last_message_count or 0),
        "size": None
        if session.last_state_bytes is None
        else filesizeformat(session.last_state_bytes),
        "created": format_age_html(session.created_at),
        "updated": format_age_html(session.updated_at),
        "owner": escape_control_chars(session.owner),
        "origin": escape_control_chars(session.forked_from),
        "origin_url": addresses.session(session.forked_from) if session.forked_from else None,
        "origin_step_url": _origin_step(session, addresses),
        "compare_url": addresses.of("compare", session.pk),
        "fork_url": addresses.of("fork", session.pk),
        "download_url": addresses.of("download", session.pk),
        "delete_url": addresses.of("delete", session.pk),
        "log_url": addresses.of("history", session.pk),
    }


def _origin_step(session: Session, addresses: Addresses) -> str | None:
    if not session.forked_from or session.forked_at_step is None:
        return None
    return addresses.step(session.forked_from, session.forked_at_step)


def _linked(addresses: Addresses, session: Session, step: int | None) -> dict[str, Any] | None:
    return None if step is None else {"step": step, "url": addresses.step(session.pk, step)}


def _weave_columns(weave: Weave, urls: Mapping[int, str]) -> list[dict[str, Any]]:
    return [
        {
            "step": column.step,
            "url": urls[column.step],
            "has_new_errors": column.has_new_errors,
            "gap": None if column.gap is None else format_duration(column.gap),
        }
        for column in weave.columns
    ]


def _weave_rows(weave: Weave, addresses: Addresses, session: Session) -> list[dict[str, Any]]:
    symbols = build_cell_symbols()
    return [
        {
            "name": format_node(row.node),
            "url": addresses.session(session.pk, node=row.node),
            "cells": [symbols[cell] for cell in row.cells],
        }
        for row in weave.rows
    ]


def _step_rows(page: StepPage, urls: Mapping[int, str]) -> list[dict[str, Any]]:
    rows, day = [], ""
    for facts in page.steps:
        its_day = format_timestamp(facts.created_at)[:10]
        rows.append(
            {
                "url": urls[facts.step],
                "when": format_time_html(facts.created_at, with_date=its_day != day),
                **_step_row(facts),
            }
        )
        day = its_day
    return rows


def _step_row(facts: StepDelta) -> dict[str, Any]:
    return {
        "step": facts.step,
        "since": "" if facts.since is None else format_duration(facts.since),
        "is_late": facts.is_late,
        "names": [
            _some([format_node(name) for name in facts.ran]),
            _some([format_node(name) for name in facts.skipped]),
            _some(facts.channels),
        ],
        "messages": _number(facts.messages),
        "message_delta": format_signed(facts.message_delta),
        "errors": _number(facts.errors),
        "error_delta": format_signed(facts.error_delta),
        "size": "" if facts.bytes is None else filesizeformat(facts.bytes),
        "size_delta": format_signed(facts.size_delta, filesizeformat),
    }


def _some(names: Sequence[str]) -> dict[str, Any]:
    """Return the first of some names, and how many more there are."""
    return {
        "shown": [escape_control_chars(name) for name in names[:MAX_NAMES]],
        "hidden": max(0, len(names) - MAX_NAMES),
    }


def _number(value: int | None) -> str:
    return "" if value is None else intcomma(value)


def _turns(
    page: StepPage, addresses: Addresses, session: Session, node: NodeKind | None
) -> dict[str, Any]:
    """Return the links to the pages of steps around this one."""
    kept = {} if node is None else {"node": node.encoded}

    def link(name: str, step: int | None) -> str | None:
        return None if step is None else addresses.session(session.pk, **kept, **{name: step})

    return {
        "newest_url": addresses.session(session.pk, **kept),
        "newer_url": link("after", page.newer),
        "older_url": link("before", page.older),
        "continue_url": link("before", page.searched_to),
        "searched_to": page.searched_to,
        "clear_url": addresses.session(session.pk),
    }
