"""Check again that the user of a request that takes minutes may still make it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import SESSION_KEY, get_user
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from weavegraph_checkpoints.api.views import BaseView


def is_still_allowed(view: BaseView) -> bool:
    """Return whether the user may still make the request of a view.

    The user is read from the database again, and so is what authenticated the user: the
    browser session, or the token if it is a model instance. Then the view's permissions are
    checked and ``API_OWNER`` is called with the new user, whose sessions the view has from now
    on. Credentials themselves are not verified again: hashing passwords is slow by design.
    """
    old = view.request
    request: Any = view.initialize_request(old._request)
    request.accepted_renderer = old.accepted_renderer
    request.accepted_media_type = old.accepted_media_type
    request.user = _reload_user(old)
    request.auth = old.auth
    view.request = request
    view.__dict__.pop("checkpointer", None)
    try:
        view.check_permissions(request)
        return view.checkpointer is not None
    except (APIException, Http404, PermissionDenied):
        return False


def _reload_user(request: Request) -> Any:
    """Return the user as it is now; an anonymous one if it is not authenticated any more."""
    user = request.user
    if not isinstance(user, Model):
        return user
    if isinstance(request.auth, Model) and not _exists(request.auth):
        return AnonymousUser()
    session: Any = getattr(request._request, "session", None)
    if request.auth is None and session is not None and session.get(SESSION_KEY) == str(user.pk):
        later = HttpRequest()
        later.session = type(session)(session.session_key)
        return get_user(later)
    return user._meta.default_manager.filter(pk=user.pk).first() or AnonymousUser()  # type: ignore[union-attr]


def _exists(instance: Model) -> bool:
    return type(instance)._base_manager.filter(pk=instance.pk).exists()
