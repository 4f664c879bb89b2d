"""The state that a whole document and the deltas on it add up to."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from weavegraph_checkpoints.domain.paths import join_json_path
from weavegraph_checkpoints.domain.state import (
    ErrorsChannel,
    ExtrasChannel,
    Message,
    MessagesChannel,
    VersionedState,
)
from weavegraph_checkpoints.serde import ErrorsDocument
from weavegraph_checkpoints.serde.codec import ENCODER, decode
from weavegraph_checkpoints.serde.deltas.documents import (
    DeltaDocument,
    WholeDocument,
    decode_error_item,
    decode_links,
    decode_whole,
)
from weavegraph_checkpoints.serde.deltas.maps import (
    Members,
    apply_map_delta,
    copy_members,
    count_objects,
    join_value,
)
from weavegraph_checkpoints.serde.deltas.messages import FoldedMessages
from weavegraph_checkpoints.serde.deltas.sequences import common_prefix_length, find_edits, rebuild
from weavegraph_checkpoints.serde.deltas.sizes import (
    Versions,
    count_items_bytes,
    count_state_bytes,
)

PATH = "$.state"

_ANY = msgspec.json.Decoder(Any)
_RAW = msgspec.json.Decoder(msgspec.Raw)
_ERRORS = msgspec.json.Decoder(ErrorsDocument)

_MESSAGE_OBJECT_BYTES = 208
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
        return fold(document, (), path)

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
        if document is not None:
            (decoded,) = decode_links([document], path)
            if isinstance(decoded, WholeDocument):
                return self.apply(document, path).to_state(path=path)
            folding = _Folding(self, path, None)
            folding.apply(decoded)
            return folding.to_state(path)
        return _build_state(
            (self.messages_version, self.extra_version, self.errors_version),
            self.messages,
            self.extra,
            self.errors,
            path,
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

    def append_messages(self, appended: tuple[Message, ...]) -> tuple[Message, ...]:
        """Return the messages with others at their end; what was returned last is remembered.

        So a step that is read again costs no copy of its messages.
        """
        last = self.__dict__.get("_last_appended")
        if last is None or last[0] != appended:
            last = appended, self.messages + appended if appended else self.messages
            self.__dict__["_last_appended"] = last
        return last[1]

    def share_messages(self, other: FoldedState) -> int:
        """Hold the messages at the start that ``other`` has too as its objects.

        Return an estimate of the memory of the other messages.
        """
        count = common_prefix_length(self.messages, other.messages)
        self.adopt(other.messages[:count])
        size = len(self.messages)
        return 16 * size + self.memory_bytes * (size - count) // max(1, size)

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


def _build_state(
    versions: Versions,
    messages: tuple[Message, ...],
    values: Mapping[str, bytes],
    errors: Sequence[bytes],
    path: str,
) -> VersionedState:
    messages_version, extra_version, errors_version = versions
    return VersionedState(
        messages=MessagesChannel(version=messages_version, items=messages),
        extra=ExtrasChannel(version=extra_version, map=_decode_values(values, f"{path}.extra.map")),
        errors=_decode_errors(errors_version, errors, f"{path}.errors"),
    )


def _decode_values(values: Mapping[str, bytes], path: str) -> dict[str, Any]:
    try:
        return {key: _ANY.decode(value) for key, value in values.items()}
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {
            key: decode(_ANY, value, join_json_path(path, key)) for key, value in values.items()
        }


def _decode_errors(version: int, errors: Sequence[bytes], path: str) -> ErrorsChannel:
    if not errors:
        return ErrorsChannel(version=version)
    document = b'{"version":%d,"items":[%b]}' % (version, b",".join(errors))
    return decode(_ERRORS, document, path).channel()


def _check(value: bytes, path: str) -> bytes:
    """Return the JSON of a value; raise ``SerializationError`` if it is not JSON."""
    decode(_RAW, value, path)
    return value


def fold(
    root: FoldedState | bytes | str, links: Sequence[bytes | str], path: str = PATH
) -> FoldedState:
    """Return the state that the documents of a chain add up to, oldest first.

    The work is proportional to the state and the links: each link changes only what it names.
    """
    if isinstance(root, FoldedState) and not links:
        return root
    base = root if isinstance(root, FoldedState) else _from_document(decode_whole(root, path), root)
    folding = _Folding(base, path, base.__dict__.get("messages_bytes"))
    first = 0
    for position, document in enumerate(decode_links(links, path)):
        if isinstance(document, WholeDocument):
            folding = _Folding(_from_document(document, links[position]), path, None)
            first = position + 1
        else:
            folding.apply(document)
    return folding.build(links[first:])


def _from_document(whole: WholeDocument, document: bytes | str) -> FoldedState:
    """Return the state of a document, of which the values are parts."""
    return FoldedState(
        messages=whole.messages.items,
        messages_version=whole.messages.version,
        members={**whole.extra.map},
        extra_version=whole.extra.version,
        errors=tuple(map(bytes, whole.errors.items)),
        errors_version=whole.errors.version,
        document_bytes=len(document),
        text_bytes=_text_bytes(document),
    )


def _text_bytes(document: bytes | str) -> int:
    """Return the memory of a document as text: up to 4 bytes for each of its characters."""
    return sys.getsizeof(document if isinstance(document, str) else document.decode())


def _same_items(items: Sequence[bytes]) -> tuple[msgspec.Raw]:
    """Return the items of a delta that changes none of these."""
    return (msgspec.Raw(b"[0,%d]" % len(items)),)


class _Folding:
    """A state while deltas are applied to it in place."""

    def __init__(self, base: FoldedState, path: str, messages_bytes: int | None) -> None:
        self.base = base
        self.messages = FoldedMessages(base.messages, messages_bytes)
        self.members = copy_members(base.members)
        self.errors = base.errors
        self.same_errors = _same_items(base.errors)
        self.versions = (base.messages_version, base.extra_version, base.errors_version)
        self.paths = (f"{path}.messages.items", f"{path}.extra.map", f"{path}.errors.items")

    def apply(self, delta: DeltaDocument) -> None:
        messages_path, extra_path, errors_path = self.paths
        self.messages.apply(delta.messages.items, messages_path)
        apply_map_delta(self.members, delta.extra, extra_path)
        if delta.errors.items != self.same_errors:
            self._apply_errors(delta.errors.items, errors_path)
        self.versions = (delta.messages.version, delta.extra.version, delta.errors.version)

    def _apply_errors(self, raw_items: tuple[msgspec.Raw, ...], path: str) -> None:
        items = tuple(
            decode_error_item(item, f"{path}[{index}]") for index, item in enumerate(raw_items)
        )
        find_edits(items, len(self.errors), path)
        self.errors = tuple(rebuild(self.errors, items))
        self.same_errors = _same_items(self.errors)

    def build_messages(self) -> tuple[Message, ...]:
        appended = self.messages.get_appended()
        return self.messages.build() if appended is None else self.base.append_messages(appended)

    def to_state(self, path: str) -> VersionedState:
        values = {key: join_value(value) for key, value in self.members.items()}
        return _build_state(self.versions, self.build_messages(), values, self.errors, path)

    def build(self, links: Sequence[bytes | str]) -> FoldedState:
        """Return the state; these are the documents that were applied."""
        messages_version, extra_version, errors_version = self.versions
        folded = FoldedState(
            messages=self.build_messages(),
            messages_version=messages_version,
            members={
                key: value.copy() if isinstance(value, msgspec.Raw) else value
                for key, value in self.members.items()
            },
            extra_version=extra_version,
            errors=self.errors,
            errors_version=errors_version,
            document_bytes=self.base.document_bytes + sum(map(len, links)),
            text_bytes=self.base.text_bytes + sum(map(_text_bytes, links)),
        )
        if self.messages.json_bytes is not None:
            folded.__dict__["messages_bytes"] = self.messages.json_bytes
        return folded
