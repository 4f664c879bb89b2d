"""Models of a project that refer to sessions with every ``on_delete``."""

from __future__ import annotations

from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models

from weavegraph_checkpoints.models import Session

DEFAULT_SESSION = "the default"
SET_SESSION = "the set one"


def key(on_delete: Any, **options: Any) -> Any:
    options = {"null": True, "blank": True, "related_name": "+", **options}
    return models.ForeignKey(Session, on_delete, **options)


class ShopModel(models.Model):
    """Its app is installed by ``installed_shop`` only."""

    class Meta:
        abstract = True
        app_label = "related"

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"


class Order(ShopModel):
    """An order with a key of every kind, each of which may be NULL."""

    cascade = key(models.CASCADE, related_name="orders")
    null = key(models.SET_NULL)
    default = key(models.SET_DEFAULT, default=None)
    set = key(models.SET(SET_SESSION))
    protect = key(models.PROTECT)
    restrict = key(models.RESTRICT)
    unconstrained = key(models.DO_NOTHING, db_constraint=False)


class Line(ShopModel):
    """A line of an order: a key to an object that refers to a session."""

    order = models.ForeignKey(Order, models.CASCADE)


class Invoice(ShopModel):
    """Protects the order, and so the session of the order."""

    order = models.ForeignKey(Order, models.PROTECT)


class Ledger(ShopModel):
    """Leaves it to the database, which refuses."""

    session = key(models.DO_NOTHING)


class Profile(ShopModel):
    """One to one, with nothing that refers to it: Django deletes it without reading it."""

    session = models.OneToOneField(Session, models.CASCADE)


class Basket(ShopModel):
    """Many to many."""

    sessions = models.ManyToManyField(Session)


class Tag(ShopModel):
    """Refers to any object."""

    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.CharField(max_length=255)
    target = GenericForeignKey()


MODELS = [Order, Line, Invoice, Ledger, Profile, Basket, Tag]
