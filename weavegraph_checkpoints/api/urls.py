"""Routes: ``path("api/", include("weavegraph_checkpoints.api.urls"))``."""

from __future__ import annotations

from django.urls import re_path
from rest_framework.routers import SimpleRouter

from weavegraph_checkpoints.api.sessions import SessionViewSet
from weavegraph_checkpoints.api.steps import StepViewSet
from weavegraph_checkpoints.api.views import NowhereView

router = SimpleRouter()
router.register("sessions", SessionViewSet, basename="weavegraph-session")
router.register("sessions/(?P<session>[^/]+)/steps", StepViewSet, basename="weavegraph-step")

urlpatterns = [
    *router.urls,
    re_path(r"^sessions(/[\s\S]*)?$", NowhereView.as_view(), name="weavegraph-nowhere"),
]
