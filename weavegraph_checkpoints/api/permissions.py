"""Permissions: the user must be authenticated and have Django's permission for each action."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

VIEW = "weavegraph_checkpoints.view_session"
ADD_STEP = "weavegraph_checkpoints.add_step"
CHANGE_STEP = "weavegraph_checkpoints.change_step"
FORK = "weavegraph_checkpoints.add_session"
CHANGE_LABELS = "weavegraph_checkpoints.change_session"
DELETE = "weavegraph_checkpoints.delete_session"

_PERMISSIONS_BY_ACTION = {
    "destroy": [DELETE],
    "fork": [FORK],
    "partial_update": [CHANGE_LABELS],
    "update": [ADD_STEP, CHANGE_STEP],
}
"""One of these permissions is required; every other action requires ``VIEW``."""


class CheckpointPermission(BasePermission):
    """Allow authenticated users with a permission for the action, for GET too.

    ``update`` saves or replaces a step. Which of its two permissions it requires depends on
    whether the step exists: ``StepViewSet`` checks it.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        user: Any = request.user
        # The user is None if the setting UNAUTHENTICATED_USER is None.
        if user is None or not user.is_authenticated:
            return False
        action = getattr(view, "action", None)
        if action is None or action == "metadata":
            return True  # A method that is not allowed and OPTIONS read and write nothing.
        return any(user.has_perm(each) for each in _PERMISSIONS_BY_ACTION.get(action, [VIEW]))
