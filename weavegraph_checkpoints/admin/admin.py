"""The list of sessions, and the way to every other page."""

from __future__ import annotations

from functools import wraps
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from weavegraph_checkpoints.admin.base import HistoryAdmin
from weavegraph_checkpoints.admin.changelist import (
    FILTERS,
    CappedPaginator,
    SessionList,
    search,
)
from weavegraph_checkpoints.admin.formatting import (
    format_age_html,
    format_node,
    format_number_html,
    format_status,
    get_strings,
)
from weavegraph_checkpoints.admin.urls import DOTS, PREFIX
from weavegraph_checkpoints.admin.views import compare, download, fork, prune, session, step
from weavegraph_checkpoints.admin.views.delete import Deletion
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.limits import is_session_id
from weavegraph_checkpoints.models import Session

NEXT_SHOWN = 3
LONG_ID = 40


@admin.register(Session)
class SessionAdmin(Deletion, HistoryAdmin):
    """Sessions, newest first, read from small columns alone."""

    list_display = (
        "identity",
        "errors",
        "standing",
        "next_nodes",
        "last",
        "updated",
        "size",
        "messages",
        "owner",
        "origin",
    )
    list_display_links = ("identity",)
    list_filter = FILTERS
    list_per_page = 25
    list_max_show_all = 0
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("id",)
    search_help_text = _(
        "The whole id of a session, or else its beginning; upper and lower case differ."
    )
    ordering = ("-updated_at", "id")
    sortable_by = ("updated",)
    empty_value_display = ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        """Return the sessions that the admin shows, without their states."""
        return super().get_queryset(request).light()  # type: ignore[attr-defined, no-any-return]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[SessionList]:
        """Return what lists the sessions."""
        return SessionList

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Leave the owner out where no session has one."""
        if self.get_queryset(request).filter(owner__gt="").exists():
            return list(self.list_display)
        return [name for name in self.list_display if name != "owner"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Session], search_term: str
    ) -> tuple[QuerySet[Session], bool]:
        """Find the session of exactly this id, or else those that begin with it."""
        return search(queryset, search_term), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list; an action is for selected sessions of the page, never for all."""
        if request.method == "POST":
            data = request.POST.copy()
            chosen = [key for key in data.getlist(ACTION_CHECKBOX_NAME) if is_session_id(key)]
            data.setlist(ACTION_CHECKBOX_NAME, chosen)
            data["select_across"] = "0"
            request.POST = data  # type: ignore[assignment]
        context = {
            "prune_url": self.addresses.of("prune"),
            "may_prune": self.has_prune_permission(request),
        }
        return super().changelist_view(request, context | (extra_context or {}))

    # The columns

    @admin.display(description=_("session"))
    def identity(self, obj: Session) -> SafeString:
        """The id, which a short one never breaks."""
        kind = "weave-id weave-id-long" if len(obj.pk) > LONG_ID else "weave-id"
        return format_html('<bdi class="{}">{}</bdi>', kind, escape_control_chars(obj.pk))

    @admin.display(description=_("status"))
    def standing(self, obj: Session) -> SafeString:
        """Where it stands, as a sign and a word."""
        return format_status(obj.status, obj.get_status_display())

    @admin.display(description=_("next"))
    def next_nodes(self, obj: Session) -> SafeString | str:
        """The first nodes to resume from."""
        if obj.status == Session.Status.FINISHED:
            return ""
        nodes = [format_node(name) for name in get_strings(obj.last_frontier)]
        shown = ", ".join(nodes[:NEXT_SHOWN])
        more = f" +{len(nodes) - NEXT_SHOWN}" if len(nodes) > NEXT_SHOWN else ""
        return format_html('<bdi class="weave-nodes">{}</bdi>{}', shown, more) if nodes else ""

    @admin.display(description=_("step"))
    def last(self, obj: Session) -> SafeString | str:
        """The number of the last step."""
        return "" if obj.status == "empty" else format_number_html(intcomma(obj.last_step))

    @admin.display(description=_("messages"))
    def messages(self, obj: Session) -> SafeString | str:
        """How many messages the last step has."""
        count = obj.last_message_count
        return "" if count is None else format_number_html(intcomma(count))

    @admin.display(description=_("errors"))
    def errors(self, obj: Session) -> SafeString | str:
        """How many errors the last step has."""
        if not obj.last_error_count:
            return ""
        return format_html(
            '<span class="weave-number weave-error"><span aria-hidden="true">!</span> {}</span>',
            intcomma(obj.last_error_count),
        )

    @admin.display(description=_("size"))
    def size(self, obj: Session) -> SafeString | str:
        """The size of the last state."""
        if obj.last_state_bytes is None:
            return ""
        return format_number_html(filesizeformat(obj.last_state_bytes))

    @admin.display(description=_("updated"), ordering="updated_at")
    def updated(self, obj: Session) -> SafeString:
        """When it was last saved to."""
        return format_age_html(obj.updated_at)

    @admin.display(description=_("forked from"))
    def origin(self, obj: Session) -> SafeString | str:
        """The session it was forked from."""
        if not obj.forked_from:
            return ""
        return format_html(
            '<a class="weave-origin" href="{}" title="{}"><bdi>{}</bdi></a>',
            self.addresses.session(obj.forked_from),
            escape_control_chars(obj.forked_from),
            escape_control_chars(obj.forked_from),
        )

    # The other pages

    def get_urls(self) -> list[URLPattern]:
        """Put the pages of the history before those of the stock admin."""
        pages: dict[str, tuple[str, Any]] = {
            "prune": ("prune/", prune.prune_page),
            "step": ("<str:object_id>/steps/<int:number>/", require_safe(step.step_page)),
            "value": ("<str:object_id>/steps/<int:number>/value/", require_safe(step.value_page)),
            "raw": ("<str:object_id>/steps/<int:number>/raw/", require_safe(download.raw_step)),
            "compare": ("<str:object_id>/compare/", require_safe(compare.compare_page)),
            "fork": ("<str:object_id>/fork/", fork.fork_page),
            "download": ("<str:object_id>/download/", require_safe(download.session_lines)),
        }
        own = [
            path(route, self.admin_site.admin_view(self._page(view)), name=f"{PREFIX}_{name}")
            for name, (route, view) in pages.items()
        ]
        return own + super().get_urls()

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one session."""
        return session.session_page(request, self, object_id, extra_context or {})

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what the admin's log says of one session."""
        context = self.crumbs(self.session_or_404(request, object_id))
        segment = DOTS.get(object_id, object_id)
        return super().history_view(request, segment, context | (extra_context or {}))

    def _page(self, view: Any) -> Any:
        """Return a view that gives its page this admin."""

        @wraps(view)
        def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            response: HttpResponseBase = view(request, self, *args, **kwargs)
            return response

        return page
