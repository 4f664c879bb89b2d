"""The errors that this app raises. Errors of ``django.db`` are not wrapped."""

from __future__ import annotations

from typing import Any


class CheckpointerError(Exception):
    """Base class of all errors below; never raised itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (type(self), self.args, vars(self))


def _unpickle(cls: type[CheckpointerError], args: Any, attributes: Any) -> CheckpointerError:
    """Return an exception without calling ``__init__``, whose parameters are not ``args``."""
    error = cls.__new__(cls, *args)
    vars(error).update(attributes)
    return error


class SessionNotFound(CheckpointerError):
    """A session does not exist, has no matching step, or belongs to another owner."""

    def __init__(self, session_id: str, reason: str = "does not exist") -> None:
        super().__init__(f"session {session_id!r} {reason}")
        self.session_id = session_id
        self.reason = reason


class SessionExists(CheckpointerError):
    """The target of a fork already exists."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id!r} already exists")
        self.session_id = session_id


class SessionProtected(CheckpointerError):
    """A session cannot be deleted, because objects of other models refer to it.

    ``protected_by`` has the labels of these models (``shop.Order``). If Django refused the
    deletion, ``__cause__`` is its ``ProtectedError`` or ``RestrictedError``.
    """

    def __init__(self, session_id: str, protected_by: tuple[str, ...]) -> None:
        super().__init__(f"session {session_id!r} is protected by {', '.join(protected_by)}")
        self.session_id = session_id
        self.protected_by = protected_by


class StepExists(CheckpointerError):
    """A save with ``replace=False`` found that the step already exists."""

    def __init__(self, session_id: str, step: int) -> None:
        super().__init__(f"session {session_id!r} already has step {step}")
        self.session_id = session_id
        self.step = step


class ConcurrencyConflict(CheckpointerError):
    """Another writer saved first: ``last_step`` is not the expected one.

    ``expected`` is the last step that the caller expected, ``actual`` the stored one (0 for
    a session without steps).
    """

    def __init__(self, session_id: str, expected: int, actual: int) -> None:
        super().__init__(
            f"session {session_id!r}: expected last step {expected}, but it is {actual}"
        )
        self.session_id = session_id
        self.expected = expected
        self.actual = actual


class _InvalidValue(CheckpointerError, ValueError):
    """A value is invalid; ``path`` says which (``$.state.extra.map.total``)."""

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(f"{message} (at {path})")
        self.message = message
        self.path = path


class SerializationError(_InvalidValue):
    """A value is not JSON, or JSON does not have the expected structure.

    ``path`` says where, from the root ``$`` of the document.
    """


class InvalidCheckpoint(_InvalidValue):
    """A field of a checkpoint, or a related argument, is outside its range."""


class LimitExceeded(InvalidCheckpoint):
    """A field other than the state as a whole exceeds a limit of its size; ``path`` says which."""


class StateTooLarge(InvalidCheckpoint):
    """A serialized state has ``size`` bytes, more than the ``limit``."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the state has {size} bytes, more than MAX_STATE_BYTES = {limit}",
            "$.state",
        )
        self.size = size
        self.limit = limit


class InvalidQuery(_InvalidValue):
    """A parameter of a query is outside its range; ``path`` is its name."""


class InvalidLabel(_InvalidValue):
    """The key or value of a label, or their number, is outside its range; ``path`` says which."""


class InvalidPolicy(_InvalidValue):
    """A retention policy has no rule, or a rule outside its range."""


class InterchangeError(CheckpointerError):
    """An import or export cannot continue; what it has committed so far is kept."""
