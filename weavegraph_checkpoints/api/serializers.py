"""A session as it is answered, and what a fork takes."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from weavegraph_checkpoints.api.checkpointer import SMALL_COLUMNS
from weavegraph_checkpoints.domain.limits import MAX_SESSION_ID_LENGTH, MAX_STEP, is_session_id
from weavegraph_checkpoints.domain.timestamps import to_text
from weavegraph_checkpoints.models import Session


class SessionSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """A session without its state."""

    url = serializers.URLField(read_only=True, help_text="The address of this session.")
    last_frontier = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        allow_null=True,
        help_text="The nodes to resume from; null before the first step.",
    )

    class Meta:
        model = Session
        fields = ("id", "url", *SMALL_COLUMNS[1:])
        read_only_fields = fields

    def to_representation(self, session: dict[str, Any]) -> dict[str, Any]:
        """Return the members of a session; times are in UTC whatever the project has.

        By hand: field by field it would be most of the time of a page.
        """
        session_id = session["id"]
        url = self.context["view"].url_of(session_id)
        times = {name: to_text(session[name]) for name in ("created_at", "updated_at")}
        return {"id": session_id, "url": url, **session, **times}


@extend_schema_field(
    {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_SESSION_ID_LENGTH,
        "pattern": "^[^\\u0000]*$",
        "description": "The id of the session to make.",
    }
)
class TargetField(serializers.Field):  # type: ignore[type-arg]
    """An id that a session can have."""

    default_error_messages = {
        "invalid": f"expected text of 1 to {MAX_SESSION_ID_LENGTH} characters without U+0000"
    }

    def to_internal_value(self, data: Any) -> str:
        if not is_session_id(data):
            self.fail("invalid")
        return str(data)


class StepField(serializers.IntegerField):
    """A JSON integer from 0 to 2^63−1, and neither text, nor a fraction, nor a bool."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return int(data)


class ForkSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """What a fork takes."""

    target = TargetField()
    at_step = StepField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=MAX_STEP,
        help_text="Copy the steps up to this one; all without it.",
    )
