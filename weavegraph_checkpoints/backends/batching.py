"""Split rows into batches that one statement can take."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to ``size`` items, as ``itertools.batched`` of Python 3.12 does."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def batched_by_weight(
    items: Iterable[T],
    get_weight: Callable[[T], int],
    max_weight: int,
    max_length: int = sys.maxsize,
) -> Iterator[list[T]]:
    """Yield lists of up to ``max_length`` items whose weights add up to ``max_weight`` or less.

    An item that is heavier is alone in its list.
    """
    batch: list[T] = []
    total = 0
    for item in items:
        weight = get_weight(item)
        if batch and (len(batch) == max_length or total + weight > max_weight):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += weight
    if batch:
        yield batch
