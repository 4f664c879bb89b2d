"""The router and the middleware of ``docs/scale-out-reads.md``, for the aliases of the tests."""

from __future__ import annotations

from typing import Any

from tests.docs.code_blocks import run_block
from tests.docs.markdown import page

PRIMARY, REPLICA = "primary", "replica"

_namespace: dict[str, Any] = {"__name__": __name__}
for _block in page("scale-out-reads").blocks:
    if _block.language == "python":
        run_block(_block, page("scale-out-reads"), _namespace)

DATABASES = _namespace["DATABASES"]
CheckpointRouter = _namespace["CheckpointRouter"]
ReadYourWritesMiddleware = _namespace["ReadYourWritesMiddleware"]
reads_from_primary = _namespace["reads_from_primary"]

# The functions of the page read these names of the namespace that they were defined in.
_namespace.update(PRIMARY=PRIMARY, REPLICA=REPLICA)


class OthersRouter:
    """Keep the models of other apps, such as users, on the primary."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return PRIMARY

    db_for_write = db_for_read
