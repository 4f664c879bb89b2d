"""The list of sessions: page, count, order, search and filters."""

from __future__ import annotations

from copy import copy
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR, ChangeList
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.paginator import Paginator
from django.db.models import Count, Prefetch, QuerySet, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from weavegraph_checkpoints.admin.labels import format_label
from weavegraph_checkpoints.admin.urls import LABEL_VAR
from weavegraph_checkpoints.backends.labels import filter_by_labels
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.labels import parse_label
from weavegraph_checkpoints.exceptions import InvalidLabel
from weavegraph_checkpoints.models import Label, Session

MAX_COUNTED = 10_000


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Count up to ``MAX_COUNTED`` rows: a full count reads the whole index."""

    @cached_property
    def _counted(self) -> int:
        # Select no column, so that the index that finds the rows is all that is read.
        rows: Any = self.object_list.order_by().annotate(one=Value(1))  # type: ignore[attr-defined]
        return int(rows[: MAX_COUNTED + 1].aggregate(found=Count("one"))["found"])

    @cached_property
    def count(self) -> int:
        """The number of rows, at most ``MAX_COUNTED``."""
        return min(self._counted, MAX_COUNTED)

    @property
    def count_label(self) -> str:
        """The number of rows as text: “10,000+” if there are more than ``MAX_COUNTED``."""
        return f"{intcomma(self.count)}{'+' if self._counted > MAX_COUNTED else ''}"


def get_limiting_lookups(opts: Any) -> set[str]:
    """Return the look-ups by which ``limit_choices_to`` of any relation limits its choices."""
    names: set[str] = set()
    for relation in opts.get_fields(include_hidden=True):
        limits = getattr(relation, "limit_choices_to", None)
        limits = limits() if callable(limits) else limits
        if isinstance(limits, dict):
            names.update(limits)
    return names


class SessionChangeList(ChangeList):
    """The list of sessions, always in the order of an index."""

    def get_filters_params(self, params: Any = None) -> Any:
        """Return the parameters of the filters and of ``limit_choices_to``; ignore others."""
        given = super().get_filters_params(params)
        limits = get_limiting_lookups(self.lookup_opts)
        return {
            name: value
            for name, value in given.items()
            if name in limits or self.is_filter_param(name)
        }

    def is_filter_param(self, name: str) -> bool:
        """Return whether a filter of the list, or the date hierarchy, may use a parameter."""
        paths = [self.date_hierarchy] if self.date_hierarchy else []
        for each in self.list_filter:
            if callable(each):
                # Only instances of other classes than SimpleListFilter know their parameters.
                if name == getattr(each, "parameter_name", name):
                    return True
                continue
            field = each[0] if isinstance(each, tuple | list) else each
            paths.append(getattr(field, "name", field))
        return any(name == path or name.startswith(f"{path}__") for path in paths)

    @property
    def active_filters(self) -> list[tuple[Any, Any]]:
        """The title and the choice of each filter that is not at its first choice."""
        return [
            (spec.title, choice["display"])
            for spec in self.filter_specs
            for choice in list(spec.choices(self))[1:]
            if choice.get("selected")
        ]

    @property
    def unfiltered_query(self) -> str:
        """The query string without search and filters; ``limit_choices_to`` still applies."""
        limits = get_limiting_lookups(self.lookup_opts)
        names = [name for name in self.get_filters_params() if name not in limits]
        return str(self.get_query_string(remove=[SEARCH_VAR, *names]))

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Order by the last update, in the direction of an index, unless a subclass differs."""
        ordering: list[Any] = super().get_ordering(request, queryset)
        if ordering[:1] == ["updated_at"]:
            return ["updated_at", "-id"]
        if not ordering or ordering[0] in ("-updated_at", "-pk"):
            return ["-updated_at", "id"]
        return ordering

    def get_results(self, request: HttpRequest) -> None:
        """Read the requested page, or the first one if it does not exist."""
        try:
            super().get_results(request)
        except IncorrectLookupParameters:
            messages.warning(request, gettext("This page does not exist; showing the first one."))
            self.page_num = 1
            self.params.pop(PAGE_VAR, None)
            super().get_results(request)

    def get_queryset(self, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        """Return the sessions, and read the labels of a page at once if a column shows them."""
        sessions: QuerySet[Any] = super().get_queryset(*args, **kwargs)
        if "labels" in self.list_display:
            labels = Label._default_manager.order_by("key")
            sessions = sessions.prefetch_related(Prefetch("labels", labels))
        return sessions

    def url_for_result(self, result: Any) -> str:
        """Return the URL of a session, quoted for browsers too."""
        model_admin: Any = self.model_admin
        return str(model_admin.session_urls.get_session_url(model_admin.get_object_id(result)))

    @property
    def for_pagination(self) -> Any:
        """The list with the label of a capped count, which the pagination shows."""
        shown: Any = copy(self)
        if shown.result_count >= MAX_COUNTED and isinstance(shown.paginator, CappedPaginator):
            shown.result_count = shown.paginator.count_label
        return shown


class StatusFilter(admin.SimpleListFilter):
    """Filter by status."""

    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return all statuses."""
        return list(Session.Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        """Return the sessions with the selected status.

        The few sessions with errors, or forked ones, have partial indexes. SQLite would use
        the index on the status instead, unless an expression hides the column.
        """
        status = self.value()
        if status not in Session.Status.values:
            return queryset
        if any(request.GET.get(each.parameter_name) == "yes" for each in PARTIAL_INDEX_FILTERS):
            return queryset.alias(hidden_status=Coalesce("status", Value(""))).filter(
                hidden_status=status
            )
        return queryset.filter(status=status)


class UpdatedFilter(admin.SimpleListFilter):
    """Filter by the time since the last update."""

    title = _("updated")
    parameter_name = "updated"
    choices_by_value = {
        "hour": (_("in the last hour"), timedelta(hours=1)),
        "day": (_("in the last day"), timedelta(days=1)),
        "week": (_("in the last week"), timedelta(weeks=1)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the durations."""
        return [(value, label) for value, (label, _age) in self.choices_by_value.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        """Return the sessions updated within the selected duration."""
        if self.value() not in self.choices_by_value:
            return queryset
        _label, age = self.choices_by_value[str(self.value())]
        return queryset.filter(updated_at__gte=timezone.now() - age)


class PartialIndexFilter(admin.SimpleListFilter):
    """Filter by whether a column is greater than ``bound``.

    A partial index is used only if the statement itself contains the bound: hence ``RawSQL``.
    """

    column: str
    bound: RawSQL
    labels: tuple[Any, Any]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return both answers."""
        return list(zip(("yes", "no"), self.labels, strict=True))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        """Return the sessions on the selected side of the bound."""
        condition = {f"{self.column}__gt": self.bound}
        if self.value() == "yes":
            return queryset.filter(**condition)
        return queryset.exclude(**condition) if self.value() == "no" else queryset


class ErrorsFilter(PartialIndexFilter):
    """Filter by whether the last step has errors."""

    title = _("errors")
    parameter_name = "errors"
    column, bound = "last_error_count", RawSQL("0", ())
    labels = (_("has errors"), _("has no errors"))


class ForkedFilter(PartialIndexFilter):
    """Filter by whether the session is a fork."""

    title = _("origin")
    parameter_name = "forked"
    column, bound = "forked_from", RawSQL("''", ())
    labels = (pgettext_lazy("sessions", "forked"), _("not forked"))


class LabelFilter(admin.SimpleListFilter):
    """Filter by a label, which links elsewhere in the pages select."""

    title = _("label")
    parameter_name = LABEL_VAR

    def get_label(self) -> tuple[str, str] | None:
        """Return the selected label, ``None`` without one."""
        try:
            return parse_label(self.value() or "", ":")
        except InvalidLabel:
            return None

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the selected label only: there may be any number of them."""
        label = self.get_label()
        if label is None:
            return []
        return [(str(self.value()), escape_control_chars(format_label(*label)))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        """Return the sessions that have the selected label."""
        label = self.get_label()
        return queryset if label is None else filter_by_labels(queryset, dict([label]))


PARTIAL_INDEX_FILTERS = (ErrorsFilter, ForkedFilter)
FILTERS = (LabelFilter, StatusFilter, ErrorsFilter, UpdatedFilter, ForkedFilter)
