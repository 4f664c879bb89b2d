"""Compare two steps of a session, or of a session and another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from weavegraph_checkpoints.admin import queries
from weavegraph_checkpoints.admin.presenters.comparison import compare_checkpoints, format_summary
from weavegraph_checkpoints.admin.presenters.timeline import StepSummary
from weavegraph_checkpoints.admin.views.base import BaseSessionView, format_missing_step
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.limits import parse_non_negative_int
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.querysets import StepQuerySet


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the two steps."""

    object: Any
    session_id: str
    steps: StepQuerySet
    number: int
    summary: StepSummary | None
    """``None`` if the session has no step with this number."""


class CompareView(BaseSessionView):
    """Show what changed between two steps, of the session or of it and another."""

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        other = self.get_other_object()
        number = parse_non_negative_int(request.GET.get("to"))
        after = self.get_side(other, other.last_step if number is None else number)
        number = parse_non_negative_int(request.GET.get("from"))
        if number is None:
            previous = queries.get_previous_step(self.steps, after.number)
            number = after.number if previous is None else previous.step
        before = self.get_side(self.object, number)
        other_id = after.session_id if after.session_id != before.session_id else ""
        context = {
            "title": _("Compare steps"),
            "before": before.number,
            "after": after.number,
            "other": other_id,
            "other_name": escape_control_chars(other_id),
            "compare_url": self.urls.get_url("compare", self.session_id),
        }
        for side in (before, after):
            if side.summary is None:
                messages.warning(request, format_missing_step(side.steps, side.number))
        if before.summary is not None and after.summary is not None:
            context |= self.get_links(before, after, other_id)
            context |= self.get_changes(before, after)
        return self.render(self.model_admin.compare_template, context)

    def get_other_object(self) -> Any:
        """Return the session that ``other`` names, or else the session of the page."""
        other_id = self.request.GET.get("other", "")
        if other_id in ("", self.session_id):
            return self.object
        other: Any = self.model_admin.get_object(self.request, other_id)
        if other is None or not self.model_admin.has_view_permission(self.request, other):
            messages.warning(self.request, _("The session to compare with does not exist."))
            return self.object
        return other

    def get_side(self, obj: Any, number: int) -> _Side:
        """Return a step to compare, without its state."""
        steps = self.model_admin.get_steps(obj)
        return _Side(
            object=obj,
            session_id=self.model_admin.get_object_id(obj),
            steps=steps,
            number=number,
            summary=queries.get_step(steps, number),
        )

    def get_links(self, before: _Side, after: _Side, other_id: str) -> dict[str, Any]:
        """Return the links to both steps and to the adjacent and the swapped pair."""

        def get_pair_url(
            get_adjacent: Callable[[StepQuerySet, int], StepSummary | None],
        ) -> str | None:
            old, new = (get_adjacent(side.steps, side.number) for side in (before, after))
            if old is None or new is None:
                return None
            return self.urls.get_compare_url(before.session_id, old.step, new.step, other_id)

        old, new = before.number, after.number
        return {
            "swap_url": self.urls.get_compare_url(
                after.session_id, new, old, other_id and before.session_id
            ),
            "before_url": self.urls.get_step_url(before.session_id, old),
            "after_url": self.urls.get_step_url(after.session_id, new),
            "previous_url": get_pair_url(queries.get_previous_step),
            "next_url": get_pair_url(queries.get_next_step),
            "patch_url": None if other_id else self.urls.get_patch_url(before.session_id, old, new),
        }

    def get_changes(self, before: _Side, after: _Side) -> dict[str, Any]:
        """Return what changed, or why a step cannot be shown."""
        try:
            old, new = (
                self.model_admin.load_checkpoint(side.object, side.number)
                for side in (before, after)
            )
        except SerializationError as error:
            return {"broken": escape_control_chars(str(error))}
        if old is None or new is None:
            return {"broken": _("One of the steps has been deleted.")}
        comparison = compare_checkpoints(old, new)
        sizes = [side.summary.bytes if side.summary else None for side in (before, after)]
        return {"comparison": comparison, "summary": format_summary(comparison, *sizes)}
