"""Prune by a retention policy: a form, a preview, then a few batches per request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db import DEFAULT_DB_ALIAS, router
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from weavegraph_checkpoints import pruning
from weavegraph_checkpoints.admin.deletion import get_forbidden_cascades
from weavegraph_checkpoints.admin.forms import PruneForm
from weavegraph_checkpoints.admin.views.base import BaseView
from weavegraph_checkpoints.domain.escaping import (
    escape_control_chars,
    escape_direction_chars,
    quote_shell_word,
)
from weavegraph_checkpoints.domain.limits import parse_non_negative_int
from weavegraph_checkpoints.domain.url_ids import decode_session_id, encode_session_id
from weavegraph_checkpoints.pruning import PruneResult

MAX_BATCHES_PER_REQUEST = 5
MAX_SECONDS_PER_REQUEST = 5.0
SESSION_PAGE_SIZE = 200
"""Sessions whose object permissions are checked at once."""


class _OutOfTime(Exception):
    """A request has counted or pruned for ``MAX_SECONDS_PER_REQUEST``."""


class PruneView(BaseView):
    """Ask for a policy, show what it would delete, and delete it."""

    http_method_names = ["get", "head", "post"]
    after = ""
    """With object rules: the id of the last session of the pages that are complete."""

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self.using = router.db_for_write(self.model_admin.model)

    def has_permission(self) -> bool:
        return super().has_permission() and self.model_admin.has_prune_permission(self.request)

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.render_page(PruneForm(statuses=self.model_admin.statuses))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = PruneForm(request.POST, statuses=self.model_admin.statuses)
        if not (form.is_valid() and self.check_cascades(form)):
            return self.render_page(form)
        return self.run(form) if request.POST.get("stage") == "run" else self.preview(form)

    def check_cascades(self, form: PruneForm) -> bool:
        """Return whether the user may delete what is deleted with whole sessions."""
        if form.policy.has_session_rule:
            site = self.model_admin.admin_site
            forbidden = get_forbidden_cascades(self.request, site, self.using)
            if forbidden:
                text = _("This also deletes %(models)s, which you are not allowed to delete.")
                form.add_error("delete_inactive", text % {"models": ", ".join(forbidden)})
        return form.is_valid()

    def preview(self, form: PruneForm) -> HttpResponse:
        """Show what the policy would delete, counted until the time is up."""
        result = self.prune(form, dry_run=True)
        return self.render_page(
            form,
            preview=result,
            rules=[
                (form[name].label, escape_control_chars(text))
                for name, text in form.get_values().items()
            ],
            would_delete=format_counts(result.steps, result.sessions),
            bytes=filesizeformat(result.bytes),
            largest=[
                {
                    "name": escape_control_chars(loss.session_id),
                    "url": self.urls.get_session_url(loss.session_id),
                    "steps": intcomma(loss.steps),
                    "size": filesizeformat(loss.bytes),
                }
                for loss in result.largest
            ],
            protected=format_protected(result),
            command=self.get_command(form),
        )

    def run(self, form: PruneForm) -> HttpResponse:
        """Delete a few batches; offer to continue unless all is done."""
        data = self.request.POST
        after = self.after = decode_session_id(data.get("after", "")) or ""
        result = self.prune(form, max_batches=MAX_BATCHES_PER_REQUEST)
        self.log(form, result)
        steps = result.steps + (parse_non_negative_int(data.get("steps")) or 0)
        sessions = result.sessions + (parse_non_negative_int(data.get("sessions")) or 0)
        counts = format_counts(steps, sessions)
        protected = format_protected(result)
        if result.finished:
            messages.success(self.request, _("Pruned %(counts)s.") % {"counts": counts})
            if protected:
                messages.warning(self.request, format_protected(result))
            return HttpResponseRedirect(self.urls.get_changelist_url())
        return self.render_page(
            form,
            steps=steps,
            sessions=sessions,
            deleted=counts,
            protected=protected,
            after=self.after and encode_session_id(self.after),
            found_nothing=not (result.steps or result.sessions) and self.after == after,
            command=self.get_command(form),
        )

    def prune(self, form: PruneForm, **options: Any) -> PruneResult:
        """Return what was counted or deleted before the time was up."""
        deadline = time.monotonic() + MAX_SECONDS_PER_REQUEST
        partial_result = PruneResult()

        def on_progress(result: PruneResult) -> None:
            nonlocal partial_result
            partial_result = result
            if time.monotonic() > deadline:
                raise _OutOfTime

        try:
            if self.model_admin.has_object_rules():
                return self.prune_permitted(form, on_progress, **options)
            return pruning.prune(form.policy, using=self.using, on_progress=on_progress, **options)
        except _OutOfTime:
            return partial_result

    def prune_permitted(
        self, form: PruneForm, on_progress: Callable[[PruneResult], None], **options: Any
    ) -> PruneResult:
        """Prune the sessions that the user may view and delete, a page after the other.

        ``after`` becomes the last session of the last complete page. Only the time limits
        the number of batches.
        """
        total = PruneResult(finished=True)

        def on_page_progress(before: PruneResult, result: PruneResult) -> None:
            on_progress(pruning.merge_results(before, result))

        dry_run = options.get("dry_run", False)
        for session_ids, last in self.iter_permitted(form):
            if session_ids:
                result = pruning.prune(
                    replace(form.policy, session_ids=session_ids),
                    using=self.using,
                    on_progress=partial(on_page_progress, total),
                    dry_run=dry_run,
                )
                total = pruning.merge_results(total, result)
            self.after = last
            on_progress(replace(total, finished=False))
        return total

    def iter_permitted(self, form: PruneForm) -> Iterator[tuple[list[str], str]]:
        """Yield the sessions of each page that the user may prune, and the last one of the page."""
        queryset = self.model_admin.get_queryset(self.request).using(self.using).order_by("pk")
        if form.policy.session_ids is not None:
            queryset = queryset.filter(pk__in=form.policy.session_ids)
        while page := list(queryset.filter(pk__gt=self.after)[:SESSION_PAGE_SIZE]):
            yield (
                [
                    self.model_admin.get_object_id(obj)
                    for obj in page
                    if self.model_admin.has_object_permission(self.request, obj)
                ],
                page[-1].pk,
            )

    def get_command(self, form: PruneForm) -> str:
        """Return the command that prunes by the same policy, without a time limit.

        Return "" if the user may not prune all sessions, as the command does.
        """
        if self.model_admin.has_object_rules():
            return ""
        values = form.get_values()
        if self.using != DEFAULT_DB_ALIAS:
            values["database"] = self.using
        values.pop("labels", None)
        options = [
            f"--{name.replace('_', '-')}={quote_shell_word(values[name])}" for name in values
        ]
        labels = form.cleaned_data["labels"]
        options += [f"--label={quote_shell_word(f'{key}={labels[key]}')}" for key in labels]
        return " ".join(["manage.py prune_checkpoints", *options])

    def log(self, form: PruneForm, result: PruneResult) -> None:
        """Write what this request deleted to the admin log."""
        if not (result.steps or result.sessions):
            return
        session_id = form.cleaned_data["session"]
        LogEntry.objects.create(
            user_id=str(self.request.user.pk),
            content_type=ContentType.objects.get_for_model(self.model_admin.model),
            object_id=session_id or None,
            object_repr=escape_direction_chars(session_id or _("sessions"))[:200],
            action_flag=DELETION,
            change_message=_("Pruned %(counts)s (%(rules)s).")
            % {
                "counts": format_counts(result.steps, result.sessions),
                "rules": escape_direction_chars(
                    ", ".join(f"{name}: {text}" for name, text in form.get_values().items())
                ),
            },
        )

    def render_page(self, form: PruneForm, **context: Any) -> HttpResponse:
        """Return the page with the form."""
        context |= {"title": _("Prune"), "form": form}
        return self.render(self.model_admin.prune_template, context)


def format_counts(steps: int, sessions: int) -> str:
    """Return both counts in words."""
    return _("%(steps)s and %(sessions)s") % {
        "steps": ngettext("%(count)s step", "%(count)s steps", steps) % {"count": intcomma(steps)},
        "sessions": ngettext("%(count)s session", "%(count)s sessions", sessions)
        % {"count": intcomma(sessions)},
    }


def format_protected(result: PruneResult) -> str:
    """Return which inactive sessions are not deleted, "" if there are none."""
    if not result.protected:
        return ""
    names = ", ".join(
        f"\u2068{escape_control_chars(each)}\u2069" for each in result.first_protected
    )
    more = ", …" if result.protected > len(result.first_protected) else ""
    text = ngettext(
        "%(count)s session is not deleted, because other objects refer to it: %(names)s",
        "%(count)s sessions are not deleted, because other objects refer to them: %(names)s",
        result.protected,
    )
    return text % {"count": intcomma(result.protected), "names": names + more}
