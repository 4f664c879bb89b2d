"""States that change from step to step as those of long runs do, and in ways that they do not."""

from __future__ import annotations

import random
from typing import Any

from weavegraph_checkpoints import (
    ErrorEvent,
    ErrorsChannel,
    ExtrasChannel,
    Message,
    MessagesChannel,
    VersionedState,
    WeaveError,
)

VALUES: list[Any] = [
    *(1, 1.0, True, 0, -0.0, 0.0, False, None, "", "a\0b", "日本語" * 40, 2**64 - 1, 1e23),
    *([], {}, [1, 1.0, True], {"b": 1, "a": {"": [None]}}, "x" * 500),
]


class RandomStates:
    """Change a state at random, again and again."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.count = 0

    def next(self, state: VersionedState) -> VersionedState:
        """Return a changed state; most messages are the same objects."""
        self.count += 1
        return VersionedState(
            messages=MessagesChannel(
                version=self.count, items=self._change_messages(state.messages.items)
            ),
            extra=ExtrasChannel(version=self.count, map=self._change_map(state.extra.map)),
            errors=ErrorsChannel(version=self.count, items=self._change_errors(state)),
        )

    def _text(self) -> str:
        return f"{self.count} " + self.chance.choice(["short", "é" * 90, "\0\\u0000\"'\n" * 20])

    def _change_messages(self, items: tuple[Message, ...]) -> list[Message]:
        messages = list(items)
        chance = self.chance.random()
        if chance < 0.7 or not messages:
            messages += [Message.user(self._text()), Message.assistant(self._text())]
        elif chance < 0.76:
            del messages[: self.chance.randrange(len(messages))]
        elif chance < 0.82:
            messages[self.chance.randrange(len(messages))] = Message.tool(self._text())
        elif chance < 0.86:
            messages.insert(self.chance.randrange(len(messages)), Message.system(self._text()))
        elif chance < 0.9:
            self.chance.shuffle(messages)
        elif chance < 0.95:
            messages = [Message(role=each.role, content=each.content) for each in messages]
        elif chance < 0.97:
            messages = []
        return messages

    def _change_map(self, old: dict[str, Any]) -> dict[str, Any]:
        new = {**old, "step": self.count, "log": [*old.get("log", []), self.count]}
        for _ in range(self.chance.randrange(3)):
            new[self.chance.choice("abcdef")] = self.chance.choice(VALUES)
        if self.chance.random() < 0.1:
            new.pop(self.chance.choice(list(new)))
        if self.chance.random() < 0.1:
            keys = list(new)
            self.chance.shuffle(keys)
            new = {key: new[key] for key in keys}
        if self.chance.random() < 0.2:
            new["nested"] = {**new.get("nested", {}), f"key {self.count % 7}": self._text()}
        return new

    def _change_errors(self, state: VersionedState) -> list[ErrorEvent]:
        errors = list(state.errors.items)
        if self.chance.random() < 0.15:
            error = WeaveError(message=self._text(), details=self.chance.choice(VALUES))
            errors.append(ErrorEvent(error=error, when="2026-01-02T03:04:05.123456789Z"))
        if len(errors) > 4:
            del errors[0]
        return errors
