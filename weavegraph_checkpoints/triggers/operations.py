"""Migration operations that install and remove the snapshot trigger.

On SQLite, a migration that alters either table rebuilds it, which silently drops the trigger.
Wrap such operations in a removal and a new installation::

    operations = [
        RemoveSnapshotTrigger(),
        migrations.AlterField(...),
        InstallSnapshotTrigger(),
    ]
"""

from __future__ import annotations

from typing import Any

from django.db import router
from django.db.migrations.operations.base import Operation

from weavegraph_checkpoints.triggers.installation import definitions, execute


class _SnapshotTriggerOperation(Operation):
    reversible = True
    reduces_to_sql = True

    def __init__(self, version: str = "v1") -> None:
        self.version = version

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Do nothing: the model state does not change."""

    def references_model(self, name: str, app_label: str) -> bool:
        return name.lower() in ("session", "step", "keyframe")

    def _run(self, statements: str, app_label: str, schema_editor: Any, state: Any) -> None:
        """Run the ``create`` or ``drop`` statements of the trigger."""
        connection = schema_editor.connection
        model = state.apps.get_model(app_label, "Step")
        if router.allow_migrate_model(connection.alias, model):
            for trigger in definitions(connection, state.apps, self.version):
                execute(schema_editor, getattr(trigger, statements))


class InstallSnapshotTrigger(_SnapshotTriggerOperation):
    """Create the snapshot trigger of a version, or replace an existing one."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        self._run("create", app_label, schema_editor, to_state)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        self._run("drop", app_label, schema_editor, from_state)

    def describe(self) -> str:
        return f"Install the snapshot trigger {self.version}"

    @property
    def migration_name_fragment(self) -> str:
        return f"install_snapshot_trigger_{self.version}"


class RemoveSnapshotTrigger(_SnapshotTriggerOperation):
    """Drop the snapshot trigger of a version if it exists."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        self._run("drop", app_label, schema_editor, from_state)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        self._run("create", app_label, schema_editor, to_state)

    def describe(self) -> str:
        return f"Remove the snapshot trigger {self.version}"

    @property
    def migration_name_fragment(self) -> str:
        return f"remove_snapshot_trigger_{self.version}"
