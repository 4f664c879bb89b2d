"""Serializers of a session, and of the request body of a fork."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from weavegraph_checkpoints.domain.limits import MAX_SESSION_ID_LENGTH, MAX_STEP, is_session_id
from weavegraph_checkpoints.domain.timestamps import format_timestamp
from weavegraph_checkpoints.models import Session

SESSION_COLUMNS = (
    "id",
    "owner",
    "status",
    "concurrency_limit",
    "created_at",
    "updated_at",
    "last_step",
    "revision",
    "last_message_count",
    "last_error_count",
    "last_state_bytes",
    "last_frontier",
    "forked_from",
    "forked_at_step",
)
"""The columns of a session that responses contain."""


class SessionSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """A session without its state."""

    url = serializers.URLField(read_only=True, help_text="The URL of this session.")
    last_frontier = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        allow_null=True,
        help_text="The nodes to resume from; null before the first step.",
    )

    class Meta:
        model = Session
        fields = ("id", "url", *SESSION_COLUMNS[1:])
        read_only_fields = fields

    def to_representation(self, session: dict[str, Any]) -> dict[str, Any]:
        """Return the response data of a row of ``SESSION_COLUMNS``, with timestamps in UTC.

        DRF's own loop over the fields would take most of the time of a page.
        """
        url = self.context["view"].build_session_url(session["id"])
        times = {name: format_timestamp(session[name]) for name in ("created_at", "updated_at")}
        return {"id": session["id"], "url": url, **session, **times}


@extend_schema_field(
    {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_SESSION_ID_LENGTH,
        "pattern": "^[^\\u0000]*$",
        "description": "The id of the new session.",
    }
)
class SessionIdField(serializers.Field):  # type: ignore[type-arg]
    """The id of a session."""

    default_error_messages = {
        "invalid": f"expected text of 1 to {MAX_SESSION_ID_LENGTH} characters without U+0000"
    }

    def to_internal_value(self, data: Any) -> str:
        if not is_session_id(data):
            self.fail("invalid")
        return str(data)


class StrictIntegerField(serializers.IntegerField):
    """A JSON integer; unlike DRF's field, refuse strings, fractions and booleans."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return int(data)


class ForkSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """The request body of a fork."""

    target = SessionIdField()
    at_step = StrictIntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=MAX_STEP,
        help_text="The last step to copy; all steps by default.",
    )
