"""Compare two steps of a session, or of a session and another."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from weavegraph_checkpoints.admin import queries
from weavegraph_checkpoints.admin.presenters.budget import PageBudget
from weavegraph_checkpoints.admin.presenters.comparison import compare_checkpoints, format_summary
from weavegraph_checkpoints.admin.views.base import BaseSessionView, format_missing_step
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.limits import parse_non_negative_int
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.querysets import StepQuerySet


class CompareView(BaseSessionView):
    """Show what changed between two steps, of the session or of it and another."""

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        other = self.get_other_object()
        objects = (self.object, other)
        steps = (self.steps, self.model_admin.get_steps(other))
        before = parse_non_negative_int(request.GET.get("from"))
        after = parse_non_negative_int(request.GET.get("to"))
        if after is None:
            after = int(other.last_step)
        previous = None
        if before is None:
            previous = queries.get_previous_step(self.steps, after)
            before = after if previous is None else previous.step
        numbers = (before, after)
        summaries = [
            previous or queries.get_step(steps[0], before),
            queries.get_step(steps[1], after),
        ]
        other_id = self.model_admin.get_object_id(other) if other is not self.object else ""
        context = {
            "title": _("Compare steps"),
            "before": before,
            "after": after,
            "other": other_id,
            "other_name": escape_control_chars(other_id),
            "compare_url": self.urls.get_url("compare", self.session_id),
        }
        for side, number, summary in zip(steps, numbers, summaries, strict=True):
            if summary is None:
                messages.warning(request, format_missing_step(side, number))
        if None not in summaries:
            context |= self.get_links(steps, numbers, other_id)
            sides: Any = zip(steps, summaries, strict=True)
            if queries.is_decodable(*sides):
                sizes = [summary and summary.bytes for summary in summaries]
                context |= self.get_changes(objects, numbers, sizes)
            else:
                context["is_too_complex"] = True
        return self.render(self.model_admin.compare_template, context)

    def get_other_object(self) -> Any:
        """Return the session that ``other`` names, or else the session of the page."""
        other_id = self.request.GET.get("other", "")
        if other_id in ("", self.session_id):
            return self.object
        other = self.model_admin.get_object(self.request, other_id)
        if other is None or not self.model_admin.has_view_permission(self.request, other):
            messages.warning(self.request, _("The session to compare with does not exist."))
            return self.object
        return other

    def get_links(
        self, steps: tuple[StepQuerySet, StepQuerySet], numbers: tuple[int, int], other_id: str
    ) -> dict[str, Any]:
        """Return the links to both steps, to the swapped and to the adjacent pairs."""
        before, after = numbers
        after_id = other_id or self.session_id
        links: dict[str, Any] = {
            "swap_url": self.urls.get_compare_url(
                after_id, after, before, other_id and self.session_id
            ),
            "before_url": self.urls.get_step_url(self.session_id, before),
            "after_url": self.urls.get_step_url(after_id, after),
        }
        if not other_id:
            links["patch_url"] = self.urls.get_patch_url(self.session_id, before, after)
        for name, get_adjacent in (
            ("previous_url", queries.get_previous_step),
            ("next_url", queries.get_next_step),
        ):
            old, new = (get_adjacent(*side) for side in zip(steps, numbers, strict=True))
            if old is not None and new is not None:
                links[name] = self.urls.get_compare_url(
                    self.session_id, old.step, new.step, other_id
                )
        return links

    def get_changes(
        self, objects: tuple[Any, Any], numbers: tuple[int, int], sizes: list[Any]
    ) -> dict[str, Any]:
        """Return what changed, or why a step cannot be shown."""
        try:
            old, new = map(self.model_admin.load_checkpoint, objects, numbers)
        except SerializationError as error:
            return {"broken": escape_control_chars(str(error))}
        if old is None or new is None:
            return {"broken": _("One of the steps has been deleted.")}
        budget = PageBudget()
        comparison = compare_checkpoints(old, new, budget)
        return {
            "comparison": comparison,
            "summary": format_summary(comparison, *sizes),
            "budget": budget,
        }
