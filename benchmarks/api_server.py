"""The server that ``api_load.py`` measures: the API, and bare views of REST framework.

A bare view asks for the same permission as the call it stands beside, reads or writes one row by
its key, and answers with the same bytes.
"""

from __future__ import annotations

import json
import os
from typing import Any

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": json.loads(os.environ["BENCHMARK_DATABASE"])},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework.authtoken",
        "weavegraph_checkpoints",
    ],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="benchmark",
    USE_TZ=True,
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
)
django.setup()

from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.urls import include, path
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from weavegraph_checkpoints.api.permissions import ADD_STEP, VIEW

TABLE = "benchmark_blob"


class Permitted(BasePermission):
    """Asks for one permission."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.user.has_perm(VIEW if request.method == "GET" else ADD_STEP)


class BytesRenderer(BaseRenderer):
    """Renders bytes that are JSON already."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, *args: Any) -> Any:
        return data


class BareView(APIView):
    """One row by its key."""

    permission_classes = [Permitted]
    renderer_classes = [BytesRenderer]

    def get(self, request: Request, key: str) -> Response:
        """Answer with the row."""
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT body FROM {TABLE} WHERE id = %s", [key])
            (body,) = cursor.fetchone()
        return Response(body.encode())

    def put(self, request: Request, key: str) -> Response:
        """Write the body into the row, and answer as a save does."""
        body = request._request.body.decode()
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {TABLE} (id, body) VALUES (%s, %s)"
                " ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body",
                [key, body],
            )
        url = request.build_absolute_uri()
        answer = {"session_id": "run-00", "step": 1, "url": url}
        return Response(json.dumps(answer).encode(), status=201)


urlpatterns = [
    path("api/", include("weavegraph_checkpoints.api.urls")),
    path("bare/<str:key>/", BareView.as_view()),
]
application = get_wsgi_application()
