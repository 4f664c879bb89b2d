from __future__ import annotations

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """An agent workflow that audits the installed Python distributions. It has no models."""

    name = "example_project.audit"
    label = "audit"
    verbose_name = "Audit"
