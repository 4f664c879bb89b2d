"""What ``docs/scale-out-reads.md`` says of each call: the aliases that it reads from."""

from __future__ import annotations

from tests.docs.markdown import names, page, rows
from tests.replica.documented import PRIMARY, REPLICA

Aliases = set[str]


def documented_aliases(heading: str) -> dict[str, Aliases]:
    """Return the aliases of each call in the table below a heading."""
    found = {}
    for call, cell, _meaning in rows(page("scale-out-reads").section(heading)):
        aliases = {alias for alias in (PRIMARY, REPLICA) if alias in cell}
        for name in names(call) or [call]:
            found[name] = aliases
    return found
