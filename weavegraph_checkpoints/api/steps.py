"""The calls on the steps of a session."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import Any

from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from weavegraph_checkpoints.api import errors, schema
from weavegraph_checkpoints.api.bodies import CheckpointParser
from weavegraph_checkpoints.api.parameters import SaveParameters, StepParameters
from weavegraph_checkpoints.api.permissions import ADD_STEP, VIEW, permit_save
from weavegraph_checkpoints.api.renderers import CheckpointDocument
from weavegraph_checkpoints.api.views import CheckpointsView, whole_number
from weavegraph_checkpoints.backends import StepRow
from weavegraph_checkpoints.domain import Checkpoint
from weavegraph_checkpoints.domain.limits import MAX_STEP
from weavegraph_checkpoints.models import Step


@schema.steps
class StepViewSet(CheckpointsView, GenericViewSet[Step]):
    """The steps of a session, each a checkpoint in its persisted JSON."""

    queryset = Step.objects.all()
    parser_classes = [CheckpointParser]
    filter_backends = []
    pagination_class = None
    lookup_url_kwarg = "step"
    lookup_value_regex = "[^/]+"

    @cached_property
    def place(self) -> tuple[str, int]:
        """The session and the step that the address names.

        Raises ``NotFound``, or ``Invalid`` where such a step is to be saved.
        """
        step = whole_number(self.kwargs["step"])
        if step is not None:
            return self.session_id, step
        message = f"a step is a number from 0 to {MAX_STEP} in digits"
        if self.action == "update":
            raise errors.Invalid(message, path="step")
        raise errors.NotFound(message)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Answer with a page of steps, newest first."""
        values = StepParameters.of(request)
        fields = values.get("fields")
        page = self.checkpointer.steps(
            self.session_id,
            StepParameters.query(values),
            with_state=fields is None or "state" in fields,
        )
        if not page.page_info.total_count and not self._is_there():
            raise errors.no_session(self.session_id)
        documents = [self._document(each, fields) for each in page.checkpoints]
        return Response({"checkpoints": documents, "page_info": page.page_info})

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Answer with one checkpoint."""
        session_id, step = self.place
        checkpoint = self.checkpointer.load(session_id, step)
        if checkpoint is None:
            raise errors.NotFound(f"session {session_id!r} has no step {step}")
        return Response(self._document(checkpoint, None))

    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Save a checkpoint, where asked only after the expected last step."""
        session_id, step = self.place
        expected = SaveParameters.of(request).get("expected_last_step")
        permit = permit_save(request)
        if expected is not None and permit is not None:
            permit(True)
        row = request.data
        if not isinstance(row, StepRow):
            raise errors.Invalid("send a checkpoint, and its Content-Length", path="$")
        is_new = True
        if expected is None:
            is_new = self.checkpointer.put(row, permit, create=request.user.has_perm(ADD_STEP))
        else:
            self.checkpointer.put_after(row, expected)
        url = self.url_of(session_id, step)
        answer = {"session_id": session_id, "step": step, "url": url}
        if not is_new:
            return Response(answer)
        return Response(answer, status=status.HTTP_201_CREATED, headers={"Location": url})

    def suggest(self) -> Any:
        """What the form of the browsable API begins with: what is there, or an example."""
        checkpoint = None
        # Who may save need not be one who may read.
        if self.request.user.has_perm(VIEW):
            with suppress(APIException):
                checkpoint = self.checkpointer.load(*self.place)
        return schema.CHECKPOINT if checkpoint is None else self._document(checkpoint, None)

    def _document(
        self, checkpoint: Checkpoint, fields: frozenset[str] | None
    ) -> CheckpointDocument:
        url = self.url_of(checkpoint.session_id, checkpoint.step)
        return CheckpointDocument(checkpoint, url, fields)

    def _is_there(self) -> bool:
        return self.checkpointer.sessions().filter(pk=self.session_id).exists()
