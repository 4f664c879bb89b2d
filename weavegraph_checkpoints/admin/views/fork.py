"""A new session out of the steps of another."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from weavegraph_checkpoints.admin.base import HistoryAdmin, step_parameter
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.limits import MAX_SESSION_ID_LENGTH, MAX_STEP
from weavegraph_checkpoints.exceptions import SessionExists, SessionNotFound
from weavegraph_checkpoints.fields import validate_session_id
from weavegraph_checkpoints.models import Session

ENDING = "-fork"


class ForkForm(forms.Form):
    """What the new session is called, and up to where it has the steps of the old."""

    target = forms.CharField(
        label=gettext_lazy("Id of the new session"),
        max_length=MAX_SESSION_ID_LENGTH,
        strip=False,
        validators=[validate_session_id],
    )
    at_step = forms.IntegerField(
        label=gettext_lazy("At step"),
        min_value=0,
        max_value=MAX_STEP,
        help_text=gettext_lazy("The fork has all steps up to this one, and goes on from it."),
    )


def fork_page(request: HttpRequest, admin: HistoryAdmin, object_id: str) -> HttpResponse:
    """Ask for the target and the step, make the fork, and go there."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    session = admin.session_or_404(request, object_id)
    if not admin.has_fork_permission(request):
        raise PermissionDenied
    if request.method == "POST":
        form = ForkForm(request.POST)
        if form.is_valid():
            made = _fork(admin, session, form)
            if made is not None:
                return _done(request, admin, session, made)
    else:
        at_step = step_parameter(request.GET.get("at"))
        target = session.pk[: MAX_SESSION_ID_LENGTH - len(ENDING)] + ENDING
        form = ForkForm(
            initial={"target": target, "at_step": session.last_step if at_step is None else at_step}
        )
    context: dict[str, Any] = {
        **admin.frame(request, session),
        "title": _("Fork session"),
        "subtitle": escape_control_chars(session.pk),
        "form": form,
        "is_empty": session.status == Session.Status.EMPTY,
    }
    return admin.render(request, admin.fork_template, context)


def _fork(admin: HistoryAdmin, session: Session, form: ForkForm) -> Session | None:
    """Return the fork, or ``None`` with the reason at the field of the form."""
    target, at_step = form.cleaned_data["target"], form.cleaned_data["at_step"]
    writer = admin.writer_of(session)
    try:
        writer.fork_session(session.pk, target, at_step=at_step)
    except SessionExists:
        form.add_error("target", _("A session of this id exists already."))
    except SessionNotFound:
        form.add_error("at_step", _("The session has no step at or before this one."))
    else:
        made: Session = Session._default_manager.using(writer.using).light().get(pk=target)
        return made
    return None


def _done(
    request: HttpRequest, admin: HistoryAdmin, session: Session, made: Session
) -> HttpResponse:
    text = _("Forked from %(source)s at step %(step)s.")
    details = {"source": session.pk, "step": made.forked_at_step}
    admin.log_addition(request, made, text % details)
    messages.success(request, text % {**details, "source": escape_control_chars(session.pk)})
    return HttpResponseRedirect(admin.addresses.session(made.pk))
