"""Base views of the admin pages: permissions, the object and its steps, rendering."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.views.generic import View

from weavegraph_checkpoints.admin import queries
from weavegraph_checkpoints.admin.base import BaseSessionAdmin, SessionSummary
from weavegraph_checkpoints.admin.presenters.timeline import StepSummary
from weavegraph_checkpoints.admin.urls import SessionURLs
from weavegraph_checkpoints.domain import Checkpoint
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.limits import MAX_STEP
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.querysets import StepQuerySet


class BaseView(View):
    """A page of a ``BaseSessionAdmin``, the ``model_admin`` given to ``as_view()``."""

    http_method_names = ["get", "head"]
    model_admin: BaseSessionAdmin = None  # type: ignore[assignment]
    extra_context: dict[str, Any] | None = None

    def has_permission(self) -> bool:
        """Return whether the user may open the page: by default, may view sessions."""
        return self.model_admin.has_view_permission(self.request)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Raise ``PermissionDenied`` unless the user may open the page."""
        if not self.has_permission():
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    @cached_property
    def urls(self) -> SessionURLs:
        """The URLs of the pages."""
        return self.model_admin.session_urls

    def get_context(self) -> dict[str, Any]:
        """Return the context that all pages share."""
        return self.model_admin.get_page_context(self.request)

    def render(self, template_name: str, context: dict[str, Any]) -> TemplateResponse:
        """Return the page; ``context`` is added to the shared context."""
        self.request.current_app = self.model_admin.admin_site.name
        context = self.get_context() | context | (self.extra_context or {})
        return TemplateResponse(self.request, template_name, context)


class BaseSessionView(BaseView):
    """A page of one session, named by ``object_id`` in the URL."""

    @cached_property
    def object(self) -> SessionSummary:
        """The session; raise ``Http404`` if the admin has no such session."""
        found: SessionSummary = self.model_admin.get_object_or_404(
            self.request, self.kwargs["object_id"]
        )
        return found

    @cached_property
    def session_id(self) -> str:
        """The id of the session, unquoted."""
        return self.model_admin.get_object_id(self.object)

    @cached_property
    def steps(self) -> StepQuerySet:
        """The steps of the session."""
        return self.model_admin.get_steps(self.object)

    def get_context(self) -> dict[str, Any]:
        """Return the shared context with the breadcrumbs of the session and its id."""
        return {
            **self.model_admin.get_page_context(self.request, self.object),
            "subtitle": escape_control_chars(self.session_id),
        }


class BaseStepView(BaseSessionView):
    """A page of one step, named by ``step`` in the URL."""

    @cached_property
    def step(self) -> StepSummary:
        """The small columns of the step; raise ``Http404``, which names the nearest steps."""
        number = self.kwargs["step"]
        found = queries.get_step(self.steps, number) if number <= MAX_STEP else None
        if found is None:
            raise Http404(format_missing_step(self.steps, number))
        return found

    def get_checkpoint_or_404(self) -> Checkpoint:
        """Return the step with its state; raise ``Http404`` if it cannot be decoded."""
        number = self.kwargs["step"]
        checkpoint = None
        try:
            if number <= MAX_STEP:
                checkpoint = self.model_admin.load_checkpoint(self.object, number)
        except SerializationError as error:
            raise Http404(str(error)) from error
        if checkpoint is None:
            raise Http404(format_missing_step(self.steps, number))
        return checkpoint


def format_missing_step(steps: StepQuerySet, step: int) -> str:
    """Return the message that a step does not exist, with the nearest steps."""
    near = queries.get_adjacent_steps(steps, step) if step <= MAX_STEP else []
    if not near:
        return _("There is no step %(step)s.") % {"step": step}
    return _("There is no step %(step)s; the nearest are: %(near)s.") % {
        "step": step,
        "near": ", ".join(str(each.step) for each in near),
    }
