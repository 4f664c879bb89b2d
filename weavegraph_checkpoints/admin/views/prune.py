"""Prunes by a policy: first the counts of a dry run, then batch after batch."""

from __future__ import annotations

import shlex
import time
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DEFAULT_DB_ALIAS, router
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from weavegraph_checkpoints import pruning
from weavegraph_checkpoints.admin.base import HistoryAdmin, step_parameter
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.limits import MAX_SESSION_ID_LENGTH, MAX_STEP
from weavegraph_checkpoints.domain.retention import RetentionPolicy, parse_duration
from weavegraph_checkpoints.exceptions import InvalidPolicy
from weavegraph_checkpoints.fields import validate_session_id
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.pruning import PruneResult

BATCHES_A_REQUEST = 5
SECONDS_A_REQUEST = 5.0


class DurationField(forms.CharField):
    """A span of time as on the command line."""

    def clean(self, value: Any) -> Any:
        """Return the span, ``None`` for an empty field."""
        text = super().clean(value)
        if not text:
            return None
        try:
            return parse_duration(text)
        except InvalidPolicy:
            raise ValidationError(_("Write 30d, 12h, 2w, 90m or ISO 8601.")) from None


class PruneForm(forms.Form):
    """A policy: rules, and which sessions they are for."""

    keep_last = forms.IntegerField(
        label=gettext_lazy("Keep the last"),
        required=False,
        min_value=1,
        max_value=MAX_STEP,
        help_text=gettext_lazy("Steps that are not among the newest so many of a session go."),
    )
    older_than = DurationField(
        label=gettext_lazy("Older than"),
        required=False,
        help_text=gettext_lazy(
            "Steps older than this go: 30d, 12h, 2w, 90m. With the rule above, a step goes only "
            "when both name it; the newest step of a session never goes."
        ),
    )
    delete_inactive = DurationField(
        label=gettext_lazy("Delete inactive"),
        required=False,
        help_text=gettext_lazy("Whole sessions that were not updated for so long go."),
    )
    session = forms.CharField(
        label=gettext_lazy("Only the session"),
        required=False,
        strip=False,
        max_length=MAX_SESSION_ID_LENGTH,
        validators=[validate_session_id],
    )
    status = forms.ChoiceField(
        label=gettext_lazy("Only of the status"),
        required=False,
        choices=[("", gettext_lazy("any")), *Session.Status.choices],
    )
    owner = forms.CharField(
        label=gettext_lazy("Only of the owner"),
        required=False,
        strip=False,
        max_length=MAX_SESSION_ID_LENGTH,
        validators=[validate_session_id],
    )

    def clean(self) -> dict[str, Any]:
        """Make the policy."""
        values = super().clean() or {}
        rules = {name: values.get(name) for name in ("keep_last", "older_than", "delete_inactive")}
        if not self.errors:
            if all(rule is None for rule in rules.values()):
                raise ValidationError(_("Give at least one of the first three rules."))
            values["policy"] = RetentionPolicy(
                **rules,
                session_ids=[values["session"]] if values["session"] else None,
                status=values["status"] or None,
                owner=values["owner"] or None,
            )
        return values


class _TimeIsUp(Exception):
    """A request has counted, or pruned, long enough."""


def prune_page(request: HttpRequest, admin: HistoryAdmin) -> HttpResponse:
    """Ask for a policy, show what would go, and let it go."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    if not (admin.has_view_permission(request) and admin.has_prune_permission(request)):
        raise PermissionDenied
    context: dict[str, Any] = {**admin.frame(request), "title": _("Prune")}
    form = PruneForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        policy: RetentionPolicy = form.cleaned_data["policy"]
        if request.POST.get("stage") == "run":
            result = _run(policy)
            _log(request, result, form)
            totals = _totals(request, result)
            if result.finished:
                messages.success(request, _("Pruned %(what)s.") % {"what": _counted(*totals)})
                return HttpResponseRedirect(admin.addresses.sessions())
            context |= {"steps": totals[0], "sessions": totals[1], "so_far": _counted(*totals)}
            context |= {"found_nothing": not (result.steps or result.sessions)}
        else:
            result = _preview(policy)
            context |= {"preview": result, "would_go": _counted(result.steps, result.sessions)}
            context |= {"bytes": filesizeformat(result.bytes), "largest": _largest(admin, result)}
        context |= {"command": _command(form)}
    return admin.render(request, admin.prune_template, context | {"form": form})


def _preview(policy: RetentionPolicy) -> PruneResult:
    """Count what would go; the result is not finished when the time was up first."""
    return _timed(policy, dry_run=True)


def _run(policy: RetentionPolicy) -> PruneResult:
    """Delete a few batches of what the policy names."""
    return _timed(policy, max_batches=BATCHES_A_REQUEST)


def _timed(policy: RetentionPolicy, **options: Any) -> PruneResult:
    began = time.monotonic()
    reached = PruneResult()

    def on_progress(result: PruneResult) -> None:
        nonlocal reached
        reached = result
        if time.monotonic() - began > SECONDS_A_REQUEST:
            raise _TimeIsUp

    try:
        using = router.db_for_write(Session)
        return pruning.prune(policy, using=using, on_progress=on_progress, **options)
    except _TimeIsUp:
        return reached


def _command(form: PruneForm) -> str:
    """Return the command that does the same, however long it takes."""
    using = router.db_for_write(Session)
    values = {name: form.data.get(name) for name in form.fields} | {
        "database": using if using != DEFAULT_DB_ALIAS else None
    }
    options = [
        f"--{name.replace('_', '-')}={shlex.quote(value)}"
        for name, value in values.items()
        if value
    ]
    return " ".join(["manage.py prune_checkpoints", *options])


def _log(request: HttpRequest, result: PruneResult, form: PruneForm) -> None:
    """Write to the admin's log what one request has deleted."""
    if not (result.steps or result.sessions):
        return
    session = form.cleaned_data["session"]
    rules = ", ".join(f"{name}: {form.data[name]}" for name in form.fields if form.data.get(name))
    LogEntry.objects.create(
        user_id=str(request.user.pk),
        content_type=ContentType.objects.get_for_model(Session),
        object_id=session or None,
        object_repr=(session or _("sessions"))[:200],
        action_flag=DELETION,
        change_message=_("Pruned %(what)s (%(rules)s).")
        % {"what": _counted(result.steps, result.sessions), "rules": rules},
    )


def _totals(request: HttpRequest, result: PruneResult) -> tuple[int, int]:
    steps = step_parameter(request.POST.get("steps")) or 0
    sessions = step_parameter(request.POST.get("sessions")) or 0
    return steps + result.steps, sessions + result.sessions


def _counted(steps: int, sessions: int) -> str:
    values = {
        "steps": ngettext("%(count)s step", "%(count)s steps", steps) % {"count": intcomma(steps)},
        "sessions": ngettext("%(count)s session", "%(count)s sessions", sessions)
        % {"count": intcomma(sessions)},
    }
    return _("%(steps)s and %(sessions)s") % values


def _largest(admin: HistoryAdmin, result: PruneResult) -> list[dict[str, Any]]:
    return [
        {
            "name": escape_control_chars(loss.session_id),
            "url": admin.addresses.session(loss.session_id),
            "steps": intcomma(loss.steps),
            "size": filesizeformat(loss.bytes),
        }
        for loss in result.largest
    ]
