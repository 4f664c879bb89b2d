"""The models: sessions with a snapshot of their newest step, steps, keyframes and labels."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from weavegraph_checkpoints import serde
from weavegraph_checkpoints.domain.escaping import escape_direction_chars
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.fields import (
    LabelKeyField,
    SessionIdField,
    StateField,
    TimestampField,
)
from weavegraph_checkpoints.querysets import LabelQuerySet, SessionQuerySet, StepQuerySet
from weavegraph_checkpoints.serde.deltas import FoldedState, fold, is_delta
from weavegraph_checkpoints.serde.errors import name_step

# Expressions, so that MariaDB, which has no partial indexes, creates none of these indexes.
_NEWEST_FIRST = (models.F("updated_at").desc(), models.F("id"))

# Steps come before sessions so that dumpdata writes, and loaddata loads, them in this order:
# the trigger then finds no session to update, and each session is loaded as it was. Deleting a
# session deletes from the tables in this order too, and keyframes may only go after their steps.


class Step(models.Model):
    """A checkpoint of a session, saved after a superstep."""

    id = models.BigAutoField(primary_key=True)
    session = models.ForeignKey(
        "Session",
        verbose_name=_("session"),
        on_delete=models.CASCADE,
        related_name="steps",
        db_index=False,
    )
    step = models.PositiveBigIntegerField(_("step"))
    base = models.ForeignKey(
        "Keyframe",
        verbose_name=_("keyframe"),
        on_delete=models.DO_NOTHING,
        related_name="steps",
        null=True,
        blank=True,
    )
    created_at = TimestampField(_("created"), default=timezone.now)
    message_count = models.PositiveBigIntegerField(_("messages"), null=True, blank=True)
    error_count = models.PositiveBigIntegerField(_("errors"), null=True, blank=True)
    state_bytes = models.PositiveBigIntegerField(_("size of the state"), null=True, blank=True)
    frontier = models.JSONField(_("next nodes"))
    ran_nodes = models.JSONField(_("nodes that ran"), default=list)
    skipped_nodes = models.JSONField(_("nodes that were skipped"), default=list)
    updated_channels = models.JSONField(_("changed channels"), null=True, blank=True)
    versions_seen = models.JSONField(_("versions seen"), default=dict)
    state = StateField(_("state"))

    objects = StepQuerySet.as_manager()

    class Meta:
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        constraints = [
            models.UniqueConstraint(fields=["session", "step"], name="weavegraph_step_unique"),
        ]
        indexes = [models.Index(fields=["created_at"], name="weavegraph_step_created")]

    def __str__(self) -> str:
        return f"{escape_direction_chars(self.session_id)} · {self.step}"

    def natural_key(self) -> tuple[str, int]:
        """Return the session and the step, which identify it on every database."""
        return self.session_id, self.step

    def whole_state(self) -> Any:
        """Return the whole state as JSON, whether ``state`` is whole or has only changes.

        One query if it has only changes. Raise ``SerializationError`` if its keyframes are
        missing or damaged.
        """
        if not is_delta(document := serde.dumps_json(self.state)):
            return self.state
        try:
            folded = self._read_keyframes()
            return serde.loads_json(serde.dumps_state(folded.to_state(document)))
        except SerializationError as error:
            raise name_step(error, self.session_id, self.step) from None

    def _read_keyframes(self) -> FoldedState:
        base_id = self.base_id or 0
        keyframes = Keyframe.objects.using(self._state.db).filter(session=self.session_id)
        root = keyframes.filter(pk=base_id).values("root_id")
        chain = keyframes.filter(root_id=root[:1], pk__gte=base_id).order_by("-pk")
        rows = list(chain.values_list("pk", "previous", "state"))
        names = [row[0] for row in rows]
        if names[-1:] != [base_id] or [row[1] for row in rows] != [None, *names[:-1]]:
            raise SerializationError("a keyframe of the state is missing", "$.state")
        documents = [serde.dumps_json(row[2]) for row in rows]
        return fold(documents[0], documents[1:])


class Keyframe(models.Model):
    """A state of a session that steps are stored as changes to; it is never updated.

    Keyframes form chains: the state of a root is whole, and that of every other keyframe is
    what it adds to ``previous``. Ids are random, decrease along a chain, and are never reused.
    """

    id = models.BigIntegerField(primary_key=True)
    session = models.ForeignKey(
        "Session",
        verbose_name=_("session"),
        on_delete=models.CASCADE,
        related_name="keyframes",
        db_index=False,
    )
    root_id = models.BigIntegerField(_("root"))
    previous = models.OneToOneField(
        "self",
        verbose_name=_("previous keyframe"),
        on_delete=models.DO_NOTHING,
        related_name="next",
        null=True,
        blank=True,
    )
    state = StateField(_("state"))

    class Meta:
        verbose_name = _("keyframe")
        verbose_name_plural = _("keyframes")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["session", "root_id", "id"], name="weavegraph_keyframe_unique"
            ),
        ]

    def __str__(self) -> str:
        return f"{escape_direction_chars(self.session_id)} · {self.id}"


class Label(models.Model):
    """A label of a session: a key, and a value that says what the session is about."""

    id = models.BigAutoField(primary_key=True)
    session = models.ForeignKey(
        "Session",
        verbose_name=_("session"),
        on_delete=models.CASCADE,
        related_name="labels",
        db_index=False,
    )
    key = LabelKeyField(_("key"))
    value = SessionIdField(_("value"), blank=True)

    objects = LabelQuerySet.as_manager()

    class Meta:
        verbose_name = _("label")
        verbose_name_plural = _("labels")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["session", "key"], name="weavegraph_label_unique"),
        ]
        indexes = [
            models.Index(fields=["key", "value", "session"], name="weavegraph_label_value"),
        ]

    def __str__(self) -> str:
        return f"{escape_direction_chars(self.session_id)} · {self.key}"

    def natural_key(self) -> tuple[str, str]:
        """Return the session and the key, which identify it on every database."""
        return self.session_id, self.key


class Session(models.Model):
    """One run of a workflow, with the snapshot to resume it from.

    A database trigger keeps ``last_*``, ``status``, ``revision`` and ``updated_at`` in sync
    with the step that has the highest number, whoever writes it.
    """

    class Status(models.TextChoices):
        """Whether a session can be resumed."""

        EMPTY = "empty", _("empty")
        RESUMABLE = "resumable", _("resumable")
        FINISHED = "finished", _("finished")

    id = SessionIdField(_("id"), primary_key=True)
    owner = SessionIdField(_("owner"), blank=True, default="", db_default="")
    concurrency_limit = models.PositiveBigIntegerField(
        _("concurrency limit"), default=1, db_default=1
    )
    created_at = TimestampField(_("created"), default=timezone.now)
    updated_at = TimestampField(_("updated"), default=timezone.now)
    last_step = models.PositiveBigIntegerField(_("last step"), default=0, db_default=0)
    revision = models.PositiveBigIntegerField(_("revision"), default=0, db_default=0)
    status = models.CharField(
        _("status"),
        max_length=9,
        choices=Status,
        default=Status.EMPTY,
        db_default=Status.EMPTY,
    )
    last_message_count = models.PositiveBigIntegerField(_("messages"), null=True, blank=True)
    last_error_count = models.PositiveBigIntegerField(_("errors"), null=True, blank=True)
    last_state_bytes = models.PositiveBigIntegerField(_("size of the state"), null=True, blank=True)
    last_base_id = models.BigIntegerField(_("keyframe"), null=True, blank=True)
    forked_from = SessionIdField(_("forked from"), blank=True, default="", db_default="")
    forked_at_step = models.PositiveBigIntegerField(_("forked at step"), null=True, blank=True)
    last_frontier = models.JSONField(_("next nodes"), null=True, blank=True)
    last_versions_seen = models.JSONField(_("versions seen"), null=True, blank=True)
    last_state = StateField(_("state"), null=True, blank=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        indexes = [
            models.Index(fields=["-updated_at", "id"], name="weavegraph_session_updated"),
            models.Index(fields=["status", "-updated_at"], name="weavegraph_session_status"),
            models.Index(fields=["owner", "-updated_at"], name="weavegraph_session_owner"),
            models.Index(
                *_NEWEST_FIRST,
                condition=models.Q(last_error_count__gt=0),
                name="weavegraph_session_failed",
            ),
            models.Index(
                *_NEWEST_FIRST,
                condition=models.Q(forked_from__gt=""),
                name="weavegraph_session_forked",
            ),
        ]

    def __str__(self) -> str:
        """Return the id as pages, messages and the admin log show it; it is not unique."""
        return escape_direction_chars(str(self.id))

    @classmethod
    def check(cls, **kwargs: Any) -> list[CheckMessage]:
        """Silence the warnings that MariaDB has no partial indexes and no expression indexes."""
        known = {"models.W037", "models.W043"}
        return [found for found in super().check(**kwargs) if found.id not in known]
