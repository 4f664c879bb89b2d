"""The app configuration: system checks, and the trigger for projects without migrations."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections, router
from django.db.migrations.loader import MigrationLoader
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

from weavegraph_checkpoints import triggers


class WeavegraphCheckpointsConfig(AppConfig):
    """Durable checkpoints of agent workflows."""

    name = "weavegraph_checkpoints"
    verbose_name = _("Weavegraph checkpoints")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from weavegraph_checkpoints import checks

        checks.register_checks()
        post_migrate.connect(
            install_triggers_without_migrations,
            sender=self,
            dispatch_uid="weavegraph_checkpoints.install_triggers",
        )


def install_triggers_without_migrations(sender: AppConfig, using: str, **kwargs: Any) -> None:
    """Install the trigger if ``migrate`` created the tables without the app's migrations."""
    # Signals know a sender by its id(), which a replaced registry of apps may use again.
    if not isinstance(sender, WeavegraphCheckpointsConfig):
        return
    module, _explicit = MigrationLoader.migrations_module(sender.label)
    step = sender.get_model("Step")
    if (
        module is None
        and router.allow_migrate_model(using, step)
        and step._meta.db_table in connections[using].introspection.table_names()
    ):
        triggers.install(using)
