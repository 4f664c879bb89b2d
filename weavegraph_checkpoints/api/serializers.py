"""A session as it is answered, and what a fork takes."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from weavegraph_checkpoints.domain.limits import MAX_SESSION_ID_LENGTH, MAX_STEP, is_session_id
from weavegraph_checkpoints.models import Session


class InstantField(serializers.DateTimeField):
    """RFC 3339 in UTC, whatever time zone and format the project has."""

    def __init__(self, **options: Any) -> None:
        super().__init__(format="iso-8601", default_timezone=UTC, **options)


class SessionSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """A session without its state."""

    url = serializers.SerializerMethodField(help_text="The address of this session.")
    created_at = InstantField(read_only=True)
    updated_at = InstantField(read_only=True)
    last_frontier = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        allow_null=True,
        help_text="The nodes to resume from; null before the first step.",
    )

    class Meta:
        model = Session
        fields = (
            "id",
            "url",
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
        read_only_fields = fields

    def get_url(self, session: Session) -> str:
        """Return the absolute address of a session."""
        url: str = self.context["view"].url_of(session.pk)
        return url


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
