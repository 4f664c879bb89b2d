"""The checkpoints over HTTP: ``path("api/", include("weavegraph_checkpoints.api.urls"))``.

Needs the extra ``[api]`` and ``rest_framework`` among ``INSTALLED_APPS``. Nothing else of
the app imports this package.
"""

from __future__ import annotations
