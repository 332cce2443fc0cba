"""Cards of verifiers: what they were trained on, by public facts, and else that it is unknown.

A verifier is worth less as evidence where it learnt from what another one learnt from.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from harness.models.checkpoints import references_of

_FILE = Path(__file__).with_name("provenance.toml")

ROLES = ("judge", "scorer", "metric")


@dataclass(frozen=True)
class Card:
    """The training of one checkpoint.

    Attributes:
        title: What it is called.
        trained_on: In words.
        data: Names of data sets, equal where two models share them.
        source: Where that is published.
    """

    title: str
    trained_on: str
    data: tuple[str, ...] = ()
    source: str = ""

    @property
    def line(self) -> str:
        """The card in one line."""
        return (
            f"{self.title}: trained on {self.trained_on}{f' ({self.source})' * bool(self.source)}"
        )


def is_processor(part: str) -> bool:
    """Tell whether a part, maybe of one of several metrics, is a tokenizer and image settings."""
    return part.rpartition(".")[2] == "processor"


UNKNOWN = Card("no card", "what is unknown here")


def card(reference: str) -> Card:
    """Return the card of a checkpoint by its reference, `UNKNOWN` without one.

    A folder's name says nothing of what is in it, so only hub ids and bundled names have cards. A
    model at an endpoint may be what it is called, so it shares that model's data.
    """
    name = reference.partition("@")[0]
    if (called := name.removeprefix("endpoint:")) != name:
        return replace(_cards()["endpoint:*"], data=card(called).data)
    fits = [
        key for key in _cards() if name == key or (key[-1] == "*" and name.startswith(key[:-1]))
    ]
    return _cards()[max(fits, key=len)] if fits else UNKNOWN


def cards(config: Mapping[str, Any]) -> dict[str, Card]:
    """Return the cards of a run's verifiers by "role.part"."""
    references = {
        name: reference
        for name, reference in references_of(config)
        if name.startswith(ROLES) and not is_processor(name)
    }
    judge = config["judge"]
    if "base_url" in judge.get("settings", {}) or judge.get("kind") == "openai":
        references["judge.model"] = f"endpoint:{judge.get('settings', {}).get('model')}"
    if config.get("scorer"):
        references["scorer.rules"] = f"benchmark:{config['benchmark']['name']}"
    known = {name: card(reference) for name, reference in references.items()}
    return {n: c for n, c in known.items() if n != "scorer.rules" or c is not UNKNOWN}


def lines(*configs: Mapping[str, Any]) -> list[str]:
    """Return the cards of some runs' verifiers, a line each, with whose they are."""
    named: dict[str, list[str]] = {}
    for config in configs:
        for name, known in cards(config).items():
            if name not in named.setdefault(known.line, []):
                named[known.line].append(name)
    return [f"{', '.join(names)}: {line}" for line, names in named.items()]


@cache
def _cards() -> Mapping[str, Card]:
    fields = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {
        key: Card(**{**values, "data": tuple(values.get("data", ()))})
        for key, values in fields.items()
    }
