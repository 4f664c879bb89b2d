"""Which sessions are listed, and in what order; never more than a page of them is read."""

from __future__ import annotations

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
    """Counts up to 10 000: beyond that, nobody turns pages."""

    @cached_property
    def _counted(self) -> int:
        # No column is asked for, so that whichever index finds the rows is all that is read.
        rows: Any = self.object_list.order_by().annotate(one=Value(1))  # type: ignore[attr-defined]
        return int(rows[: MAX_COUNTED + 1].aggregate(found=Count("one"))["found"])

    @cached_property
    def count(self) -> int:
        """How many there are, or 10 000."""
        return min(self._counted, MAX_COUNTED)

    @property
    def is_capped(self) -> bool:
        """Whether there are more."""
        return self._counted > MAX_COUNTED


class SessionList(ChangeList):
    """The list: its filters, its one order, and a page that is always there."""

    def get_filters_params(self, params: Any = None) -> Any:
        """Keep the parameters of the filters; no other column can be asked about."""
        known = {each.parameter_name for each in FILTERS}
        given = super().get_filters_params(params)
        return {key: value for key, value in given.items() if key in known}

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Order by the last update, in one direction or the other, as the index does."""
        if super().get_ordering(request, queryset)[:1] == ["updated_at"]:
            return ["updated_at", "-id"]
        return ["-updated_at", "id"]

    def get_results(self, request: HttpRequest) -> None:
        """Read the page asked for, or the first where there is no such page."""
        try:
            super().get_results(request)
        except IncorrectLookupParameters:
            messages.warning(request, gettext("There is no such page; this is the first."))
            self.page_num = 1
            self.params.pop(PAGE_VAR, None)
            super().get_results(request)

    def url_for_result(self, result: Any) -> str:
        """Return the URL of a session, dots quoted where a browser needs it."""
        return self.model_admin.addresses.session(result.pk)  # type: ignore[attr-defined, no-any-return]

    @property
    def counted(self) -> Any:
        """The list as its footer names it: “10,000+” where nobody counted on."""
        return _Counted(self) if self.paginator.is_capped else self


class _Counted:
    """A list whose number of results is a text."""

    def __init__(self, sessions: SessionList) -> None:
        self.sessions = sessions
        self.result_count = f"{intcomma(MAX_COUNTED)}+"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sessions, name)


def search(queryset: QuerySet[Session], term: str) -> QuerySet[Session]:
    """Narrow to the session of exactly this id, or else to those that begin with it."""
    if not term:
        return queryset
    exact = queryset.filter(pk=term)
    return exact if exact.exists() else queryset.id_begins_with(term)  # type: ignore[attr-defined]


class StatusFilter(admin.SimpleListFilter):
    """Where sessions stand."""

    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the three of them."""
        return list(Session.Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        """Narrow to the status chosen.

        The few sessions with errors, or with an origin, have indexes of their own. SQLite
        would search that of the status nevertheless, were it not hidden from it.
        """
        chosen = self.value()
        if chosen not in Session.Status.values:
            return queryset
        if "yes" in (request.GET.get(each.parameter_name) for each in RARE):
            return queryset.alias(its=Coalesce("status", Value(""))).filter(its=chosen)
        return queryset.filter(status=chosen)


class ErrorsFilter(admin.SimpleListFilter):
    """Whether the last step has errors."""

    title = _("errors")
    parameter_name = "errors"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the two answers."""
        return [("yes", _("has errors")), ("no", _("has none"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        """Narrow to the answer chosen."""
        if self.value() == "yes":
            return queryset.filter(last_error_count__gt=RawSQL("0", ()))
        if self.value() == "no":
            return queryset.exclude(last_error_count__gt=0)
        return queryset


class UpdatedFilter(admin.SimpleListFilter):
    """How long ago sessions were saved to."""

    title = _("updated")
    parameter_name = "updated"
    spans = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the spans."""
        return [
            ("hour", _("in the last hour")),
            ("day", _("in the last day")),
            ("week", _("in the last week")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        """Narrow to the span chosen."""
        span = self.spans.get(self.value() or "")
        return queryset if span is None else queryset.filter(updated_at__gte=timezone.now() - span)


class ForkedFilter(admin.SimpleListFilter):
    """Whether sessions were forked from others."""

    title = _("origin")
    parameter_name = "forked"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the two answers."""
        return [("yes", pgettext_lazy("sessions", "forked")), ("no", _("not forked"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        """Narrow to the answer chosen."""
        if self.value() == "yes":
            return queryset.filter(forked_from__gt=RawSQL("''", ()))
        if self.value() == "no":
            return queryset.filter(forked_from="")
        return queryset


# A partial index is known to hold all that is sought only where the statement itself names
# the bound: hence RawSQL above.
RARE = (ErrorsFilter, ForkedFilter)
FILTERS = (StatusFilter, ErrorsFilter, UpdatedFilter, ForkedFilter)
