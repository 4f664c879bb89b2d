"""The list of sessions, and one session."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from weavegraph_checkpoints.models import Session


@admin.register(Session)
class SessionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Sessions, newest first, read from small columns alone."""

    list_display = (
        "id",
        "owner",
        "status",
        "last_step",
        "last_message_count",
        "last_error_count",
        "last_state_bytes",
        "updated_at",
        "forked_from",
    )
    list_filter = ("status",)
    search_fields = ("id__startswith",)
    search_help_text = "The beginning of a session's id."
    ordering = ("-updated_at", "id")
    sortable_by = ("updated_at",)
    show_full_result_count = False
    exclude = ("last_state", "last_versions_seen")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        return super().get_queryset(request).light()  # type: ignore[attr-defined, no-any-return]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
