"""The admin of sessions: the list, deletion and the views of the other pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from weavegraph_checkpoints.admin.base import BaseSessionAdmin
from weavegraph_checkpoints.admin.changelist import FILTERS, CappedPaginator, SessionChangeList
from weavegraph_checkpoints.admin.deletion import (
    NestedRelatedObjects,
    format_object,
    get_forbidden_models,
)
from weavegraph_checkpoints.admin.formatting import (
    format_age_html,
    format_labelled,
    format_number_html,
)
from weavegraph_checkpoints.admin.labels import format_label, parse_terms
from weavegraph_checkpoints.admin.views.compare import CompareView
from weavegraph_checkpoints.admin.views.download import DownloadSessionView, DownloadStepView
from weavegraph_checkpoints.admin.views.follow import FollowView
from weavegraph_checkpoints.admin.views.fork import ForkView
from weavegraph_checkpoints.admin.views.labels import LabelsView
from weavegraph_checkpoints.admin.views.prune import PruneView
from weavegraph_checkpoints.admin.views.session import SessionView
from weavegraph_checkpoints.admin.views.step import StepView, ValueView
from weavegraph_checkpoints.backends.labels import filter_by_labels
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.labels import merge_labels
from weavegraph_checkpoints.domain.limits import is_session_id
from weavegraph_checkpoints.exceptions import SessionProtected
from weavegraph_checkpoints.models import Label, Session, Step

MAX_NEXT_NODES = 3
"""Next nodes shown per row."""
MAX_LABELS_SHOWN = 3
"""Labels shown per row."""
LABEL_LINK = '<a class="weave-label" href="{}"><bdi>{}</bdi></a>'
MAX_UNBROKEN_ID_LENGTH = 40
"""Longer ids may break across lines."""


@admin.register(Session)
class SessionAdmin(BaseSessionAdmin):
    """List sessions, newest first; every other page starts from here."""

    list_display = (
        "session_id",
        "owner_name",
        "labels",
        "errors",
        "status_label",
        "next_nodes",
        "step",
        "updated",
        "size",
        "messages",
        "origin",
    )
    list_display_links = ("session_id",)
    list_filter = FILTERS
    list_per_page = 25
    list_max_show_all = 0
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("id",)
    search_help_text = _(
        "A complete session id, the beginning of one, or labels such as customer=4711 env=prod; "
        "case-sensitive."
    )
    ordering = ("-updated_at", "id")
    sortable_by = ("updated",)
    empty_value_display = ""

    session_view = SessionView
    page_views = {
        "prune": ("prune/", PruneView),
        "step": ("<str:object_id>/steps/<int:step>/", StepView),
        "value": ("<str:object_id>/steps/<int:step>/value/", ValueView),
        "raw": ("<str:object_id>/steps/<int:step>/raw/", DownloadStepView),
        "compare": ("<str:object_id>/compare/", CompareView),
        "follow": ("<str:object_id>/follow/", FollowView),
        "fork": ("<str:object_id>/fork/", ForkView),
        "labels": ("<str:object_id>/labels/", LabelsView),
        "download": ("<str:object_id>/download/", DownloadSessionView),
    }

    # Sessions and their steps

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        """Return the sessions that the admin shows, without their states."""
        return super().get_queryset(request).defer_state()  # type: ignore[attr-defined, no-any-return]

    def delete_model(self, request: HttpRequest, obj: Session) -> None:
        self.get_writer(obj).delete_session(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        """Delete sessions with their steps, one transaction per session."""
        for session in sorted(queryset, key=lambda session: str(session.pk)):
            try:
                self.delete_model(request, session)
            except SessionProtected as error:
                self.message_protected(request, error)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return the sessions, the objects of other models, and the number of steps.

        No step is read.
        """
        sessions = list(objs)
        collector = NestedRelatedObjects(using=router.db_for_write(self.model))
        collector.collect(sessions)
        steps = Step._default_manager.using(self.get_queryset(request).db)
        steps = steps.filter(session_id__in=[session.pk for session in sessions]).order_by("pk")
        counts = {
            Session._meta.verbose_name_plural: len(sessions),
            Step._meta.verbose_name_plural: CappedPaginator(steps, 1).count_label,
        }
        found: dict[Any, set[Any]] = dict(collector.model_objs)
        related = {model: found[model] for model in found if model is not Session}
        counts |= {model._meta.verbose_name_plural: len(each) for model, each in related.items()}
        forbidden = get_forbidden_models(
            request, [obj for each in related.values() for obj in each], self.admin_site
        )
        if not all(self.has_object_permission(request, session) for session in sessions):
            forbidden.add(str(self.opts.verbose_name))
        protected = [self.format_deleted_object(obj) for obj in collector.protected]
        return collector.nested(self.format_deleted_object), counts, forbidden, protected

    def format_deleted_object(self, obj: Any) -> str:
        """Return a session or an object of another model for the confirmation page."""
        if not isinstance(obj, Session):
            return format_object(obj, self.admin_site)
        return format_html(
            '<a href="{}"><bdi>{}</bdi></a>',
            self.session_urls.get_session_url(obj.pk),
            escape_control_chars(obj.pk),
        )

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return ``SessionChangeList``, combined with the class of another base class if any."""
        base: Any = super().get_changelist(request, **kwargs)
        if issubclass(SessionChangeList, base):
            return SessionChangeList
        return type("SessionChangeList", (SessionChangeList, base), {})

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Return the columns, without owner and labels if no session has any."""
        names = list(super().get_list_display(request))
        if "owner_name" in names and not self.get_queryset(request).filter(owner__gt="").exists():
            names.remove("owner_name")
        sessions = self.get_queryset(request)
        if "labels" in names and not Label.objects.using(sessions.db).exists():
            names.remove("labels")
        return names

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Session], search_term: str
    ) -> tuple[QuerySet[Session], bool]:
        """Return the session with this id, those with labels, or those whose id begins with it.

        If a subclass searches other fields, search as Django does.
        """
        if list(self.get_search_fields(request)) != list(SessionAdmin.search_fields):
            return super().get_search_results(request, queryset, search_term)
        if not search_term:
            return queryset, False
        exact = queryset.filter(pk=search_term)
        if exact.exists():
            return exact, False
        pairs = parse_terms(search_term)
        if pairs is not None:
            labels = merge_labels(pairs)
            found = queryset.none() if labels is None else filter_by_labels(queryset, labels)
            if found.exists():
                return found, False
        return queryset.with_id_prefix(search_term), False  # type: ignore[attr-defined]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list; actions apply to selected sessions, never to all pages."""
        if request.method == "POST":
            data = request.POST.copy()
            selected = [key for key in data.getlist(ACTION_CHECKBOX_NAME) if is_session_id(key)]
            data.setlist(ACTION_CHECKBOX_NAME, selected)
            data["select_across"] = "0"
            request.POST = data  # type: ignore[assignment]
        context = {
            "prune_url": self.get_session_urls(request).get_url("prune"),
            "has_prune_permission": self.has_prune_permission(request),
        }
        return super().changelist_view(request, context | (extra_context or {}))

    @admin.display(description=_("session"))
    def session_id(self, obj: Session) -> SafeString:
        """Return the id; only a long one may break across lines."""
        is_long = len(obj.pk) > MAX_UNBROKEN_ID_LENGTH
        css_class = "weave-long-session-id" if is_long else "weave-session-id"
        return format_html('<bdi class="{}">{}</bdi>', css_class, escape_control_chars(obj.pk))

    @admin.display(description=_("owner"), ordering="owner")
    def owner_name(self, obj: Session) -> SafeString | str:
        if not obj.owner:
            return ""
        owner = format_html(
            '<bdi class="weave-truncated" title="{name}">{name}</bdi>',
            name=escape_control_chars(obj.owner),
        )
        return format_labelled(_("owner"), owner)

    @admin.display(description=_("status"))
    def status_label(self, obj: Session) -> SafeString:
        return self.get_status_html(obj)

    @admin.display(description=_("next"))
    def next_nodes(self, obj: Session) -> SafeString | str:
        """Return the first next nodes, and the number of others."""
        nodes = self.get_next_nodes(obj)
        if not nodes:
            return ""
        shown = ", ".join(nodes[:MAX_NEXT_NODES])
        more = f" +{len(nodes) - MAX_NEXT_NODES}" if len(nodes) > MAX_NEXT_NODES else ""
        names = format_html(
            '<bdi class="weave-truncated" title="{names}">{names}</bdi>{more}',
            names=shown,
            more=more,
        )
        return format_labelled(_("next"), names)

    @admin.display(description=_("step"))
    def step(self, obj: Session) -> SafeString | str:
        return _format_number(_("step"), obj.last_step if self.has_steps(obj) else None)

    @admin.display(description=_("messages"))
    def messages(self, obj: Session) -> SafeString | str:
        return _format_number(_("messages"), obj.last_message_count)

    @admin.display(description=_("errors"))
    def errors(self, obj: Session) -> SafeString | str:
        if not obj.last_error_count:
            return ""
        count = format_html(
            '<span class="weave-number weave-error"><span aria-hidden="true">!</span> {}</span>',
            intcomma(obj.last_error_count),
        )
        return format_labelled(_("errors"), count)

    @admin.display(description=_("size"))
    def size(self, obj: Session) -> SafeString | str:
        return _format_number(_("size"), obj.last_state_bytes, filesizeformat)

    @admin.display(description=_("updated"), ordering="updated_at")
    def updated(self, obj: Session) -> SafeString:
        return format_labelled(_("updated"), format_age_html(obj.updated_at))

    @admin.display(description=_("labels"))
    def labels(self, obj: Session) -> SafeString | str:
        """Return the first labels as links to the sessions that have them."""
        labels = [(label.key, label.value) for label in obj.labels.all()]
        if not labels:
            return ""
        urls = self.session_urls
        shown = [
            (urls.get_label_url(*label), escape_control_chars(format_label(*label)))
            for label in labels[:MAX_LABELS_SHOWN]
        ]
        links = format_html_join(" ", LABEL_LINK, shown)
        more = len(labels) - MAX_LABELS_SHOWN
        text = format_html("{} <span>+{}</span>", links, more) if more > 0 else links
        return format_labelled(_("labels"), text)

    @admin.display(description=_("forked from"))
    def origin(self, obj: Session) -> SafeString | str:
        if not obj.forked_from:
            return ""
        link = format_html(
            '<a class="weave-truncated" href="{}" title="{name}"><bdi>{name}</bdi></a>',
            self.session_urls.get_session_url(obj.forked_from),
            name=escape_control_chars(obj.forked_from),
        )
        return format_labelled(_("forked from"), link)


def _format_number(
    label: Any, value: int | None, format_value: Callable[[int], str] = intcomma
) -> SafeString | str:
    if value is None:
        return ""
    return format_labelled(label, format_number_html(format_value(value)))
