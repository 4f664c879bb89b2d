"""URL patterns: ``path("api/", include("weavegraph_checkpoints.api.urls"))``."""

from __future__ import annotations

from django.urls import re_path
from rest_framework.routers import SimpleRouter

from weavegraph_checkpoints.api.events import EventViewSet
from weavegraph_checkpoints.api.views import NotFoundView
from weavegraph_checkpoints.api.viewsets import SessionViewSet, StepViewSet

router = SimpleRouter()
router.register("sessions", SessionViewSet, basename="weavegraph-session")
router.register("sessions/(?P<session>[^/]+)/steps", StepViewSet, basename="weavegraph-step")

urlpatterns = [
    *router.urls,
    re_path(
        r"^sessions/(?P<session>[^/]+)/events/$",
        EventViewSet.as_view({"get": "stream"}),
        name="weavegraph-event-stream",
    ),
    re_path(r"^sessions(/[\s\S]*)?$", NotFoundView.as_view(), name="weavegraph-not-found"),
]
