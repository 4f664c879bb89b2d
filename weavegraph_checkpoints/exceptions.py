"""Every error that this app raises itself; errors of ``django.db`` pass unchanged."""

from __future__ import annotations


class CheckpointerError(Exception):
    """The base of all errors below. Do not raise it directly."""


class SessionNotFound(CheckpointerError):
    """A session is missing, has no step that serves, or belongs to another owner."""

    def __init__(self, session_id: str, reason: str = "does not exist") -> None:
        super().__init__(f"session {session_id!r} {reason}")
        self.session_id = session_id
        self.reason = reason

    def __reduce__(self) -> tuple[type[SessionNotFound], tuple[str, str]]:
        return type(self), (self.session_id, self.reason)


class SessionExists(CheckpointerError):
    """A fork would write into a session that exists already."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id!r} exists already")
        self.session_id = session_id

    def __reduce__(self) -> tuple[type[SessionExists], tuple[str]]:
        return type(self), (self.session_id,)


class StepExists(CheckpointerError):
    """An append-only save found its step already stored."""

    def __init__(self, session_id: str, step: int) -> None:
        super().__init__(f"session {session_id!r} already has step {step}")
        self.session_id = session_id
        self.step = step

    def __reduce__(self) -> tuple[type[StepExists], tuple[str, int]]:
        return type(self), (self.session_id, self.step)


class ConcurrencyConflict(CheckpointerError):
    """Another writer saved first: ``last_step`` is not the expected one.

    ``session_id`` names the session, ``expected`` is the step the caller expected
    to be the newest, ``actual`` the newest step that is stored (0 for none).
    """

    def __init__(self, session_id: str, expected: int, actual: int) -> None:
        super().__init__(
            f"session {session_id!r}: expected last step {expected}, but it is {actual}"
        )
        self.session_id = session_id
        self.expected = expected
        self.actual = actual

    def __reduce__(self) -> tuple[type[ConcurrencyConflict], tuple[str, int, int]]:
        return type(self), (self.session_id, self.expected, self.actual)


class _InvalidValue(CheckpointerError, ValueError):
    """A value was refused; ``path`` names it (``$.state.extra.map.total``)."""

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(f"{message} (at {path})")
        self.message = message
        self.path = path

    def __reduce__(self) -> tuple[type[_InvalidValue], tuple[object, ...]]:
        return type(self), (self.message, self.path)


class SerializationError(_InvalidValue):
    """JSON cannot hold a value, or stored JSON is not what was expected.

    ``path`` says where, from the root ``$`` of the document.
    """


class InvalidCheckpoint(_InvalidValue):
    """A checkpoint, or an argument that belongs to one, is outside its range."""


class StateTooLarge(InvalidCheckpoint):
    """A serialised state of ``size`` bytes is beyond ``limit`` bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the state takes {size} bytes, more than MAX_STATE_BYTES = {limit}",
            "$.state",
        )
        self.size = size
        self.limit = limit

    def __reduce__(self) -> tuple[type[StateTooLarge], tuple[object, ...]]:
        return type(self), (self.size, self.limit)


class InvalidQuery(_InvalidValue):
    """A parameter of a query is outside its range; ``path`` is its name."""


class InvalidPolicy(_InvalidValue):
    """A retention policy has no rule, or a rule outside its range."""


class InterchangeError(CheckpointerError):
    """An import or an export cannot go on; what it has done so far stands."""
