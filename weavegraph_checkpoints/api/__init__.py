"""The REST API: ``path("api/", include("weavegraph_checkpoints.api.urls"))``.

Requires the extra ``[api]`` and ``rest_framework`` in ``INSTALLED_APPS``. No other module of
the app imports this package.
"""

from __future__ import annotations
