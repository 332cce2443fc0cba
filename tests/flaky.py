"""A real generator that can be made to fail: SANA behind the stubs' scripted faults."""

from __future__ import annotations

from collections.abc import Sequence

from harness.models.sana import SanaGenerator
from harness.records import Loading, Made, Request
from tests.stubs import Faults


class FlakySana:
    Settings = SanaGenerator.Settings
    abilities = SanaGenerator.abilities

    def __init__(self, sana: SanaGenerator, faults: Faults) -> None:
        self._sana = sana
        self._faults = faults

    @classmethod
    def load(cls, loading: Loading) -> FlakySana:
        return cls(SanaGenerator.load(loading), Faults(loading.checkpoints["faults"]))

    def generate(self, requests: Sequence[Request]) -> list[Made]:
        self._faults.strike("generator", [request.text for request in requests])
        return self._sana.generate(requests)
