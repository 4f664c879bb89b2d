"""What the parameters of each call may be."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty
from rest_framework.request import Request

from weavegraph_checkpoints.api.errors import Invalid
from weavegraph_checkpoints.api.views import whole_number
from weavegraph_checkpoints.domain import Checkpoint, StepQuery, timestamps
from weavegraph_checkpoints.domain.limits import MAX_STEP
from weavegraph_checkpoints.models import Session

if TYPE_CHECKING:
    Field = serializers.Field[Any, Any, Any, Any]

FIELDS = tuple(field.name for field in dataclasses.fields(Checkpoint))
"""The fields of a checkpoint."""

_NAME = "|".join([*FIELDS, "url"])


class NumberField(serializers.IntegerField):
    """0 to 2^63−1, written in digits and in one way."""

    default_error_messages = {"invalid": f"expected a number from 0 to {MAX_STEP} in digits"}

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"min_value": 0, "max_value": MAX_STEP, **options})

    def to_internal_value(self, data: Any) -> int:
        number = whole_number(data)
        if number is None:
            self.fail("invalid")
        return number


@extend_schema_field({"type": "string", "pattern": "^[^\\u0000]*$"})
class TextField(serializers.Field):  # type: ignore[type-arg]
    """Any text but U+0000, taken as it is."""

    default_error_messages = {"invalid": "expected text without U+0000"}

    def to_internal_value(self, data: Any) -> str:
        if "\0" in data:
            self.fail("invalid")
        return str(data)


class TimestampField(serializers.DateTimeField):
    """RFC 3339 with an offset."""

    default_error_messages = {
        "invalid": "expected a time as RFC 3339, 2026-01-02T03:04:05Z; encode + as %2B"
    }

    def to_internal_value(self, value: Any) -> datetime:
        try:
            return timestamps.from_text(value)
        except ValueError:
            self.fail("invalid")


@extend_schema_field({"type": "string", "pattern": f"^({_NAME})(,({_NAME}))*$"})
class FieldsField(serializers.Field):  # type: ignore[type-arg]
    """Names of fields of a checkpoint, with commas between them."""

    default_error_messages = {"invalid": f"expected some of {','.join(FIELDS)}"}

    def to_internal_value(self, data: Any) -> frozenset[str]:
        names = frozenset(data.split(","))
        if not names <= {*FIELDS, "url"}:
            self.fail("invalid")
        return names


class Parameters(serializers.Serializer):  # type: ignore[type-arg]
    """The parameters of a call; others are ignored."""

    @classmethod
    def of(cls, request: Request) -> dict[str, Any]:
        """Return the values of the parameters that are given.

        Raises ``Invalid`` with the name of the first that is refused.
        """
        given = request.query_params
        values = {}
        for name, parameter in _parameters(cls).items():
            if name in given or parameter.required:
                try:
                    values[name] = parameter.run_validation(given.get(name, empty))
                except serializers.ValidationError as error:
                    message, *_ = error.detail
                    raise Invalid(str(message), path=name) from None
        return values


@cache
def _parameters(cls: type[Parameters]) -> dict[str, Field]:
    """Return the fields of a class, which hold nothing of a request; a copy is dear."""
    return cls().get_fields()


class SessionParameters(Parameters):
    """Which sessions to list, and in which order."""

    id = TextField(required=False, help_text="The session of exactly this id.")
    search = TextField(required=False, help_text="Sessions whose id begins with this.")
    status = serializers.ChoiceField(
        Session.Status.choices, required=False, help_text="Sessions that stand there."
    )
    owner = TextField(required=False, help_text="Sessions of exactly this owner.")
    updated_after = TimestampField(
        required=False, help_text="Sessions that were updated then or later (RFC 3339)."
    )
    updated_before = TimestampField(
        required=False, help_text="Sessions that were updated then or before (RFC 3339)."
    )
    ordering = serializers.ChoiceField(
        ["updated_at", "-updated_at", "id", "-id"],
        required=False,
        help_text="The order, ties by id; `-updated_at` without it.",
    )


class StepParameters(Parameters):
    """Which steps to list, and what of each."""

    limit = NumberField(
        required=False, help_text="At most so many: 100 without it, never more than 1000."
    )
    offset = NumberField(required=False, help_text="Pass over so many.")
    min_step = NumberField(required=False, help_text="From this step on.")
    max_step = NumberField(
        required=False,
        help_text="Down from this step: the cursor for deep histories, which costs the same "
        "on every page.",
    )
    ran_node = TextField(
        required=False, help_text="Steps in which exactly this node ran, as `plan` or `End`."
    )
    skipped_node = TextField(
        required=False, help_text="Steps in which exactly this node was skipped."
    )
    fields_ = FieldsField(required=False)

    def get_fields(self) -> dict[str, Field]:
        # `fields` is taken: it is how a serializer names its own.
        fields = super().get_fields()
        fields["fields"] = fields.pop("fields_")
        fields["fields"].help_text = (
            f"What to show of each step besides `url`, with commas: {', '.join(FIELDS)}. "
            "Without `state` in it, no state is read."
        )
        return fields

    @staticmethod
    def query(values: dict[str, Any]) -> StepQuery:
        """Return the query that the values make up. Raises ``InvalidQuery``."""
        return StepQuery(**{key: value for key, value in values.items() if key != "fields"})


class SaveParameters(Parameters):
    """Whether a save depends on what is there."""

    expected_last_step = NumberField(
        required=False,
        help_text="Save only if this is the session's last step (0 for a session that is not "
        "there or has no step); otherwise 409.",
    )


class DiffParameters(Parameters):
    """Between which steps to compare."""

    def get_fields(self) -> dict[str, Field]:
        return {
            "from": NumberField(help_text="The step to compare from."),
            "to": NumberField(help_text="The step to compare to."),
        }
