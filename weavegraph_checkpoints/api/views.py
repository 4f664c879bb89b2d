"""The base class of the views, and the view for URLs that do not exist."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from drf_spectacular.openapi import AutoSchema
from rest_framework.exceptions import NotFound
from rest_framework.metadata import SimpleMetadata
from rest_framework.renderers import BaseRenderer
from rest_framework.renderers import BrowsableAPIRenderer as DRFBrowsableAPIRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from weavegraph_checkpoints import conf
from weavegraph_checkpoints.api.exceptions import InvalidRequest, handle_exception
from weavegraph_checkpoints.api.permissions import CheckpointPermission
from weavegraph_checkpoints.api.renderers import BrowsableAPIRenderer, JSONRenderer
from weavegraph_checkpoints.api.serializers import SESSION_COLUMNS
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.backends.history import read_state_json
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain import Checkpoint
from weavegraph_checkpoints.domain.limits import is_session_id
from weavegraph_checkpoints.domain.url_ids import decode_session_id, encode_session_id
from weavegraph_checkpoints.exceptions import InvalidCheckpoint, SessionNotFound
from weavegraph_checkpoints.models import Session, Step


class Metadata(SimpleMetadata):
    """Metadata for OPTIONS that queries nothing; the OpenAPI schema has the rest."""

    def determine_actions(self, request: Request, view: APIView) -> dict[str, Any]:
        return {}


class BaseView(APIView):
    """Base view: permissions, lossless JSON, uniform errors.

    Authentication and throttling follow the project's settings.
    """

    permission_classes = [CheckpointPermission]
    metadata_class = Metadata
    schema = AutoSchema()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # Django would decode the query with the charset of the Content-Type header.
        request._request.encoding = "utf-8"
        super().initial(request, *args, **kwargs)
        query = request.META.get("QUERY_STRING", "")
        try:
            unquote_to_bytes(query.encode("latin-1", "replace")).decode()
        except UnicodeDecodeError:
            raise InvalidRequest("the query string must be encoded in UTF-8") from None

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        """Return the response, marked so that no shared cache stores it.

        Every response, errors included, depends on who asks, which a project may derive from
        any header.
        """
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "private, no-cache"
        patch_vary_headers(response, ("Accept", "Authorization", "Cookie"))
        return response

    def get_renderers(self) -> list[BaseRenderer]:
        """Return the JSON renderer, and the browsable API if the project's settings have it."""
        enabled: Any = api_settings.DEFAULT_RENDERER_CLASSES
        if any(issubclass(each, DRFBrowsableAPIRenderer) for each in enabled):
            return [JSONRenderer(), BrowsableAPIRenderer()]
        return [JSONRenderer()]

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        return handle_exception

    @cached_property
    def checkpointer(self) -> DjangoCheckpointer:
        """The checkpointer for the sessions that the user may access, by ``API_OWNER``."""
        get_owner = conf.api_owner()
        owner = None if get_owner is None else get_owner(self.request)
        try:
            return DjangoCheckpointer(owner=owner)
        except InvalidCheckpoint as error:
            raise ImproperlyConfigured(f"API_OWNER returned an invalid owner: {error}") from error

    @cached_property
    def session_id(self) -> str:
        """The session id in the URL. Raises ``NotFound`` for a segment that encodes none."""
        session_id = decode_session_id(self.kwargs["session"])
        if session_id is None:
            raise NotFound("the URL contains no valid session id")
        return session_id

    def get_sessions(self) -> QuerySet[Any]:
        """Return the sessions that the user may access, each as a dict of ``SESSION_COLUMNS``."""
        return Session.objects.owned_by(self.checkpointer.owner).values(*SESSION_COLUMNS)

    def get_session(self) -> dict[str, Any]:
        """Return the session in the URL. Raises ``SessionNotFound``."""
        return self.read_session(self.session_id)

    def read_session(self, session_id: str) -> dict[str, Any]:
        """Return a session from the database for writes. Raises ``SessionNotFound``.

        A replica may not have it yet: a URL that a response contained must not be a 404.
        """
        sessions = self.get_sessions().using(router.db_for_write(Session))
        session: dict[str, Any] | None = sessions.filter(pk=session_id).first()
        if session is None:
            raise SessionNotFound(session_id)
        return session

    def get_checkpoint(self, step: int) -> Checkpoint:
        """Return a step of the session in the URL. Raises ``NotFound``."""
        checkpoint = self.checkpointer.load(self.session_id, step)
        if checkpoint is None:
            raise NotFound(f"session {self.session_id!r} has no step {step}")
        return checkpoint

    def get_state_json(self, step: int) -> bytes:
        """Return the state of a step of the session in the URL as JSON, without decoding it.

        Raises ``NotFound``.
        """
        backend = get_backend(connections[router.db_for_write(Step)])
        owner = self.checkpointer.owner
        state = None
        if is_session_id(self.session_id):
            state = read_state_json(backend, self.session_id, step, owner)
        if state is None:
            raise NotFound(f"session {self.session_id!r} has no step {step}")
        return state

    @cached_property
    def sessions_url(self) -> str:
        """The absolute URL of the list of sessions, for the mount point of this request."""
        match = self.request.resolver_match
        namespaces, kwargs = (match.namespaces, match.kwargs) if match else ([], self.kwargs)
        outer = {key: kwargs[key] for key in kwargs if key not in ("session", "step")}
        name = ":".join([*namespaces, "weavegraph-session-list"])
        return self.request.build_absolute_uri(reverse(name, kwargs=outer))

    def build_session_url(self, session_id: str) -> str:
        """Return the absolute URL of a session."""
        return f"{self.sessions_url}{encode_session_id(session_id)}/"

    def build_step_url(self, step: int) -> str:
        """Return the absolute URL of a step of the session in the URL."""
        return f"{self.sessions_url}{self.kwargs['session']}/steps/{step}/"


class NotFoundView(BaseView):
    """Answer every other URL below ``sessions`` with the API's own 404.

    This includes URLs without their trailing slash: ``APPEND_SLASH`` would redirect them and
    lose the request body, or raise ``RuntimeError`` if ``DEBUG`` is set.
    """

    schema = None  # type: ignore[assignment]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        hint = "" if request.path.endswith("/") else ": URLs end with a slash"
        raise NotFound(f"this URL does not exist{hint}")
