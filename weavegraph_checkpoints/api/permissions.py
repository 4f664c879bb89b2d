"""Who may: signed in, and permitted by the permissions of the models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

_APP = "weavegraph_checkpoints"
VIEW = f"{_APP}.view_session"
ADD_STEP = f"{_APP}.add_step"
CHANGE_STEP = f"{_APP}.change_step"
FORK = f"{_APP}.add_session"
DELETE = f"{_APP}.delete_session"

_NEEDED = {
    "destroy": {DELETE},
    "fork": {FORK},
    "update": {ADD_STEP, CHANGE_STEP},
}
"""By action the permissions of which one is needed; to read is ``VIEW``."""


_BY_SAVE = {ADD_STEP: True, CHANGE_STEP: False}


class CheckpointPermission(BasePermission):
    """Lets in who is signed in and has a permission for the call, reading included.

    Whether a save adds a step or replaces one is known once its session is locked:
    ``permit_save`` tells then.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        user: Any = request.user
        # There is no user at all where UNAUTHENTICATED_USER is None.
        if user is None or not user.is_authenticated:
            return False
        action = getattr(view, "action", None)
        if action is None or action == "metadata":
            return True  # A method that is not allowed, and OPTIONS, touch nothing.
        return any(user.has_perm(each) for each in _NEEDED.get(action, {VIEW}))


def permit_save(request: Request) -> Callable[[bool], None] | None:
    """Return what raises ``PermissionDenied`` when told whether a step is new.

    ``None`` for who may add and replace.
    """
    may = {is_new: request.user.has_perm(each) for each, is_new in _BY_SAVE.items()}

    def permit(is_new: bool) -> None:
        if not may[is_new]:
            raise PermissionDenied()

    return None if all(may.values()) else permit
