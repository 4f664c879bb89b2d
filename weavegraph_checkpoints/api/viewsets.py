"""The actions on sessions and on their steps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections, router, transaction
from django.db.models import F, QuerySet
from django.utils.crypto import salted_hmac
from django.utils.http import parse_etags
from msgspec import UNSET
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from weavegraph_checkpoints import conf, retries, serde
from weavegraph_checkpoints.api import openapi
from weavegraph_checkpoints.api.diff import build_patch
from weavegraph_checkpoints.api.exceptions import InvalidRequest, refuse_invalid_json
from weavegraph_checkpoints.api.filters import (
    DiffParameters,
    SaveParameters,
    SessionFilter,
    StepParameters,
)
from weavegraph_checkpoints.api.openapi_components import Fork, SessionPatch
from weavegraph_checkpoints.api.openapi_examples import EXAMPLE_CHECKPOINT, EXAMPLE_PATCH
from weavegraph_checkpoints.api.pagination import SessionPagination
from weavegraph_checkpoints.api.parsers import (
    CheckpointParser,
    ForkParser,
    MergePatchParser,
    PatchParser,
)
from weavegraph_checkpoints.api.permissions import ADD_STEP, CHANGE_STEP, VIEW
from weavegraph_checkpoints.api.renderers import CheckpointData, JSONRenderer
from weavegraph_checkpoints.api.serializers import SessionSerializer
from weavegraph_checkpoints.api.views import BaseView
from weavegraph_checkpoints.backends import Version, get_backend
from weavegraph_checkpoints.backends.labels import read_labels
from weavegraph_checkpoints.domain import Checkpoint, StepQuery
from weavegraph_checkpoints.domain.limits import MAX_STEP, parse_non_negative_int
from weavegraph_checkpoints.exceptions import SessionNotFound, StepExists
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.serde.sizes import check_body_containers

MAX_PAGE_BYTES = 8 * 1024 * 1024
"""Maximum size of the states on a page of steps, in bytes, if there is more than one."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@openapi.sessions
class SessionViewSet(
    BaseView,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[Session],
):
    """Sessions, without their states."""

    queryset = Session.objects.all()
    serializer_class = SessionSerializer
    parser_classes = [PatchParser, MergePatchParser]
    filter_backends = [SessionFilter]
    pagination_class = SessionPagination
    lookup_url_kwarg = "session"
    lookup_value_regex = "[^/]+"

    def get_queryset(self) -> QuerySet[Any]:
        return self.get_sessions()

    def get_object(self) -> Any:
        session = self.get_session()
        self._add_labels([session], router.db_for_write(Session))
        return session

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset)
        self._add_labels(page or (), queryset.db)
        return page

    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change the labels of a session by a merge patch."""
        # DRF does not call the parser for an empty body.
        body: Any = request.data or b""
        with refuse_invalid_json():
            patch = serde.loads_as(SessionPatch, body)
        changes = {} if patch.labels is UNSET else patch.labels
        labels = self.checkpointer.set_labels(
            self.session_id, changes or {}, replace=changes is None
        )
        session = self.get_session()
        return Response(self.get_serializer({**session, "labels": labels}).data)

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete a session with all its steps."""
        if not self.checkpointer.delete_session(self.session_id):
            raise SessionNotFound(self.session_id)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @action(detail=True)
    def latest(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the checkpoint to resume from, or 304 if ``If-None-Match`` has its ETag."""
        known = request.headers.get("If-None-Match") if self._renders_json() else None
        if known is not None:
            version = self.checkpointer.load_version(self.session_id)
            if version is not None and _etag_matches(known, build_etag(version)):
                return self._add_etag(Response(status=status.HTTP_304_NOT_MODIFIED), version)
        found = self.checkpointer.load_latest_with_version(self.session_id)
        if found is None:
            raise NotFound(f"session {self.session_id!r} does not exist or has no step")
        checkpoint, version = found
        data = CheckpointData(checkpoint, self.build_step_url(checkpoint.step))
        return self._add_etag(Response(data), version)

    @action(detail=True, methods=["post"], parser_classes=[ForkParser])
    def fork(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Copy the labels and steps of a session into a new session."""
        # DRF does not call the parser for an empty body.
        body: Any = request.data or b"{}"
        with refuse_invalid_json():
            fork = serde.loads_as(Fork, body)
        self.checkpointer.fork_session(self.session_id, fork.target, at_step=fork.at_step)
        session = self.read_session(fork.target)
        self._add_labels([session], router.db_for_write(Session))
        data = self.get_serializer(session).data
        return Response(data, status.HTTP_201_CREATED, headers={"Location": data["url"]})

    @action(detail=True)
    def diff(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the patch between the states of two steps."""
        steps = DiffParameters.parse(request)
        source, target = (self.get_state_json(steps[name]) for name in ("from", "to"))
        return Response({**steps, "patch": build_patch(source, target)})

    def example_body(self) -> Any:
        """Return the body that prefills the form of the browsable API."""
        is_fork = "post" in (self.action_map or {})
        return {"target": "", "at_step": None} if is_fork else EXAMPLE_PATCH

    def _add_labels(self, sessions: Sequence[dict[str, Any]], using: str) -> None:
        """Add the labels to rows of sessions. One query, if there are any."""
        if sessions:
            backend = get_backend(connections[using])
            labels = read_labels(backend, [session["id"] for session in sessions])
            for session in sessions:
                session["labels"] = labels.get(session["id"], {})

    def _renders_json(self) -> bool:
        return isinstance(self.request.accepted_renderer, JSONRenderer)

    def _add_etag(self, response: Response, version: Version) -> Response:
        # A strong ETag: only the JSON representation is the same byte for byte.
        if self._renders_json():
            response["ETag"] = build_etag(version)
        return response


def build_etag(version: Version) -> str:
    """Return the ETag of a session's latest checkpoint.

    It changes on every save, and when the session is deleted and created again. The id of
    the newest step is hashed because it is private.
    """
    created_at = (version.created_at - _EPOCH) // timedelta(microseconds=1)
    digest = salted_hmac(__name__, str(version.newest_step_id), algorithm="sha256").hexdigest()
    return f'"{created_at:x}-{version.revision:x}-{digest[:16]}"'


def _etag_matches(if_none_match: str, etag: str) -> bool:
    """Return whether ``If-None-Match`` has an ETag, which a proxy may have made weak."""
    known = parse_etags(if_none_match)
    return known == ["*"] or any(each.removeprefix("W/") == etag for each in known)


@openapi.steps
class StepViewSet(BaseView, GenericViewSet[Step]):
    """The steps of a session, each a checkpoint in its persisted JSON."""

    queryset = Step.objects.all()
    parser_classes = [CheckpointParser]
    filter_backends = []
    pagination_class = None
    lookup_url_kwarg = "step"
    lookup_value_regex = "[^/]+"

    def get_session_and_step(self) -> tuple[str, int]:
        """Return the session id and the step in the URL.

        Raises ``NotFound``, or ``InvalidRequest`` if an invalid step is to be saved.
        """
        step = parse_non_negative_int(self.kwargs["step"])
        if step is not None:
            return self.session_id, step
        message = f"step must be an integer from 0 to {MAX_STEP}"
        if self.action == "update":
            raise InvalidRequest(message, path="step")
        raise NotFound(message)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a page of steps, newest first."""
        parameters = StepParameters.parse(request)
        fields = parameters.pop("fields", None)
        page = self.checkpointer.query_steps(
            self.session_id,
            StepQuery(**parameters),
            fields=None if fields is None else fields - {"url"},
            max_bytes=MAX_PAGE_BYTES,
        )
        if not page.page_info.total_count:
            self.get_session()
        data = [
            CheckpointData(each, self.build_step_url(each.step), fields)
            for each in page.checkpoints
        ]
        return Response({"checkpoints": data, "page_info": page.page_info})

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return one checkpoint."""
        _, step = self.get_session_and_step()
        return Response(CheckpointData(self.get_checkpoint(step), self.build_step_url(step)))

    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Save a checkpoint, with ``expected_last_step`` only after that step."""
        session_id, step = self.get_session_and_step()
        expected = SaveParameters.parse(request).get("expected_last_step")
        if expected is not None and not request.user.has_perm(ADD_STEP):
            raise PermissionDenied()
        if not isinstance(request.data, bytes):
            raise InvalidRequest("send a checkpoint with its Content-Length", path="$")
        with refuse_invalid_json():
            check_body_containers(request.data, conf.max_state_bytes())
            checkpoint = serde.loads_step(request.data, session_id, step)
            is_new = self._save(checkpoint, expected)
        url = self.build_step_url(step)
        data = {"session_id": session_id, "step": step, "url": url}
        if is_new:
            return Response(data, status.HTTP_201_CREATED, headers={"Location": url})
        return Response(data)

    def _save(self, checkpoint: Checkpoint, expected_last_step: int | None) -> bool:
        """Save a checkpoint; return whether its step is new. Raises ``PermissionDenied``."""
        if expected_last_step is not None:
            self.checkpointer.save_with_concurrency_check(checkpoint, expected_last_step)
            return True
        if not self.request.user.has_perm(ADD_STEP):
            alias = router.db_for_write(Session)
            retries.run(connections[alias], lambda: self._replace(checkpoint, alias))
            return False
        try:
            self.checkpointer.save(checkpoint, replace=False)
        except StepExists:
            if not self.request.user.has_perm(CHANGE_STEP):
                raise PermissionDenied() from None
            self.checkpointer.save(checkpoint)
            return False
        return True

    def _replace(self, checkpoint: Checkpoint, alias: str) -> None:
        """Replace a step. Raises ``PermissionDenied`` if it does not exist."""
        sessions = Session.objects.using(alias).owned_by(self.checkpointer.owner)
        steps = Step.objects.using(alias).filter(session_id=checkpoint.session_id)
        with transaction.atomic(alias):
            # Lock the session; SQLite ignores select_for_update().
            locked = sessions.filter(pk=checkpoint.session_id).update(revision=F("revision"))
            if not locked or not steps.filter(step=checkpoint.step).exists():
                raise PermissionDenied()
            self.checkpointer.save(checkpoint)

    def example_body(self) -> Any:
        """Return the body that prefills the form: the stored checkpoint, or an example."""
        # A user who may save a step may not be allowed to read it.
        if self.request.user.has_perm(VIEW):
            with suppress(APIException):
                _, step = self.get_session_and_step()
                return CheckpointData(self.get_checkpoint(step), self.build_step_url(step))
        return EXAMPLE_CHECKPOINT
