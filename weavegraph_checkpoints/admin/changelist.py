"""The list of sessions: page, count, order, search and filters."""

from __future__ import annotations

from copy import copy
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.paginator import Paginator
from django.db.models import Count, QuerySet, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from weavegraph_checkpoints.models import Session

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


class SessionChangeList(ChangeList):
    """The list of sessions, always in the order of an index."""

    def get_filters_params(self, params: Any = None) -> Any:
        """Return the parameters of the filters; look-ups on other columns are ignored."""
        names = {each.parameter_name for each in FILTERS}
        given = super().get_filters_params(params)
        return {name: value for name, value in given.items() if name in names}

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Order by the last update, in the direction of the index or its reverse."""
        if super().get_ordering(request, queryset)[:1] == ["updated_at"]:
            return ["updated_at", "-id"]
        return ["-updated_at", "id"]

    def get_results(self, request: HttpRequest) -> None:
        """Read the requested page, or the first one if it does not exist."""
        try:
            super().get_results(request)
        except IncorrectLookupParameters:
            messages.warning(request, gettext("This page does not exist; showing the first one."))
            self.page_num = 1
            self.params.pop(PAGE_VAR, None)
            super().get_results(request)

    def url_for_result(self, result: Any) -> str:
        """Return the URL of a session, quoted for browsers too."""
        model_admin: Any = self.model_admin
        return str(model_admin.session_urls.get_session_url(model_admin.get_object_id(result)))

    @property
    def for_pagination(self) -> Any:
        """The list with the label of a capped count, which the pagination shows."""
        shown: Any = copy(self)
        if shown.result_count >= MAX_COUNTED:
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


PARTIAL_INDEX_FILTERS = (ErrorsFilter, ForkedFilter)
FILTERS = (StatusFilter, ErrorsFilter, UpdatedFilter, ForkedFilter)
