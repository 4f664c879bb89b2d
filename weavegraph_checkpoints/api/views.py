"""What every view of the API shares."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

from django.urls import reverse
from drf_spectacular.openapi import AutoSchema
from rest_framework.metadata import SimpleMetadata
from rest_framework.renderers import BaseRenderer
from rest_framework.renderers import BrowsableAPIRenderer as StockBrowsableAPIRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from weavegraph_checkpoints.api import errors
from weavegraph_checkpoints.api.checkpointer import ApiCheckpointer
from weavegraph_checkpoints.api.permissions import CheckpointPermission
from weavegraph_checkpoints.api.renderers import BrowsableAPIRenderer, JSONRenderer
from weavegraph_checkpoints.domain.limits import MAX_STEP
from weavegraph_checkpoints.domain.url_ids import from_segment, to_segment

SESSIONS = "weavegraph-session-list"

_STEP = re.compile("0|[1-9][0-9]{0,18}")


def whole_number(text: str) -> int | None:
    """Return the step that text writes in its one way, or ``None``."""
    number = int(text) if _STEP.fullmatch(text) else MAX_STEP + 1
    return number if number <= MAX_STEP else None


class Metadata(SimpleMetadata):
    """Answers OPTIONS without a look at what is stored: the schema says the rest."""

    def determine_actions(self, request: Request, view: APIView) -> dict[str, Any]:
        return {}


class CheckpointsView(APIView):
    """Answers exactly, in one shape of errors, to who may.

    Authentication and throttles are those of the project's settings.
    """

    permission_classes = [CheckpointPermission]
    metadata_class = Metadata
    schema = AutoSchema()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # The charset of the body, which a client names freely, would decode the query too.
        request._request.encoding = "utf-8"
        super().initial(request, *args, **kwargs)
        query = request.META.get("QUERY_STRING", "")
        try:
            unquote_to_bytes(query.encode("latin-1", "replace")).decode()
        except UnicodeDecodeError:
            raise errors.Invalid("the query must be in UTF-8") from None

    def get_renderers(self) -> list[BaseRenderer]:
        """Return JSON, and the browsable API where the project offers one."""
        offered: Any = api_settings.DEFAULT_RENDERER_CLASSES
        browsable = any(issubclass(each, StockBrowsableAPIRenderer) for each in offered)
        return [JSONRenderer(), *([BrowsableAPIRenderer()] if browsable else [])]

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        return errors.handle

    @cached_property
    def checkpointer(self) -> ApiCheckpointer:
        """The service for the one who asks."""
        return ApiCheckpointer.of(self.request)

    @cached_property
    def session_id(self) -> str:
        """The session that the address names. Raises ``NotFound``."""
        session_id = from_segment(self.kwargs["session"])
        if session_id is None:
            raise errors.NotFound("this is the address of no session")
        return session_id

    @cached_property
    def sessions_url(self) -> str:
        """The absolute address of the list of sessions, whatever the API is mounted at."""
        match = self.request.resolver_match
        namespaces, kwargs = (match.namespaces, match.kwargs) if match else ([], self.kwargs)
        outer = {key: kwargs[key] for key in kwargs if key not in ("session", "step")}
        name = ":".join([*namespaces, SESSIONS])
        return self.request.build_absolute_uri(reverse(name, kwargs=outer))

    def url_of(self, session_id: str, step: int | None = None) -> str:
        """Return the absolute address of a session, or of one of its steps."""
        url = f"{self.sessions_url}{to_segment(session_id)}/"
        return url if step is None else f"{url}steps/{step}/"


class NowhereView(CheckpointsView):
    """Answers addresses from ``sessions`` on that are none in the shape of this API.

    Those without their last slash too, for which ``APPEND_SLASH`` has a redirect that loses
    the body, and an exception while a project is debugged.
    """

    schema = None  # type: ignore[assignment]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        hint = "" if request.path.endswith("/") else ": addresses end with a slash"
        raise errors.NotFound(f"nothing is at this address{hint}")
