"""The snapshot trigger, alone: MariaDB cannot roll back what defines a schema."""

from __future__ import annotations

from django.db import migrations

from weavegraph_checkpoints.triggers.operations import InstallSnapshotTrigger


class Migration(migrations.Migration):
    dependencies = [("weavegraph_checkpoints", "0001_initial")]

    operations = [InstallSnapshotTrigger("v1")]
