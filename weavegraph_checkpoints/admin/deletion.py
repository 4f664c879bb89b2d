"""The objects of other models that the deletion of sessions deletes, or that forbid it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import NestedObjects, quote
from django.db import models
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.text import capfirst

from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.related import SkipOwnModels, get_relations


class NestedRelatedObjects(SkipOwnModels, NestedObjects):
    """Sessions with the related objects that Django would delete, but without their steps."""

    def related_objects(self, related_model: Any, related_fields: Any, objs: Any) -> Any:
        """Return the objects; their sessions come without states, of which only ids are shown."""
        found = super().related_objects(related_model, related_fields, objs)
        if not found.query.select_related:
            return found
        columns = ("last_state", "last_versions_seen", "last_frontier")
        keys = [
            field.name
            for field in related_fields
            if field.remote_field.model._meta.concrete_model is Session
        ]
        return found.defer(*(f"{key}__{column}" for key in keys for column in columns))


def format_object(obj: models.Model, site: admin.AdminSite) -> str:
    """Return an object of another model as Django's confirmation page shows it."""
    name = capfirst(obj._meta.verbose_name)
    text = escape_control_chars(str(obj))
    page = f"{site.name}:{obj._meta.app_label}_{obj._meta.model_name}_change"
    try:
        url = reverse(page, args=[quote(obj.pk)])
    except NoReverseMatch:
        return f"{name}: {text}"
    return format_html('{}: <a href="{}">{}</a>', name, url, text)


def get_forbidden_models(
    request: HttpRequest, objects: Iterable[models.Model], site: admin.AdminSite
) -> set[str]:
    """Return the names of the models of ``objects`` that the user may not delete."""
    return {
        str(obj._meta.verbose_name)
        for obj in objects
        if site.is_registered(type(obj))
        and not site.get_model_admin(type(obj)).has_delete_permission(request, obj)
    }


def get_forbidden_cascades(request: HttpRequest, site: admin.AdminSite, using: str) -> list[str]:
    """Return the names of the models that cascades delete and the user may not delete."""
    found: dict[type[models.Model], None] = {}
    remaining: list[type[models.Model]] = [Session]
    while remaining:
        for relation in get_relations(remaining.pop(), using):
            on_delete = relation.field.remote_field.on_delete
            cascades = models.CASCADE in (on_delete, getattr(on_delete, "forced_collector", None))
            if cascades and relation.related_model not in found:
                found[relation.related_model] = None
                remaining.append(relation.related_model)
    return [
        str(model._meta.verbose_name_plural)
        for model in found
        if site.is_registered(model)
        and not site.get_model_admin(model).has_delete_permission(request)
    ]
