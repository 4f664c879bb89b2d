"""The nodes of a workflow graph."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from weavegraph_checkpoints.domain.limits import safe_repr
from weavegraph_checkpoints.exceptions import InvalidCheckpoint

_CUSTOM = "Custom:"


class NodeKind(msgspec.Struct, frozen=True):
    """A node: the start, the end, or a custom node with a name.

    Use ``NodeKind.START``, ``NodeKind.END`` and ``NodeKind.custom(name)``. Any name
    is allowed, so ``NodeKind.custom("Start")`` is not ``NodeKind.START``.
    """

    encoded: str
    """The text form: ``"Start"``, ``"End"`` or ``"Custom:<name>"``."""

    START: ClassVar[NodeKind]
    END: ClassVar[NodeKind]

    def __post_init__(self) -> None:
        text = self.encoded
        if type(text) is not str or not (text in ("Start", "End") or text.startswith(_CUSTOM)):
            raise InvalidCheckpoint(f"not a node: {safe_repr(text)}")

    @classmethod
    def custom(cls, name: str) -> NodeKind:
        """Return the custom node with a name."""
        if type(name) is not str:
            raise InvalidCheckpoint(f"a node's name must be text, not {safe_repr(name)}")
        return cls(_CUSTOM + name)

    @classmethod
    def decode(cls, text: str) -> NodeKind:
        """Return the node that ``encode()`` wrote; any other text is the name of a custom node."""
        if type(text) is not str:
            raise InvalidCheckpoint(f"expected a node or its name, not {safe_repr(text)}")
        if text == "Start":
            return cls.START
        if text == "End":
            return cls.END
        return cls(text) if text.startswith(_CUSTOM) else cls(_CUSTOM + text)

    def encode(self) -> str:
        """Return ``"Start"``, ``"End"`` or ``"Custom:<name>"``."""
        return self.encoded

    @property
    def is_start(self) -> bool:
        """Whether this is the start of the workflow."""
        return self.encoded == "Start"

    @property
    def is_end(self) -> bool:
        """Whether this is the end of the workflow."""
        return self.encoded == "End"

    @property
    def is_custom(self) -> bool:
        """Whether this is a custom node."""
        return self.encoded.startswith(_CUSTOM)

    def __str__(self) -> str:
        return self.encoded.removeprefix(_CUSTOM)


NodeKind.START = NodeKind("Start")
NodeKind.END = NodeKind("End")


def as_node(node: NodeKind | str) -> NodeKind:
    """Return ``node``, decoded if it is a string (see ``NodeKind.decode``).

    Raise ``InvalidCheckpoint`` for any other type.
    """
    return node if isinstance(node, NodeKind) else NodeKind.decode(node)
