"""Fork a session: copy its steps into a new one."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from weavegraph_checkpoints.admin.views.base import BaseSessionView
from weavegraph_checkpoints.domain import Checkpoint
from weavegraph_checkpoints.domain.escaping import escape_direction_chars
from weavegraph_checkpoints.domain.limits import (
    MAX_SESSION_ID_LENGTH,
    MAX_STEP,
    parse_non_negative_int,
)
from weavegraph_checkpoints.exceptions import SessionExists, SessionNotFound
from weavegraph_checkpoints.fields import validate_session_id

TARGET_SUFFIX = "-fork"


class ForkForm(forms.Form):
    """The id of the new session and the last step to copy."""

    target = forms.CharField(
        label=gettext_lazy("New session id"),
        max_length=MAX_SESSION_ID_LENGTH,
        strip=False,
        validators=[validate_session_id],
    )
    at_step = forms.IntegerField(
        label=gettext_lazy("At step"),
        min_value=0,
        max_value=MAX_STEP,
        help_text=gettext_lazy("Copy the steps up to and including this one."),
    )


class ForkView(BaseSessionView):
    """Ask for the new session id and the step, fork, and redirect to the fork."""

    http_method_names = ["get", "head", "post"]

    def has_permission(self) -> bool:
        return super().has_permission() and self.model_admin.has_fork_permission(self.request)

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        at_step = parse_non_negative_int(request.GET.get("at"))
        target = self.session_id[: MAX_SESSION_ID_LENGTH - len(TARGET_SUFFIX)] + TARGET_SUFFIX
        last_step = self.object.last_step
        initial = {"target": target, "at_step": last_step if at_step is None else at_step}
        return self.render_form(ForkForm(initial=initial))

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = ForkForm(request.POST)
        fork = self.fork(form) if form.is_valid() else None
        if fork is None:
            return self.render_form(form)
        text = _("Forked from %(source)s at step %(step)s.")
        values = {"source": escape_direction_chars(self.session_id), "step": fork.step}
        obj = self.model_admin.model(pk=fork.session_id)
        self.model_admin.log_addition(request, obj, text % values)
        messages.success(request, text % values)
        return HttpResponseRedirect(self.urls.get_session_url(fork.session_id))

    def fork(self, form: ForkForm) -> Checkpoint | None:
        """Return the last step of the fork, or ``None`` after adding an error to the form."""
        writer = self.model_admin.get_writer(self.object)
        target, at_step = form.cleaned_data["target"], form.cleaned_data["at_step"]
        try:
            return writer.fork_session(self.session_id, target, at_step=at_step)
        except SessionExists:
            form.add_error("target", _("A session with this id already exists."))
        except SessionNotFound:
            form.add_error("at_step", _("The session has no step at or before this one."))
        return None

    def render_form(self, form: ForkForm) -> HttpResponse:
        """Return the page with the form, or a note if there is no step to fork at."""
        is_empty = not self.model_admin.has_steps(self.object)
        context = {"title": _("Fork session"), "form": form, "is_empty": is_empty}
        return self.render(self.model_admin.fork_template, context)
