"""The calls on sessions."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.http import http_date
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from weavegraph_checkpoints.api import errors, schema
from weavegraph_checkpoints.api.bodies import SmallParser
from weavegraph_checkpoints.api.diff import patch_between
from weavegraph_checkpoints.api.etags import etag, is_known
from weavegraph_checkpoints.api.filters import SessionFilter
from weavegraph_checkpoints.api.pagination import SessionPagination
from weavegraph_checkpoints.api.parameters import DiffParameters
from weavegraph_checkpoints.api.renderers import CheckpointDocument, JSONRenderer
from weavegraph_checkpoints.api.serializers import ForkSerializer, SessionSerializer
from weavegraph_checkpoints.api.views import CheckpointsView
from weavegraph_checkpoints.backends import Version
from weavegraph_checkpoints.domain import VersionedState
from weavegraph_checkpoints.models import Session


@schema.sessions
class SessionViewSet(
    CheckpointsView,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[Session],
):
    """The sessions of checkpoints, each without its state."""

    queryset = Session.objects.all()
    serializer_class = SessionSerializer
    parser_classes = [SmallParser]
    filter_backends = [SessionFilter]
    pagination_class = SessionPagination
    lookup_url_kwarg = "session"
    lookup_value_regex = "[^/]+"

    def get_queryset(self) -> QuerySet[Any]:
        return self.checkpointer.sessions()

    def get_object(self) -> Any:
        """Return the session that the address names. Raises ``NotFound``."""
        session = self.get_queryset().filter(pk=self.session_id).first()
        if session is None:
            raise errors.no_session(self.session_id)
        return session

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete a session with all its steps."""
        if not self.checkpointer.delete_session(self.session_id):
            raise errors.no_session(self.session_id)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @action(detail=True)
    def latest(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Answer with the checkpoint to resume from, or with 304."""
        known = request.headers.get("If-None-Match") if self._is_json else None
        if known is not None:
            version = self.checkpointer.version(self.session_id)
            if version is not None and is_known(known, etag(version)):
                return self._of_version(Response(status=status.HTTP_304_NOT_MODIFIED), version)
        found = self.checkpointer.latest(self.session_id)
        if found is None:
            raise errors.NotFound(f"session {self.session_id!r} does not exist or has no step")
        version, checkpoint = found
        url = self.url_of(self.session_id, checkpoint.step)
        return self._of_version(Response(CheckpointDocument(checkpoint, url, None)), version)

    @action(detail=True, methods=["post"])
    def fork(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Copy a session's steps into a new session."""
        fork = ForkSerializer(data=request.data)
        if not fork.is_valid():
            name, messages = next(iter(fork.errors.items()))
            path = f"$.{name}" if name in fork.fields else "$"
            raise errors.Invalid(str(messages[0]), path=path)
        wanted = fork.validated_data
        made = self.checkpointer.fork_session(
            self.session_id, wanted["target"], at_step=wanted.get("at_step")
        )
        session = self.checkpointer.fresh_session(made.session_id)
        if session is None:
            raise errors.no_session(made.session_id)
        data = self.get_serializer(session).data
        headers = {"Location": data["url"]}
        return Response(data, status=status.HTTP_201_CREATED, headers=headers)

    @action(detail=True)
    def diff(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Answer with the patch between the states of two steps."""
        steps = DiffParameters.of(request)
        source, target = (self._state(steps[name]) for name in ("from", "to"))
        return Response({**steps, "patch": patch_between(source, target)})

    def suggest(self) -> Any:
        """What the form of the browsable API begins with."""
        return {"target": "", "at_step": None}

    def _state(self, step: int) -> VersionedState:
        checkpoint = self.checkpointer.load(self.session_id, step)
        if checkpoint is None:
            raise errors.NotFound(f"session {self.session_id!r} has no step {step}")
        return checkpoint.state

    @property
    def _is_json(self) -> bool:
        return isinstance(self.request.accepted_renderer, JSONRenderer)

    def _of_version(self, response: Response, version: Version) -> Response:
        response["Cache-Control"] = "private, no-cache"
        response["Last-Modified"] = http_date(version.updated_at.timestamp())
        # Strong, so it is of the one representation that is the same byte for byte.
        if self._is_json:
            response["ETag"] = etag(version)
        return response
