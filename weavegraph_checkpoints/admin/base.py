"""What all pages share: the session, its steps, permissions and the frame around them."""

from __future__ import annotations

from typing import Any

import django
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import Http404, HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from weavegraph_checkpoints.admin.urls import Addresses, unquoted
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.limits import MAX_STEP, is_session_id
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.querysets import StepQuerySet

FOLDER = "admin/weavegraph_checkpoints/session"


class HistoryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Browses sessions, never edits them.

    Every page finds its session in ``get_queryset``, so a subclass that narrows it
    narrows every page.
    """

    change_list_template = f"{FOLDER}/change_list.html"
    session_template = f"{FOLDER}/session.html"
    step_template = f"{FOLDER}/step.html"
    value_template = f"{FOLDER}/value.html"
    compare_template = f"{FOLDER}/compare.html"
    fork_template = f"{FOLDER}/fork.html"
    prune_template = f"{FOLDER}/prune.html"
    delete_confirmation_template = f"{FOLDER}/delete_confirmation.html"
    object_history_template = f"{FOLDER}/object_history.html"

    class Media:
        css = {"all": ["weavegraph_checkpoints/weave.css"]}

    @property
    def addresses(self) -> Addresses:
        """The URLs of the pages."""
        return Addresses(self.admin_site.name)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """Return the session of that id; ``None`` also for what no id can be."""
        if not is_session_id(object_id):
            return None
        return super().get_object(request, object_id, from_field)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: sessions are made by workflows, and by forks."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say no: history is never edited."""
        return False

    def has_fork_permission(self, request: HttpRequest) -> bool:
        """Say whether the user may make a session out of another: ``add_session``."""
        return bool(request.user.has_perm("weavegraph_checkpoints.add_session"))

    def has_prune_permission(self, request: HttpRequest) -> bool:
        """Say whether the user may prune, in all sessions there are: ``delete_session``."""
        return self.has_delete_permission(request)

    def session_or_404(self, request: HttpRequest, object_id: str) -> Session:
        """Return the session that a URL names, without its state.

        Raises ``PermissionDenied`` for who may not view it, and ``Http404``.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        session: Session | None = self.get_object(request, unquoted(object_id))
        if session is None:
            raise Http404(_("There is no such session."))
        if not self.has_view_permission(request, session):
            raise PermissionDenied
        return session

    def steps_of(self, session: Session) -> StepQuerySet:
        """Return the steps of a session, where the session was read."""
        steps: StepQuerySet = Step._default_manager.using(session._state.db).of(session.pk)
        return steps

    def reader_of(self, session: Session) -> DjangoCheckpointer:
        """Return the service where the session was read."""
        return DjangoCheckpointer(using=session._state.db)

    def writer_of(self, session: Session) -> DjangoCheckpointer:
        """Return the service where the session is written."""
        return DjangoCheckpointer(using=router.db_for_write(Session, instance=session))

    def crumbs(self, session: Session | None) -> dict[str, Any]:
        """Return what the breadcrumbs use."""
        return {
            "session": session,
            "session_name": "" if session is None else escape_control_chars(session.pk),
            "sessions_url": self.addresses.sessions(),
            "session_url": None if session is None else self.addresses.session(session.pk),
            "crumbs_are_a_list": django.VERSION >= (6, 1),
        }

    def frame(self, request: HttpRequest, session: Session | None = None) -> dict[str, Any]:
        """Return what the templates of all pages use."""
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            **self.crumbs(session),
            "may_fork": self.has_fork_permission(request),
            "may_delete": self.has_delete_permission(request, session),
            "subtitle": None,
        }

    def render(
        self, request: HttpRequest, template: str, context: dict[str, Any]
    ) -> TemplateResponse:
        """Return a page in the frame of the admin."""
        request.current_app = self.admin_site.name
        return TemplateResponse(request, template, context)


def step_parameter(text: str | None) -> int | None:
    """Return the step that a parameter names, ``None`` for what is none."""
    if text is None or not (text.isascii() and text.isdecimal() and len(text) <= 19):
        return None
    return int(text) if int(text) <= MAX_STEP else None
