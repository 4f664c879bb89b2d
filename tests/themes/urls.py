"""The default admin site, and one whose admin class has the base class of the theme."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.urls import path

from weavegraph_checkpoints.admin import SessionAdmin
from weavegraph_checkpoints.models import Session


def get_base_classes() -> tuple[type[Any], ...]:
    """Return the admin class of the theme, if it has one."""
    if "unfold" not in settings.INSTALLED_APPS:
        return ()
    from unfold.admin import ModelAdmin

    return (ModelAdmin,)


class ThemedSessionAdmin(SessionAdmin, *get_base_classes()):  # type: ignore[misc]
    """Sessions with the base class of the theme, as its documentation asks for."""


themed_site = type(admin.site._wrapped if hasattr(admin.site, "_wrapped") else admin.site)("themed")
themed_site.register(Session, ThemedSessionAdmin)
urlpatterns = [
    path("admin/", admin.site.urls),
    path("themed/", themed_site.urls),
]
