"""Deletes sessions through the service, and says what goes without reading it."""

from __future__ import annotations

from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html

from weavegraph_checkpoints.admin.base import HistoryAdmin
from weavegraph_checkpoints.admin.urls import DOTS
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.models import Session, Step

MAX_COUNTED = 10_000


class Deletion(HistoryAdmin):
    """The stock pages of deletion, made fit for sessions of many steps."""

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask whether a session shall go, and delete it."""
        session = self.session_or_404(request, object_id)
        name = (
            f"\N{FIRST STRONG ISOLATE}{escape_control_chars(session.pk)}\N{POP DIRECTIONAL ISOLATE}"
        )
        context = {**self.crumbs(session), "object": name, "escaped_object": name}
        segment = DOTS.get(object_id, object_id)
        return super().delete_view(request, segment, context | (extra_context or {}))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return the sessions, how many steps they have, and whether the user may."""
        sessions = list(objs)
        lines = [
            format_html(
                '<a href="{}"><bdi>{}</bdi></a>',
                self.addresses.session(session.pk),
                escape_control_chars(session.pk),
            )
            for session in sessions
        ]
        counts = {
            Session._meta.verbose_name_plural: len(sessions),
            Step._meta.verbose_name_plural: _step_count(sessions),
        }
        lacking = {
            str(self.opts.verbose_name)
            for session in sessions
            if not self.has_delete_permission(request, session)
        }
        return lines, counts, lacking, []

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: Any) -> HttpResponse:
        """Go back to the list, which the stock admin does for who may change alone."""
        response = super().response_delete(request, obj_display, obj_id)
        if isinstance(response, HttpResponseRedirect):
            return HttpResponseRedirect(self.addresses.sessions())
        return response

    def delete_model(self, request: HttpRequest, obj: Session) -> None:
        """Delete one session with its steps."""
        self.writer_of(obj).delete_session(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        """Delete sessions with their steps, each in a transaction of its own."""
        for session in sorted(queryset, key=lambda session: str(session.pk)):
            self.delete_model(request, session)


def _step_count(sessions: list[Session]) -> str:
    """Return how many steps some sessions have; beyond 10 000 nobody counts."""
    if not sessions:
        return intcomma(0)
    steps = Step._default_manager.using(sessions[0]._state.db)
    found = steps.filter(session_id__in=[session.pk for session in sessions])
    count = found.order_by().values("pk")[: MAX_COUNTED + 1].count()
    return f"{intcomma(MAX_COUNTED)}+" if count > MAX_COUNTED else intcomma(count)
