"""Spans and metrics of the calls of the service, if OpenTelemetry's API is installed.

Without the package ``opentelemetry-api`` nothing is imported, and the decorators return the
functions that they decorate. Spans and metrics never contain a state, nor the message of an
exception, which could quote one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from functools import wraps
from time import perf_counter
from typing import Any, ParamSpec, TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints.domain import Checkpoint, SessionPage, StepQueryResult
from weavegraph_checkpoints.exceptions import ConcurrencyConflict
from weavegraph_checkpoints.telemetry.attributes import (
    ERROR_TYPE,
    OPERATION,
    RETRIES,
    ROWS,
    STATE_BYTES,
    STEP,
    get_attributes,
    get_database_attributes,
    get_error_type,
    get_positions,
)

try:
    from opentelemetry import context, trace

    from weavegraph_checkpoints.telemetry.instruments import PREFIX, Instruments
except ImportError:
    is_installed = False
else:
    is_installed = True
    _instruments = Instruments()

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Call:
    """A call of the service: its span, and the attributes of its metrics."""

    __slots__ = ("_context", "_started", "_token", "attributes", "labels", "retries", "span")

    def __init__(self, operation: str, attributes: dict[str, Any]) -> None:
        self.labels = {OPERATION: operation}
        """The attributes of its metrics; never changed, since meters may keep the dict."""
        self.attributes: dict[str, Any] = {}
        """The attributes of its span that are not known at the start."""
        self.retries = 0
        self.span = _instruments.tracer.start_span(PREFIX + operation, attributes=attributes)
        self._token: Token[Call | None] | None = None
        self._context: Token[context.Context] | None = None
        self._started = perf_counter()

    def __enter__(self) -> Call:
        self.activate()
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        self.end(error)
        self.deactivate()

    def activate(self) -> None:
        """Make this the current call, and its span the current one."""
        self._token = _current.set(self)
        # Without an SDK, the span is the one that is current already, or none.
        if self.span.get_span_context().is_valid:
            self._context = context.attach(trace.set_span_in_context(self.span))

    def deactivate(self) -> None:
        """Make the call and the span before this one current again."""
        if self._context is not None:
            context.detach(self._context)
            self._context = None
        if self._token is not None:
            _current.reset(self._token)
            self._token = None

    def end(self, error: BaseException | None = None) -> None:
        """Record the duration and the type of the error, and end the span."""
        duration, labels = perf_counter() - self._started, self.labels
        if error is not None:
            if isinstance(error, ConcurrencyConflict):
                _instruments.conflicts.add(1, labels)
            self.attributes[ERROR_TYPE] = get_error_type(error)
            labels = {**labels, ERROR_TYPE: self.attributes[ERROR_TYPE]}
            self.span.set_status(trace.StatusCode.ERROR)
        _instruments.duration.record(duration, labels)
        if self.span.is_recording():
            self.attributes[RETRIES] = self.retries
            self.span.set_attributes(self.attributes)
        self.span.end()

    def set_database(self, connection: BaseDatabaseWrapper) -> None:
        """Set the attributes of the database that the call uses."""
        database = get_database_attributes(connection)
        self.labels = {**self.labels, **database}
        self.attributes.update(database)

    def set_rows(self, rows: int) -> None:
        """Set how many steps, sessions or labels the call has read, written or deleted."""
        self.attributes[ROWS] = rows

    def set_found(self, found: object) -> None:
        """Set what a read has found: a checkpoint, alone or first of a tuple, or a version."""
        if isinstance(found, tuple):
            found = found[0]
        if isinstance(found, Checkpoint):
            self.attributes[STEP] = found.step
        self.attributes[ROWS] = 0 if found is None else 1

    def set_fork(self, latest: Checkpoint) -> None:
        """Set the newest step of a fork."""
        self.attributes[STEP] = latest.step

    def set_listed(self, found: list[Any] | dict[str, str] | SessionPage | StepQueryResult) -> None:
        """Set the number of steps, sessions or labels on a page, in a list or in a dict."""
        if isinstance(found, StepQueryResult):
            self.set_rows(len(found.checkpoints))
        elif isinstance(found, SessionPage):
            self.set_rows(len(found.sessions))
        else:
            self.set_rows(len(found))

    def count_save(self, state_bytes: int) -> None:
        """Count a save of a state of ``state_bytes``."""
        self.attributes[STATE_BYTES], self.attributes[ROWS] = state_bytes, 1
        _instruments.saves.add(1, self.labels)
        _instruments.state_size.record(state_bytes, self.labels)


_current: ContextVar[Call | None] = ContextVar("weavegraph_checkpoints_call", default=None)


def traced(
    describe: Callable[[Call, Any], None] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Trace a function as a call of the service, named like the function.

    ``describe`` sets attributes from what it returns. Arguments that name a session, a step or
    a checkpoint become attributes.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if not is_installed:
            return function
        positions = get_positions(function)

        @wraps(function)
        def traced_function(*args: P.args, **kwargs: P.kwargs) -> R:
            attributes = get_attributes(positions, args, kwargs)
            with Call(function.__name__, attributes) as call:
                result = function(*args, **kwargs)
                if describe is not None:
                    describe(call, result)
                return result

        return traced_function

    return decorate


def traced_iterator(
    operation: str,
) -> Callable[[Callable[P, Iterator[T]]], Callable[P, Iterator[T]]]:
    """Trace a generator as one call of the service, until it is exhausted or closed.

    Its span is not the current one of the code that the generator yields to.
    """

    def decorate(function: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
        if not is_installed:
            return function

        @wraps(function)
        def traced_function(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            return _iterate(operation, function(*args, **kwargs))

        return traced_function

    return decorate


def _iterate(operation: str, items: Iterator[T]) -> Iterator[T]:
    call = Call(operation, {})
    try:
        while True:
            call.activate()
            try:
                item = next(items)
            finally:
                call.deactivate()
            yield item
    except (StopIteration, GeneratorExit):
        call.end()
    except BaseException as error:
        call.end(error)
        raise


def observed(
    note: Callable[[Call, Any], None],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let ``note`` set attributes of the current call from what a function returns."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if not is_installed:
            return function

        @wraps(function)
        def observed_function(*args: P.args, **kwargs: P.kwargs) -> R:
            result = function(*args, **kwargs)
            if (call := _current.get()) is not None:
                note(call, result)
            return result

        return observed_function

    return decorate


def set_database(connection: BaseDatabaseWrapper) -> None:
    """Set the database of the current call, if it is traced."""
    if (call := _current.get()) is not None:
        call.set_database(connection)


def set_rows(rows: int) -> None:
    """Set how many steps the current call has written, deleted or verified so far."""
    if (call := _current.get()) is not None:
        call.set_rows(rows)


def count_retry(connection: BaseDatabaseWrapper) -> None:
    """Count a retry of a transaction, of the current call if there is one."""
    if not is_installed:
        return
    call = _current.get()
    if call is not None:
        call.retries += 1
    _instruments.retries.add(1, call.labels if call else get_database_attributes(connection))


def count_pruned_steps(steps: int) -> None:
    """Count steps that the current call, a prune, has deleted."""
    if (call := _current.get()) is not None:
        _instruments.pruned_steps.add(steps, call.labels)
