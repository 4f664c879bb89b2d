"""One step in full, and one value of its state."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from weavegraph_checkpoints import serde
from weavegraph_checkpoints.admin import queries
from weavegraph_checkpoints.admin.base import HistoryAdmin, step_parameter
from weavegraph_checkpoints.admin.formatting import (
    format_age_html,
    format_duration,
    format_node,
    format_scope,
    format_timestamp,
)
from weavegraph_checkpoints.admin.presenters.conversation import build_conversation
from weavegraph_checkpoints.admin.presenters.timeline import StepSummary
from weavegraph_checkpoints.admin.presenters.values import (
    MAX_ENTRIES,
    build_json_pointer,
    build_value_lines,
    build_value_tree,
    format_json,
    resolve_json_pointer,
)
from weavegraph_checkpoints.admin.presenters.versions_seen import build_versions_seen
from weavegraph_checkpoints.admin.urls import Addresses
from weavegraph_checkpoints.admin.views.session import neighbours, not_there
from weavegraph_checkpoints.domain import Checkpoint, ErrorEvent, WeaveError
from weavegraph_checkpoints.domain.diff import Path
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.querysets import StepQuerySet

LARGE_BYTES = 1_000_000
MAX_ERRORS = 50
MAX_CAUSES = 20
SUMMARY = 100
"""Characters of a folded error that are shown."""


def step_page(
    request: HttpRequest, admin: HistoryAdmin, object_id: str, number: int
) -> HttpResponse:
    """Show one step: its errors, conversation, extras, control and raw JSON."""
    session = admin.session_or_404(request, object_id)
    steps = admin.steps_of(session)
    record = record_or_404(steps, number)
    if request.GET.get("go") == "error":
        found = _next_error(steps, session, record)
        return HttpResponseRedirect(admin.addresses.step(session.pk, found or record.step))
    previous, following = queries.before(steps, number), queries.after(steps, number)
    context = {
        **admin.frame(request, session),
        "title": _("Step %(step)s") % {"step": number},
        "subtitle": escape_control_chars(session.pk),
        "record": record,
        "when": format_age_html(record.created_at),
        "exact": format_timestamp(record.created_at),
        "size": None if record.bytes is None else filesizeformat(record.bytes),
        "since": _since(record, previous),
        "is_late": following is not None and following.created_at < record.created_at,
        "is_last": following is None,
        **_links(admin.addresses, session, record, previous, following),
    }
    try:
        checkpoint = admin.reader_of(session).load(session.pk, number)
    except SerializationError as error:
        return admin.render(
            request, admin.step_template, context | {"broken": escape_control_chars(str(error))}
        )
    if checkpoint is None:
        raise Http404(not_there(number, []))
    return admin.render(
        request,
        admin.step_template,
        context | _contents(request, admin.addresses, checkpoint, record, previous),
    )


def record_or_404(steps: StepQuerySet, number: int) -> StepSummary:
    """Return the small columns of a step; raise ``Http404``, which says what is near."""
    if step_parameter(str(number)) is None:
        raise Http404(not_there(number, []))
    record = queries.one(steps, number)
    if record is None:
        raise Http404(not_there(number, [near.step for near in neighbours(steps, number)]))
    return record


def _next_error(steps: StepQuerySet, session: Session, record: StepSummary) -> int | None:
    """Return the next step at which there are more errors."""
    known = record.errors or 0
    points = queries.points_of(steps, session.last_step)
    edge = record.step
    for point in points:
        if point.step > record.step and (point.errors or 0) > known:
            found = steps.filter(step__gt=edge, step__lte=point.step, error_count__gt=known)
            return next(iter(found.order_by("step").numbers()[:1]), None)
        edge = max(edge, point.step)
    return None


def _links(
    addresses: Addresses,
    session: Session,
    record: StepSummary,
    previous: StepSummary | None,
    following: StepSummary | None,
) -> dict[str, Any]:
    step = record.step
    has_next_error = (session.last_error_count or 0) > (record.errors or 0)
    before = None if previous is None else previous.step
    return {
        "previous_url": None if before is None else addresses.step(session.pk, before),
        "previous_step": before,
        "next_url": None if following is None else addresses.step(session.pk, following.step),
        "next_step": None if following is None else following.step,
        "compare_url": None if before is None else addresses.compare(session.pk, before, step),
        "next_error_url": addresses.step(session.pk, step, go="error") if has_next_error else None,
        "fork_url": addresses.of("fork", session.pk, query={"at": step}),
        "raw_url": addresses.of("raw", session.pk, step),
        "value_url": addresses.of("value", session.pk, step),
        "step_url": addresses.step(session.pk, step),
        "whole_url": addresses.step(session.pk, step, whole="yes"),
    }


def _contents(
    request: HttpRequest,
    addresses: Addresses,
    checkpoint: Checkpoint,
    record: StepSummary,
    previous: StepSummary | None,
) -> dict[str, Any]:
    state = checkpoint.state
    errors = list(enumerate(state.errors.items))
    shown = errors if request.GET.get("errors") == "all" else errors[-MAX_ERRORS:]
    known_errors = 0 if previous is None or previous.errors is None else previous.errors
    contents: dict[str, Any] = {
        "checkpoint": checkpoint,
        "errors": [_error(index, event, index >= known_errors) for index, event in reversed(shown)],
        "errors_total": len(errors),
        "errors_hidden": len(errors) - len(shown),
        "versions": state,
    }
    size = record.bytes if record.bytes is not None else len(serde.dumps_state(state))
    is_large = size > LARGE_BYTES
    if is_large and request.GET.get("whole") != "yes":
        return contents | {"is_large": True, "size": filesizeformat(size)}
    known = None if previous is None else previous.messages
    up_to = step_parameter(request.GET.get("messages"))
    conversation = build_conversation(state.messages.items, known_before=known, up_to=up_to)
    return contents | {
        "size": filesizeformat(size),
        "conversation": conversation,
        "extras": build_value_tree(state.extra.map, ("extra", "map")),
        "extras_count": len(state.extra.map),
        "frontier": _names([node.encoded for node in checkpoint.frontier]),
        "ran": _names([node.encoded for node in checkpoint.ran_nodes]),
        "skipped": _names([node.encoded for node in checkpoint.skipped_nodes]),
        "channels": [escape_control_chars(name) for name in checkpoint.updated_channels],
        "seen": build_versions_seen(checkpoint.versions_seen, state),
        "raw": "" if is_large else serde.dumps(checkpoint).decode(),
    }


def _since(record: StepSummary, previous: StepSummary | None) -> str | None:
    return None if previous is None else format_duration(record.created_at - previous.created_at)


def _names(encoded: list[str]) -> list[str]:
    return [format_node(name) for name in encoded]


def _error(index: int, event: ErrorEvent, is_new: bool) -> dict[str, Any]:
    path: Path = ("errors", "items", index)
    causes: list[dict[str, Any]] = []
    error: WeaveError | None = event.error
    cause_path: Path = (*path, "error")
    while error is not None and len(causes) <= MAX_CAUSES:
        causes.append(
            {
                "message": escape_control_chars(error.message),
                "details": build_value_lines(error.details, (*cause_path, "details")),
            }
        )
        error, cause_path = error.cause, (*cause_path, "cause")
    return {
        "number": index + 1,
        "is_new": is_new,
        "when": event.when,
        "scope": escape_control_chars(format_scope(event.scope)),
        "message": causes[0]["message"],
        "summary": escape_control_chars(causes[0]["message"][:SUMMARY]),
        "details": causes[0]["details"],
        "causes": causes[1:],
        "more_causes": error is not None,
        "tags": [escape_control_chars(tag) for tag in event.tags],
        "context": build_value_lines(event.context, (*path, "context")),
    }


def value_page(
    request: HttpRequest, admin: HistoryAdmin, object_id: str, number: int
) -> HttpResponse:
    """Show one value of a step's state, 200 entries a page."""
    session = admin.session_or_404(request, object_id)
    record_or_404(admin.steps_of(session), number)
    try:
        checkpoint = admin.reader_of(session).load(session.pk, number)
    except SerializationError as error:
        raise Http404(str(error)) from error
    found = None
    if checkpoint is not None:
        document = serde.loads_json(serde.dumps_state(checkpoint.state))
        found = resolve_json_pointer(document, request.GET.get("at", ""))
    if found is None:
        raise Http404(_("There is no such value."))
    path, value = found
    offset = step_parameter(request.GET.get("offset")) or 0
    has_entries = isinstance(value, dict | list)
    addresses = admin.addresses
    return admin.render(
        request,
        admin.value_template,
        {
            **admin.frame(request, session),
            "title": _("Step %(step)s") % {"step": number},
            "subtitle": escape_control_chars(session.pk),
            "step": number,
            "step_url": addresses.step(session.pk, number),
            "value_url": addresses.of("value", session.pk, number),
            "trail": _trail(path),
            "lines": build_value_tree(value, path, offset=offset) if has_entries else [],
            "has_entries": has_entries,
            "count": len(value) if has_entries else 0,
            "offset": offset,
            "earlier": max(0, offset - MAX_ENTRIES) if offset else None,
            "text": "" if has_entries else format_json(value),
            "plain": escape_control_chars(value) if isinstance(value, str) else "",
            "pointer": request.GET.get("at", ""),
        },
    )


def _trail(path: Path) -> list[dict[str, str]]:
    """Return the values on the way to one, from the whole state on."""
    return [
        {
            "label": str(key) if isinstance(key, int) else format_json(key),
            "pointer": build_json_pointer(path[: index + 1]),
        }
        for index, key in enumerate(path)
    ]
