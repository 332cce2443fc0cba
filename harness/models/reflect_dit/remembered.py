"""Encodings worth keeping, the least recently used forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Remembered(Generic[V]):
    """Values by key, and what each cost to make. Has state: what it remembers.

    Args:
        size: The most values kept.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], tuple[V, float]]) -> tuple[V, float]:
        """The value of a key and what it cost just now: nothing, if it is remembered.

        Args:
            key: All that determines the value.
            make: Makes the value, and says what that costs.
        """
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key], 0.0
        value, cost = make()
        self._values[key] = value
        while len(self._values) > self.size:
            self._values.popitem(last=False)
        return value, cost
