"""What changed on the page of a session that a browser follows."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from weavegraph_checkpoints.admin.views.session import SessionView

PARAMETERS = ("known", "at")
"""The parameters that the script adds to those of the page."""


class FollowView(SessionView):
    """Return the content of the page if the session changed, in a JavaScript module.

    The content security policy of the pages allows scripts and no other requests. A module is
    not executed for another site, because browsers load it with CORS.
    """

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        if request.GET.get("known") == self.get_version():
            return build_module(None)
        page_query = request.GET.copy()
        for name in PARAMETERS:
            page_query.pop(name, None)
        request.GET = page_query  # type: ignore[assignment]
        content = self.render(self.model_admin.session_content_template, self.get_context())
        return build_module(
            {
                "version": self.get_version(),
                "is_finished": self.model_admin.is_finished(self.object),
                "message": self.get_message(),
                "html": content.render().rendered_content,
            }
        )

    def get_message(self) -> str:
        """Return what a screen reader says after a change."""
        status = self.model_admin.statuses.get(self.object.status, self.object.status)
        if not self.model_admin.has_steps(self.object):
            return str(status)
        text = _("Step %(step)s, %(status)s")
        return text % {"step": self.object.last_step, "status": status}


def build_module(value: Any) -> HttpResponse:
    """Return a module whose default export is a JSON value."""
    response = HttpResponse(
        f"export default {json.dumps(value)};\n", content_type="text/javascript; charset=utf-8"
    )
    response["X-Content-Type-Options"] = "nosniff"
    return response
