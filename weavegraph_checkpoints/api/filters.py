"""The query parameters of each action, and the filter of the list of sessions."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request
from rest_framework.views import APIView

from weavegraph_checkpoints.backends.labels import filter_by_labels
from weavegraph_checkpoints.domain import Checkpoint, timestamps
from weavegraph_checkpoints.domain.labels import (
    LABEL_KEY_PATTERN,
    MAX_LABEL_VALUE_LENGTH,
    MAX_LABELS,
    merge_labels,
    parse_label,
)
from weavegraph_checkpoints.domain.limits import MAX_STEP, parse_non_negative_int
from weavegraph_checkpoints.domain.query import DEFAULT_LIMIT, MAX_LIMIT
from weavegraph_checkpoints.exceptions import InvalidLabel
from weavegraph_checkpoints.models import Session

if TYPE_CHECKING:
    Field = serializers.Field[Any, Any, Any, Any]

CHECKPOINT_FIELDS = tuple(field.name for field in dataclasses.fields(Checkpoint))

_FIELD = "|".join([*CHECKPOINT_FIELDS, "url"])


class StepField(serializers.IntegerField):
    """An integer from 0 to ``MAX_STEP`` in decimal digits."""

    default_error_messages = {"invalid": f"expected an integer from 0 to {MAX_STEP}"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": 0, "max_value": MAX_STEP, **kwargs})

    def to_internal_value(self, data: Any) -> int:
        value = parse_non_negative_int(data)
        if value is None:
            self.fail("invalid")
        return value


# In allOf: to a bare pattern, drf-spectacular 0.30 adds the empty text as an alternative of oneOf,
# and a text that both allow would be invalid.
@extend_schema_field({"allOf": [{"type": "string", "pattern": "^[^\\u0000]*$"}]})
class TextField(serializers.CharField):
    """Any text without U+0000, unchanged."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_blank": True, "trim_whitespace": False, **kwargs})


class TimestampField(serializers.DateTimeField):
    """An RFC 3339 timestamp with an offset."""

    default_error_messages = {
        "invalid": "expected an RFC 3339 timestamp such as 2026-01-02T03:04:05Z; write + as %2B"
    }

    def to_internal_value(self, value: Any) -> datetime:
        try:
            return timestamps.parse_timestamp(value)
        except ValueError:
            self.fail("invalid")


@extend_schema_field({"type": "string", "pattern": f"^({_FIELD})(,({_FIELD}))*$"})
class FieldsField(serializers.Field):  # type: ignore[type-arg]
    """Names of the fields of a checkpoint, separated by commas."""

    default_error_messages = {
        "invalid": f"expected names from {','.join(CHECKPOINT_FIELDS)}, separated by commas"
    }

    def to_internal_value(self, data: Any) -> frozenset[str]:
        names = frozenset(data.split(","))
        if not names <= {*CHECKPOINT_FIELDS, "url"}:
            self.fail("invalid")
        return names


@extend_schema_field(
    {
        "type": "array",
        "items": {
            "type": "string",
            "pattern": f"^{LABEL_KEY_PATTERN}:[^\\u0000]{{0,{MAX_LABEL_VALUE_LENGTH}}}$",
        },
        "maxItems": MAX_LABELS,
    }
)
class LabelsField(serializers.Field):  # type: ignore[type-arg]
    """Labels as ``key:value``, each a parameter of its own."""

    default_error_messages = {"max_length": f"expected up to {MAX_LABELS} labels"}

    def to_internal_value(self, data: list[str]) -> list[tuple[str, str]]:
        if len(data) > MAX_LABELS:
            self.fail("max_length")
        try:
            return [parse_label(text, ":") for text in data]
        except InvalidLabel as error:
            raise serializers.ValidationError(error.message) from None


