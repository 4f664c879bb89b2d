"""Queries of a session's history, and pages of results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weavegraph_checkpoints.domain.checkpoint import Checkpoint
from weavegraph_checkpoints.domain.limits import (
    MAX_STEP,
    check_integer,
    is_storable_text,
    safe_repr,
)
from weavegraph_checkpoints.domain.nodes import NodeKind, as_node
from weavegraph_checkpoints.exceptions import InvalidCheckpoint, InvalidQuery

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class StepQuery:
    """Which steps of a session to return, newest first.

    Raise ``InvalidQuery`` for a value outside its range.
    """

    limit: int | None = None
    """0 to 2^63−1; ``None`` means 100. At most 1000 steps are returned."""
    offset: int | None = None
    """0 to 2^63−1; number of steps to skip."""
    min_step: int | None = None
    """0 to 2^63−1, inclusive."""
    max_step: int | None = None
    """0 to 2^63−1, inclusive; the cursor for deep histories."""
    ran_node: NodeKind | None = None
    """Only steps in which exactly this node ran."""
    skipped_node: NodeKind | None = None
    """Only steps in which exactly this node was skipped."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            limit: int | None = ...,
            offset: int | None = ...,
            min_step: int | None = ...,
            max_step: int | None = ...,
            ran_node: NodeKind | str | None = ...,
            skipped_node: NodeKind | str | None = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in ("limit", "offset", "min_step", "max_step"):
            value = getattr(self, name)
            if value is not None:
                check_integer(value, name, MAX_STEP, InvalidQuery)
        for name in ("ran_node", "skipped_node"):
            node = getattr(self, name)
            if node is not None:
                object.__setattr__(self, name, _node(node, name))

    @property
    def page_limit(self) -> int:
        """The maximum size of a page: 0 to 1000."""
        return DEFAULT_LIMIT if self.limit is None else min(self.limit, MAX_LIMIT)


def _node(node: NodeKind | str, name: str) -> NodeKind:
    try:
        kind = as_node(node)
    except InvalidCheckpoint as error:
        raise InvalidQuery(error.message, name) from None
    if not is_storable_text(kind.encoded):
        raise InvalidQuery(
            f"a node's name is text without U+0000 and lone surrogates, not {safe_repr(str(kind))}",
            name,
        )
    return kind


@dataclass(frozen=True, slots=True, kw_only=True)
class PageInfo:
    """The position of a page among all matching steps."""

    total_count: int
    """The number of matching steps on all pages."""
    page_size: int
    """The number of steps on this page."""
    offset: int
    has_next_page: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StepQueryResult:
    """One page of a session's history, newest step first."""

    checkpoints: tuple[Checkpoint, ...]
    page_info: PageInfo

    if TYPE_CHECKING:

        def __init__(self, *, checkpoints: Iterable[Checkpoint], page_info: PageInfo) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "checkpoints", tuple(self.checkpoints))
