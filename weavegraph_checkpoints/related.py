"""The objects of other models that refer to sessions, and what their ``on_delete`` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from django.db import IntegrityError, models, router
from django.db.models import ProtectedError, RestrictedError
from django.db.models.deletion import Collector

from weavegraph_checkpoints.models import Session

MAX_PROTECTING_OBJECTS = 10
"""Objects that one relation with ``DO_NOTHING`` adds to an error."""


class SkipOwnModels(Collector):
    """Collect as ``Model.delete()`` does, without the steps: the service deletes them."""

    def related_objects(self, related_model: Any, related_fields: Any, objs: Any) -> Any:
        if not is_foreign(related_model, self.using):
            return related_model._base_manager.none()
        return super().related_objects(related_model, related_fields, objs)


class _RelatedCollector(SkipOwnModels):
    def can_fast_delete(self, objs: Any, from_field: Any = None) -> bool:
        # For a single object, delete() would ignore everything else that was collected.
        is_single = isinstance(objs, models.Model)
        return not is_single and super().can_fast_delete(objs, from_field)


def is_foreign(model: type[models.Model], using: str) -> bool:
    """Return whether a model is of another app, and its table in the database ``using``."""
    return model._meta.app_label != Session._meta.app_label and router.allow_migrate_model(
        using, model
    )


def get_relations(model: type[models.Model], using: str) -> list[Any]:
    """Return the relations of other apps' foreign keys to a model, hidden ones included."""
    return [
        relation
        for relation in model._meta.get_fields(include_hidden=True)
        if relation.auto_created
        and not relation.concrete
        and (relation.one_to_one or relation.one_to_many)
        and is_foreign(relation.related_model, using)  # type: ignore[arg-type]
    ]


def has_relations(using: str) -> bool:
    """Return whether another model refers to sessions, by a foreign key or generically."""
    has_generic = any(
        hasattr(each, "bulk_related_objects") for each in Session._meta.private_fields
    )
    return has_generic or bool(get_relations(Session, using))


@contextmanager
def deletion(session_ids: Sequence[str], using: str) -> Iterator[None]:
    """Delete or update the objects that refer to sessions; the block deletes the sessions.

    The sessions must be locked. Raise ``ProtectedError`` or ``RestrictedError`` before
    anything is deleted, and ``ProtectedError`` after the block if objects with
    ``DO_NOTHING`` still refer to the sessions.
    """
    if not (session_ids and has_relations(using)):
        yield
        return
    collector = _collect(session_ids, using)
    for model in list(collector.data):
        if model._meta.concrete_model is Session:
            del collector.data[model]
    collector.delete()
    yield
    if remaining := list(_iter_do_nothing(session_ids, using)):
        raise ProtectedError("Objects with DO_NOTHING refer to deleted sessions.", set(remaining))


def check_deletable(session_ids: Sequence[str], using: str) -> None:
    """Raise ``ProtectedError`` or ``RestrictedError`` if they forbid to delete the sessions."""
    if session_ids and has_relations(using):
        _collect(session_ids, using)


def may_be_refused(session_ids: Sequence[str], using: str) -> bool:
    """Return whether objects with ``DO_NOTHING`` refer to the sessions."""
    return any(True for _ in _iter_do_nothing(session_ids, using))


def find_protected(session_ids: Sequence[str], using: str) -> list[str]:
    """Return the sessions that ``PROTECT`` or ``RESTRICT`` forbid to delete."""
    return find_refused(session_ids, lambda ids: check_deletable(ids, using))


def find_refused(session_ids: Sequence[str], attempt: Callable[[Sequence[str]], Any]) -> list[str]:
    """Attempt something for all sessions, and for ever smaller parts while it is refused.

    Return the sessions for which ``attempt`` alone raises ``IntegrityError``.
    """
    try:
        attempt(session_ids)
    except IntegrityError:
        if len(session_ids) == 1:
            return list(session_ids)
        middle = len(session_ids) // 2
        parts = (session_ids[:middle], session_ids[middle:])
        return [found for part in parts for found in find_refused(part, attempt)]
    return []


def get_protecting_models(
    error: IntegrityError, session_ids: Sequence[str], using: str
) -> tuple[str, ...]:
    """Return the labels of the models whose objects refused a deletion, as ``("app.Model",)``.

    The tuple is empty if ``error`` is not about objects that refer to the sessions.
    """
    objects: Iterable[Any]
    match error:
        case ProtectedError():
            objects = error.protected_objects
        case RestrictedError():
            objects = error.restricted_objects
        case _:
            objects = _iter_do_nothing(session_ids, using)
    return tuple(sorted({each._meta.label for each in objects}))


def _collect(session_ids: Sequence[str], using: str) -> _RelatedCollector:
    collector = _RelatedCollector(using=using)
    collector.collect([Session.from_db(using, ["id"], [key]) for key in session_ids])
    return collector


def _iter_do_nothing(session_ids: Sequence[str], using: str) -> Iterator[Any]:
    """Yield objects that refer to sessions and whose deletion is left to the database."""
    fields = [
        (relation.related_model, relation.field)
        for relation in get_relations(Session, using)
        if relation.field.remote_field.on_delete is models.DO_NOTHING
        and getattr(relation.field, "db_constraint", False)
        and relation.related_model._meta.managed
    ]
    yield from chain.from_iterable(
        model._base_manager.using(using)
        .filter(**{f"{field.name}__in": session_ids})
        .only("pk")[:MAX_PROTECTING_OBJECTS]
        for model, field in fields
    )
