"""The state that a whole document and the deltas on it add up to."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from weavegraph_checkpoints.domain.paths import join_json_path
from weavegraph_checkpoints.domain.state import (
    ExtrasChannel,
    Message,
    MessagesChannel,
    VersionedState,
)
from weavegraph_checkpoints.serde import ErrorsDocument
from weavegraph_checkpoints.serde.codec import ENCODER, decode
from weavegraph_checkpoints.serde.deltas.documents import (
    DeltaDocument,
    decode_delta,
    decode_error_item,
    decode_whole,
    is_delta,
)
from weavegraph_checkpoints.serde.deltas.maps import (
    Members,
    apply_map_delta,
    copy_members,
    count_objects,
    join_value,
)
from weavegraph_checkpoints.serde.deltas.sequences import (
    common_prefix_length,
    find_appended,
    find_edits,
    rebuild,
)
from weavegraph_checkpoints.serde.deltas.sizes import count_items_bytes, count_state_bytes

PATH = "$.state"

_ANY = msgspec.json.Decoder(Any)
_RAW = msgspec.json.Decoder(msgspec.Raw)
_ERRORS = msgspec.json.Decoder(ErrorsDocument)

_MESSAGE_OBJECT_BYTES = 200
_VALUE_OBJECT_BYTES = 120


@dataclass(frozen=True, eq=False, kw_only=True)
class FoldedState:
    """What a chain of keyframes adds up to. Immutable."""

    messages: tuple[Message, ...]
    messages_version: int
    members: Members
    """The values of ``extra.map``, in order. Do not change them."""
    extra_version: int
    errors: tuple[bytes, ...]
    """The JSON of each error."""
    errors_version: int
    document_bytes: int
    """The length of the documents of the chain, together."""
    text_bytes: int
    """The memory that the documents of the chain occupy as text, together."""

    @classmethod
    def from_whole(cls, document: bytes | str, path: str = PATH) -> FoldedState:
        """Return the state of a document that ``dumps_state`` wrote."""
        return _Folding.from_whole(document, path).folded()

    def apply(self, document: bytes | str, path: str = PATH) -> FoldedState:
        """Return the state of a document on this base; a whole document needs no base.

        Raise ``SerializationError`` with the path in a delta that is malformed or does not
        fit this base.
        """
        return fold(self, [document], path)

    def to_state(self, document: bytes | str | None = None, path: str = PATH) -> VersionedState:
        """Return the state of a document on this base, or this state.

        Only the messages are shared; all other values are new on each call.
        """
        folded = self if document is None else self.apply(document, path)
        errors = b'{"version":%d,"items":[%b]}' % (folded.errors_version, b",".join(folded.errors))
        return VersionedState(
            messages=MessagesChannel(version=folded.messages_version, items=folded.messages),
            extra=ExtrasChannel(
                version=folded.extra_version,
                map={
                    key: decode(_ANY, value, join_json_path(f"{path}.extra.map", key))
                    for key, value in folded.extra.items()
                },
            ),
            errors=decode(_ERRORS, errors, f"{path}.errors").channel(),
        )

    def to_json(self, path: str = PATH) -> bytes:
        """Return the JSON of this state, as ``dumps_state`` writes it.

        Values of ``extra`` are checked, but not decoded.
        """
        extra = b",".join(
            b"%b:%b"
            % (ENCODER.encode(key), _check(value, join_json_path(f"{path}.extra.map", key)))
            for key, value in self.extra.items()
        )
        return (
            b'{"messages":{"version":%d,"items":%b},"extra":{"version":%d,"map":{%b}},'
            b'"errors":{"version":%d,"items":[%b]}}'
        ) % (
            self.messages_version,
            ENCODER.encode(self.messages),
            self.extra_version,
            extra,
            self.errors_version,
            b",".join(self.errors),
        )

    def adopt(self, messages: tuple[Message, ...]) -> None:
        """Hold the first messages as these objects, which must be equal to them.

        The next state that has the same objects is then told apart by identity.
        """
        self.__dict__["messages"] = messages + self.messages[len(messages) :]

    def share_messages(self, other: FoldedState) -> int:
        """Hold the messages at the start that ``other`` has too as its objects.

        Return an estimate of the memory of the other messages.
        """
        count = common_prefix_length(self.messages, other.messages)
        self.adopt(other.messages[:count])
        size = len(self.messages)
        return 8 * size + self.memory_bytes * (size - count) // max(1, size)

    @cached_property
    def extra(self) -> Mapping[str, bytes]:
        """The JSON of each value of ``extra.map``, in order."""
        return {key: join_value(value) for key, value in self.members.items()}

    @cached_property
    def messages_bytes(self) -> int:
        """The length of the JSON of each message, together."""
        return count_items_bytes(self.messages)

    @cached_property
    def state_bytes(self) -> int:
        """The length of ``dumps_state`` of this state."""
        versions = (self.messages_version, self.extra_version, self.errors_version)
        return count_state_bytes(
            versions, self.messages, self.messages_bytes, self.extra, self.errors
        )

    @cached_property
    def memory_bytes(self) -> int:
        """An estimate of the memory of the messages, and of all text of the chain."""
        return self.text_bytes + _MESSAGE_OBJECT_BYTES * len(self.messages)

    def get_value_sizes(self) -> dict[int, int]:
        """Return an estimate of the memory of each value, by its ``id()``."""
        sizes = {id(value): len(value) + _VALUE_OBJECT_BYTES for value in self.errors}
        for value in self.members.values():
            size = _VALUE_OBJECT_BYTES * count_objects(value)
            if isinstance(value, msgspec.Raw):
                size += memoryview(value).nbytes
            else:
                # Its parts are in the text of the chain.
                size += self.text_bytes
            sizes[id(value)] = size
        return sizes


def _check(value: bytes, path: str) -> bytes:
    """Return the JSON of a value; raise ``SerializationError`` if it is not JSON."""
    decode(_RAW, value, path)
    return value


def fold(
    root: FoldedState | bytes | str, links: Iterable[bytes | str], path: str = PATH
) -> FoldedState:
    """Return the state that the documents of a chain add up to, oldest first.

    The work is proportional to the state and the links: each link changes only what it names.
    """
    folding: _Folding | None = None
    for document in links:
        if not is_delta(document):
            folding = _Folding.from_whole(document, path)
            continue
        if folding is None:
            folding = _Folding.from_root(root, path)
        folding.apply(decode_delta(document, path), document, path)
    if folding is not None:
        return folding.folded()
    return root if isinstance(root, FoldedState) else FoldedState.from_whole(root, path)


def _text_bytes(document: bytes | str) -> int:
    """Return the memory of a document as text: up to 4 bytes for each of its characters."""
    return sys.getsizeof(document if isinstance(document, str) else document.decode())


def _same_items(items: Sequence[bytes]) -> tuple[msgspec.Raw]:
    """Return the items of a delta that changes none of these."""
    return (msgspec.Raw(b"[0,%d]" % len(items)),)


class _Folding:
    """A state while deltas are applied to it in place."""

    def __init__(
        self,
        messages: Sequence[Message],
        members: Members,
        errors: Sequence[bytes],
        document_bytes: int,
        text_bytes: int,
        messages_bytes: int | None,
    ) -> None:
        self.messages = list(messages)
        self.members = members
        self.errors = list(errors)
        self.same_errors = _same_items(errors)
        self.versions = (0, 0, 0)
        self.document_bytes = document_bytes
        self.text_bytes = text_bytes
        self.messages_bytes = messages_bytes

    @classmethod
    def from_whole(cls, document: bytes | str, path: str) -> _Folding:
        whole = decode_whole(document, path)
        folding = cls(
            whole.messages.items,
            {**whole.extra.map},
            [bytes(item) for item in whole.errors.items],
            len(document),
            _text_bytes(document),
            None,
        )
        folding.versions = (whole.messages.version, whole.extra.version, whole.errors.version)
        return folding

    @classmethod
    def from_root(cls, root: FoldedState | bytes | str, path: str) -> _Folding:
        if not isinstance(root, FoldedState):
            return cls.from_whole(root, path)
        known = root.__dict__.get("messages_bytes")
        folding = cls(
            root.messages,
            copy_members(root.members),
            root.errors,
            root.document_bytes,
            root.text_bytes,
            known,
        )
        folding.versions = (root.messages_version, root.extra_version, root.errors_version)
        return folding

    def apply(self, delta: DeltaDocument, document: bytes | str, path: str) -> None:
        self._apply_messages(delta.messages.items, f"{path}.messages.items")
        apply_map_delta(self.members, delta.extra, f"{path}.extra.map")
        self._apply_errors(delta.errors.items, f"{path}.errors.items")
        self.versions = (delta.messages.version, delta.extra.version, delta.errors.version)
        self.document_bytes += len(document)
        self.text_bytes += _text_bytes(document)

    def _apply_errors(self, raw_items: tuple[msgspec.Raw, ...], path: str) -> None:
        if raw_items == self.same_errors:
            return
        items = tuple(
            decode_error_item(item, f"{path}[{index}]") for index, item in enumerate(raw_items)
        )
        find_edits(items, len(self.errors), path)
        self.errors = rebuild(self.errors, items)
        self.same_errors = _same_items(self.errors)

    def _apply_messages(self, items: tuple[Any, ...], path: str) -> None:
        messages = self.messages
        appended = find_appended(items, len(messages))
        if appended is not None:
            messages += appended
            if self.messages_bytes is not None:
                self.messages_bytes += count_items_bytes(appended)
            return
        edits = find_edits(items, len(messages), path)
        if edits is None:
            self.messages = rebuild(messages, items)
            self.messages_bytes = None
            return
        # From the end, so that the positions of the edits before it stay right.
        for start, stop, new in reversed(edits):
            if self.messages_bytes is not None:
                self.messages_bytes += count_items_bytes(new) - count_items_bytes(
                    messages[start:stop]
                )
            messages[start:stop] = new

    def folded(self) -> FoldedState:
        messages_version, extra_version, errors_version = self.versions
        folded = FoldedState(
            messages=tuple(self.messages),
            messages_version=messages_version,
            members={
                key: value.copy() if isinstance(value, msgspec.Raw) else value
                for key, value in self.members.items()
            },
            extra_version=extra_version,
            errors=tuple(self.errors),
            errors_version=errors_version,
            document_bytes=self.document_bytes,
            text_bytes=self.text_bytes,
        )
        if self.messages_bytes is not None:
            folded.__dict__["messages_bytes"] = self.messages_bytes
        return folded
