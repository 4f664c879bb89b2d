"""URLs of the REST API and of its documentation, under ``api/``."""

from __future__ import annotations

from django.apps import apps
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

calls = path("", include("weavegraph_checkpoints.api.urls"))

urlpatterns = [
    calls,
    path(
        "schema/",
        SpectacularAPIView.as_view(
            patterns=[path("api/", include([calls]))],
            custom_settings={"TITLE": "Checkpoints", "VERSION": "1"},
        ),
        name="schema",
    ),
]
if apps.is_installed("drf_spectacular_sidecar"):
    urlpatterns.append(path("", SpectacularSwaggerSplitView.as_view(url_name="schema")))
