"""The tables of sessions, keyframes, steps and labels."""

from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import weavegraph_checkpoints.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "id",
                    weavegraph_checkpoints.fields.SessionIdField(
                        primary_key=True, serialize=False, verbose_name="id"
                    ),
                ),
                (
                    "owner",
                    weavegraph_checkpoints.fields.SessionIdField(
                        blank=True, db_default="", default="", verbose_name="owner"
                    ),
                ),
                (
                    "concurrency_limit",
                    models.PositiveBigIntegerField(
                        db_default=1, default=1, verbose_name="concurrency limit"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="created"),
                ),
                (
                    "updated_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="updated"),
                ),
                (
                    "last_step",
                    models.PositiveBigIntegerField(
                        db_default=0, default=0, verbose_name="last step"
                    ),
                ),
                (
                    "revision",
                    models.PositiveBigIntegerField(
                        db_default=0, default=0, verbose_name="revision"
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("empty", "empty"),
                            ("resumable", "resumable"),
                            ("finished", "finished"),
                        ],
                        db_default="empty",
                        default="empty",
                        max_length=9,
                        verbose_name="status",
                    ),
                ),
                (
                    "last_message_count",
                    models.PositiveBigIntegerField(blank=True, null=True, verbose_name="messages"),
                ),
                (
                    "last_error_count",
                    models.PositiveBigIntegerField(blank=True, null=True, verbose_name="errors"),
                ),
                (
                    "last_state_bytes",
                    models.PositiveBigIntegerField(
                        blank=True, null=True, verbose_name="size of the state"
                    ),
                ),
                (
                    "last_base_id",
                    models.BigIntegerField(blank=True, null=True, verbose_name="keyframe"),
                ),
                (
                    "forked_from",
                    weavegraph_checkpoints.fields.SessionIdField(
                        blank=True, db_default="", default="", verbose_name="forked from"
                    ),
                ),
                (
                    "forked_at_step",
                    models.PositiveBigIntegerField(
                        blank=True, null=True, verbose_name="forked at step"
                    ),
                ),
                (
                    "last_frontier",
                    models.JSONField(blank=True, null=True, verbose_name="next nodes"),
                ),
                (
                    "last_versions_seen",
                    models.JSONField(blank=True, null=True, verbose_name="versions seen"),
                ),
                (
                    "last_state",
                    weavegraph_checkpoints.fields.StateField(
                        blank=True, null=True, verbose_name="state"
                    ),
                ),
            ],
            options={
                "verbose_name": "session",
                "verbose_name_plural": "sessions",
                "indexes": [
                    models.Index(fields=["-updated_at", "id"], name="weavegraph_session_updated"),
                    models.Index(
                        fields=["status", "-updated_at"], name="weavegraph_session_status"
                    ),
                    models.Index(fields=["owner", "-updated_at"], name="weavegraph_session_owner"),
                    models.Index(
                        models.OrderBy(models.F("updated_at"), descending=True),
                        models.F("id"),
                        condition=models.Q(("last_error_count__gt", 0)),
                        name="weavegraph_session_failed",
                    ),
                    models.Index(
                        models.OrderBy(models.F("updated_at"), descending=True),
                        models.F("id"),
                        condition=models.Q(("forked_from__gt", "")),
                        name="weavegraph_session_forked",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Keyframe",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                (
                    "session",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="keyframes",
                        to="weavegraph_checkpoints.session",
                        verbose_name="session",
                    ),
                ),
                ("root_id", models.BigIntegerField(verbose_name="root")),
                (
                    "previous",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="next",
                        to="weavegraph_checkpoints.keyframe",
                        verbose_name="previous keyframe",
                    ),
                ),
                ("state", weavegraph_checkpoints.fields.StateField(verbose_name="state")),
            ],
            options={
                "verbose_name": "keyframe",
                "verbose_name_plural": "keyframes",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("session", "root_id", "id"), name="weavegraph_keyframe_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Step",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "session",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="steps",
                        to="weavegraph_checkpoints.session",
                        verbose_name="session",
                    ),
                ),
                ("step", models.PositiveBigIntegerField(verbose_name="step")),
                (
                    "base",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="steps",
                        to="weavegraph_checkpoints.keyframe",
                        verbose_name="keyframe",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="created"),
                ),
                (
                    "message_count",
                    models.PositiveBigIntegerField(blank=True, null=True, verbose_name="messages"),
                ),
                (
                    "error_count",
                    models.PositiveBigIntegerField(blank=True, null=True, verbose_name="errors"),
                ),
                (
                    "state_bytes",
                    models.PositiveBigIntegerField(
                        blank=True, null=True, verbose_name="size of the state"
                    ),
                ),
                ("frontier", models.JSONField(verbose_name="next nodes")),
                ("ran_nodes", models.JSONField(default=list, verbose_name="nodes that ran")),
                (
                    "skipped_nodes",
                    models.JSONField(default=list, verbose_name="nodes that were skipped"),
                ),
                (
                    "updated_channels",
                    models.JSONField(blank=True, null=True, verbose_name="changed channels"),
                ),
                ("versions_seen", models.JSONField(default=dict, verbose_name="versions seen")),
                ("state", weavegraph_checkpoints.fields.StateField(verbose_name="state")),
            ],
            options={
                "verbose_name": "step",
                "verbose_name_plural": "steps",
                "indexes": [models.Index(fields=["created_at"], name="weavegraph_step_created")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("session", "step"), name="weavegraph_step_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Label",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "session",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="labels",
                        to="weavegraph_checkpoints.session",
                        verbose_name="session",
                    ),
                ),
                ("key", weavegraph_checkpoints.fields.LabelKeyField(verbose_name="key")),
                (
                    "value",
                    weavegraph_checkpoints.fields.SessionIdField(blank=True, verbose_name="value"),
                ),
            ],
            options={
                "verbose_name": "label",
                "verbose_name_plural": "labels",
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["key", "value", "session"], name="weavegraph_label_value")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("session", "key"), name="weavegraph_label_unique"
                    )
                ],
            },
        ),
        weavegraph_checkpoints.fields.CompressWithLz4("Session", "last_state"),
        weavegraph_checkpoints.fields.CompressWithLz4("Keyframe", "state"),
        weavegraph_checkpoints.fields.CompressWithLz4("Step", "state"),
    ]
