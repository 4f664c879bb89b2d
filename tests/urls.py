from __future__ import annotations

from importlib.util import find_spec

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
]
if find_spec("rest_framework"):
    urlpatterns.append(path("api/", include("weavegraph_checkpoints.api.urls")))
