"""The REST API, and the page that describes it, below ``api/``."""

from __future__ import annotations

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

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
    path("", SpectacularSwaggerView.as_view(url_name="schema")),
]
