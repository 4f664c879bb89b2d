"""Base views of the admin pages: permissions, the object and its steps, rendering."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.views.generic import View

from weavegraph_checkpoints.admin import queries
from weavegraph_checkpoints.admin.base import BaseSessionAdmin
from weavegraph_checkpoints.admin.presenters.timeline import StepSummary
from weavegraph_checkpoints.domain import Checkpoint
from weavegraph_checkpoints.domain.limits import MAX_STEP
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.querysets import StepQuerySet


class BaseView(View):
    """A page of a ``BaseSessionAdmin``, the ``model_admin`` given to ``as_view()``."""

    http_method_names = ["get", "head"]
    model_admin: BaseSessionAdmin = None  # type: ignore[assignment]
    extra_context: dict[str, Any] | None = None
    object: Any = None

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self.urls = self.model_admin.get_session_urls(request)

    def has_permission(self) -> bool:
        """Return whether the user may open the page."""
        return self.model_admin.has_view_permission(self.request)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not self.has_permission():
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    def render(self, template_name: str, context: dict[str, Any]) -> TemplateResponse:
        """Return the page, with the context that all pages share added."""
        self.request.current_app = self.model_admin.admin_site.name
        shared = self.model_admin.get_page_context(self.request, self.object)
        return TemplateResponse(
            self.request, template_name, shared | context | (self.extra_context or {})
        )


class BaseSessionView(BaseView):
    """A page of one session, named by ``object_id`` in the URL."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.object = self.model_admin.get_object_or_404(request, kwargs["object_id"])
        self.session_id = self.model_admin.get_object_id(self.object)
        self.steps = self.model_admin.get_steps(self.object)
        return super().dispatch(request, *args, **kwargs)


class BaseStepView(BaseSessionView):
    """A page of one step, named by ``step`` in the URL."""

    def get_step_or_404(self) -> StepSummary:
        """Return the step without its state; the ``Http404`` names the nearest steps."""
        number = self.kwargs["step"]
        step = queries.get_step(self.steps, number) if number <= MAX_STEP else None
        if step is None:
            raise Http404(format_missing_step(self.steps, number))
        return step

    def get_checkpoint_or_404(self) -> Checkpoint:
        """Return the step with its state; raise ``Http404`` if it cannot be decoded."""
        number = self.kwargs["step"]
        try:
            checkpoint = self.model_admin.load_checkpoint(self.object, number)
        except SerializationError as error:
            raise Http404(str(error)) from error
        if checkpoint is None:
            raise Http404(format_missing_step(self.steps, number))
        return checkpoint


def format_missing_step(steps: StepQuerySet, step: int) -> str:
    """Return the message that a step does not exist, with the nearest steps."""
    near = ""
    if step <= MAX_STEP:
        adjacent = (queries.get_previous_step(steps, step), queries.get_next_step(steps, step))
        near = ", ".join(str(each.step) for each in adjacent if each is not None)
    if not near:
        return _("There is no step %(step)s.") % {"step": step}
    text = _("There is no step %(step)s. The nearest steps: %(near)s.")
    return text % {"step": step, "near": near}
