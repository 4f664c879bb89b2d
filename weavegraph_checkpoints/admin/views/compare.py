"""Two steps beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from weavegraph_checkpoints.admin import queries
from weavegraph_checkpoints.admin.base import HistoryAdmin, step_parameter
from weavegraph_checkpoints.admin.presenters.comparison import compare_checkpoints, format_summary
from weavegraph_checkpoints.admin.presenters.timeline import StepSummary
from weavegraph_checkpoints.admin.urls import Addresses, patch_address
from weavegraph_checkpoints.admin.views.session import neighbours, not_there
from weavegraph_checkpoints.domain import Checkpoint
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.querysets import StepQuerySet


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the two steps."""

    session: Session
    steps: StepQuerySet
    wanted: int | None
    record: StepSummary | None


def compare_page(request: HttpRequest, admin: HistoryAdmin, object_id: str) -> HttpResponse:
    """Show what changed from one step to another, of the session or of a fork of it."""
    session = admin.session_or_404(request, object_id)
    other = _other_session(request, admin, session)
    steps, other_steps = admin.steps_of(session), admin.steps_of(other)
    to = step_parameter(request.GET.get("to"))
    if to is None:
        to = other.last_step
    wanted = step_parameter(request.GET.get("from"))
    if wanted is None:
        found = queries.before(steps, to)
        wanted = to if found is None else found.step
    before = _Side(session=session, steps=steps, wanted=wanted, record=queries.one(steps, wanted))
    after = _Side(session=other, steps=other_steps, wanted=to, record=queries.one(other_steps, to))
    context = {
        **admin.frame(request, session),
        "title": _("Compare steps"),
        "subtitle": escape_control_chars(session.pk),
        "before": wanted,
        "after": to,
        "other": other.pk if other.pk != session.pk else "",
        "other_name": escape_control_chars(other.pk) if other.pk != session.pk else "",
        "compare_url": admin.addresses.of("compare", session.pk),
        **_links(admin.addresses, before, after),
    }
    for side in (before, after):
        if side.record is None and side.wanted is not None:
            near = [record.step for record in neighbours(side.steps, side.wanted)]
            messages.warning(request, not_there(side.wanted, near))
    if before.record is not None and after.record is not None:
        context |= _changes(admin, before, after)
    return admin.render(request, admin.compare_template, context)


def _other_session(request: HttpRequest, admin: HistoryAdmin, session: Session) -> Session:
    other_id = request.GET.get("other", "")
    if other_id in ("", session.pk):
        return session
    other: Session | None = admin.get_object(request, other_id)
    if other is None or not admin.has_view_permission(request, other):
        messages.warning(request, _("There is no such session to compare with."))
        return session
    return other


def _links(addresses: Addresses, before: _Side, after: _Side) -> dict[str, Any]:
    """Return the links to the pair turned round, and to the pairs around it."""
    if before.record is None or after.record is None:
        return {}
    old, new = before.record.step, after.record.step
    other = after.session.pk if after.session.pk != before.session.pk else ""

    def pair(shift: Any) -> str | None:
        left, right = shift(before.steps, old), shift(after.steps, new)
        if left is None or right is None:
            return None
        return addresses.compare(before.session.pk, left.step, right.step, other)

    return {
        "swap_url": addresses.compare(after.session.pk, new, old, other and before.session.pk),
        "before_url": addresses.step(before.session.pk, old),
        "after_url": addresses.step(after.session.pk, new),
        "previous_url": pair(queries.before),
        "next_url": pair(queries.after),
        "patch_url": None if other else patch_address(before.session.pk, old, new),
    }


def _changes(admin: HistoryAdmin, before: _Side, after: _Side) -> dict[str, Any]:
    try:
        old, new = (_load(admin, side) for side in (before, after))
    except SerializationError as error:
        return {"broken": escape_control_chars(str(error))}
    if old is None or new is None:
        return {"broken": _("One of the steps was deleted meanwhile.")}
    comparison = compare_checkpoints(old, new)
    sizes = [None if side.record is None else side.record.bytes for side in (before, after)]
    return {"comparison": comparison, "summary": format_summary(comparison, *sizes)}


def _load(admin: HistoryAdmin, side: _Side) -> Checkpoint | None:
    if side.record is None:
        return None
    return admin.reader_of(side.session).load(side.session.pk, side.record.step)