class Parameters(serializers.Serializer):  # type: ignore[type-arg]
    """The query parameters of an action. Unknown parameters are ignored."""

    @classmethod
    def parse(cls, request: Request) -> dict[str, Any]:
        """Return the values of the parameters that are present. Raises ``ValidationError``."""
        # A plain dict: of a QueryDict, DRF would ignore empty values as those of an HTML form.
        data: dict[str, Any] = request.query_params.dict()
        if "label" in data:
            data["label"] = request.query_params.getlist("label")
        serializer = cls(data=data)
        serializer.is_valid(raise_exception=True)
        values: dict[str, Any] = serializer.validated_data
        return values


class PageParameters(Parameters):
    """Which part of the results to return."""

    limit = StepField(
        required=False,
        help_text=f"Maximum number of results: {DEFAULT_LIMIT} by default, at most {MAX_LIMIT}.",
    )
    offset = StepField(required=False, help_text="Number of results to skip.")


class SessionParameters(Parameters):
    """Which sessions to list, and in which order; sources are lookups of the ORM."""

    id = TextField(required=False, help_text="The session with exactly this id.")
    search = TextField(required=False, help_text="Sessions whose id starts with this text.")
    status = serializers.ChoiceField(
        Session.Status.choices, required=False, help_text="Sessions with this status."
    )
    owner = TextField(required=False, help_text="Sessions with exactly this owner.")
    updated_after = TimestampField(
        required=False,
        source="updated_at__gte",
        help_text="Sessions updated at or after this RFC 3339 timestamp.",
    )
    updated_before = TimestampField(
        required=False,
        source="updated_at__lte",
        help_text="Sessions updated at or before this RFC 3339 timestamp.",
    )
    ordering = serializers.ChoiceField(
        ["updated_at", "-updated_at", "id", "-id"],
        required=False,
        help_text="The order, ties by id; `-updated_at` by default.",
    )

    def get_fields(self) -> dict[str, Field]:
        # Not a class attribute: a field has an attribute called `label`.
        help_text = (
            "Sessions with this label, as `key:value`. Repeat the parameter for sessions that "
            "have all of several labels."
        )
        return {**super().get_fields(), "label": LabelsField(required=False, help_text=help_text)}


class StepParameters(PageParameters):
    """Which steps to list, and which fields of each."""

    min_step = StepField(required=False, help_text="Lowest step to include.")
    max_step = StepField(
        required=False,
        help_text="Highest step to include. Use it as the cursor through a long history: every "
        "page costs the same, where `offset` reads all the steps that it skips.",
    )
    ran_node = TextField(
        required=False, help_text="Steps in which exactly this node ran, such as `plan` or `End`."
    )
    skipped_node = TextField(
        required=False, help_text="Steps in which exactly this node was skipped."
    )

    def get_fields(self) -> dict[str, Field]:
        # Not a class attribute: a serializer has a property called `fields`.
        help_text = (
            "The fields of each step to include in addition to `url`, separated by commas: "
            f"{', '.join(CHECKPOINT_FIELDS)}. Only these are read from the database."
        )
        return {**super().get_fields(), "fields": FieldsField(required=False, help_text=help_text)}


class SaveParameters(Parameters):
    """The condition of a save."""

    expected_last_step = StepField(
        required=False,
        help_text="Save only if this is the session's last step, 0 for a session that has no "
        "step or does not exist; otherwise the response is 409.",
    )


class DiffParameters(Parameters):
    """The steps to compare."""

    def get_fields(self) -> dict[str, Field]:
        # Not a class attribute: `from` is a keyword.
        return {
            "from": StepField(help_text="The step to compare from."),
            "to": StepField(help_text="The step to compare to."),
        }


class SessionFilter(BaseFilterBackend):
    """Filter and order sessions by ``SessionParameters``."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[Any], view: APIView
    ) -> QuerySet[Any]:
        """Return the matching sessions. Raises ``ValidationError``."""
        conditions = SessionParameters.parse(request)
        ordering = conditions.pop("ordering", "-updated_at")
        prefix = conditions.pop("search", "")
        labels = merge_labels(conditions.pop("label", ()))
        if labels is None:
            return queryset.none()
        queryset = filter_by_labels(queryset.filter(**conditions), labels)
        queryset = queryset.order_by(ordering, "id")
        return queryset.with_id_prefix(prefix)  # type: ignore[attr-defined, no-any-return]
