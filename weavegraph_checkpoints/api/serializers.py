"""The serializer of a session."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

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


# drf-spectacular would make a component StatusEnum, and rename one of the project's.
@extend_schema_field({"allOf": [{"type": "string", "enum": Session.Status.values}]})
class StatusField(serializers.CharField):
    """The status of a session."""


@extend_schema_serializer(component_name="WeavegraphSession")
class SessionSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """A session without its state."""

    url = serializers.URLField(read_only=True, help_text="The URL of this session.")
    status = StatusField(read_only=True, help_text="Whether the session can be resumed.")
    last_frontier = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        allow_null=True,
        help_text="The nodes to resume from; null before the first step.",
    )

    labels = serializers.DictField(
        child=serializers.CharField(allow_blank=True),
        read_only=True,
        help_text="What the session is about: text by key.",
    )

    class Meta:
        model = Session
        fields = ("id", "url", *SESSION_COLUMNS[1:], "labels")
        read_only_fields = fields

    def to_representation(self, session: dict[str, Any]) -> dict[str, Any]:
        """Return the response data of a row of ``SESSION_COLUMNS`` and ``labels``.

        DRF's own loop over the fields would take most of the time of a page.
        """
        url = self.context["view"].build_session_url(session["id"])
        times = {name: format_timestamp(session[name]) for name in ("created_at", "updated_at")}
        return {"id": session["id"], "url": url, **session, **times}
