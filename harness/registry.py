"""Names to things: strategies, benchmarks, generators, judges, metrics, detectors and suites.

Built-ins are named in `builtins.toml` and imported only when asked for, so that listing names
costs nothing. Everything else comes from entry points: a package that declares, say,

    [project.entry-points."harness.strategies"]
    my-search = "my_package:MySearch"

adds `--strategy my-search` without touching this repository. For a quick try a name may also be
an import path, `--strategy my_module:MySearch`. Such a name decides which code is run, so it is
followed only within `import_paths(allowed=True)`: where it is the user's own word, or where the
user said so with --plugins. What a manifest names is somebody else's word until then.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from harness.errors import UsageError, did_you_mean, first_line

_allowed: ContextVar[bool] = ContextVar("_allowed", default=False)


class ImportRefused(UsageError):
    """A name is an import path, and nobody who may has said that such code is to be run."""


@contextmanager
def import_paths(*, allowed: bool) -> Iterator[None]:
    """Within it, what is named by import path is imported if allowed, or refused.

    Refused is also the rule outside of any such block.
    """
    before = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(before)


def check_allowed(message: str, hint: str) -> None:
    """Refuse what only the user's own word allows, as `import_paths` has it.

    Raises:
        ImportRefused: It is not allowed.
    """
    if not _allowed.get():
        raise ImportRefused(message, hint)


@dataclass(frozen=True)
class Registry:
    """One kind of plug-in.

    Attributes:
        kind: What one entry is called in messages ("strategy").
        builtins: Name to "module:attribute", or a suite's file, of what ships with the project.
    """

    kind: str
    group: str
    builtins: Mapping[str, str | Path] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All known names, sorted."""
        return sorted({*self.builtins, *(entry.name for entry in self._entries())})

    def get(self, name: str) -> Any:
        """Import and return what a name stands for.

        Raises:
            ImportRefused: It is an import path outside of `import_paths(allowed=True)`.
            UsageError: The name is unknown, claimed twice, or its package fails to import.
        """
        if ":" in name:
            check_allowed(
                f"the manifest names the {self.kind} '{name}' by import path, and such code "
                "is imported with --plugins only",
                "add --plugins if that code is yours or you trust it; what is installed as an "
                "entry point needs no flag",
            )
            return self._load(name, name)
        claims = [entry for entry in self._entries() if entry.name == name]
        targets: set[str | Path] = {entry.value for entry in claims}
        if name in self.builtins:
            targets.add(self.builtins[name])
        if not targets:
            raise UsageError(f"unknown {self.kind} '{name}'", did_you_mean(name, self.names()))
        if len(targets) > 1:
            raise UsageError(
                f"{self.kind} '{name}' is claimed twice: {', '.join(sorted(map(str, targets)))}",
                "uninstall one of them, or rename its entry point",
            )
        target = targets.pop()
        return target if isinstance(target, Path) else self._load(name, target)

    def _load(self, name: str, target: str) -> Any:
        module, _, attribute = target.partition(":")
        try:
            value: Any = import_module(module)
            for part in attribute.split(".") if attribute else ():
                value = getattr(value, part)
        except Exception as error:  # whatever a package's own code raises when it is imported
            raise UsageError(
                f"{self.kind} '{name}' ({target}) cannot be imported: {first_line(error)}",
                "check that its package and what it depends on are installed",
            ) from error
        return value

    def _entries(self) -> Sequence[EntryPoint]:
        return _installed(self.group, tuple(sys.path))


@lru_cache
def _installed(group: str, _path: tuple[str, ...]) -> Sequence[EntryPoint]:
    """Return a group's entry points on a search path: reading them looks into every package."""
    return tuple(entry_points(group=group))


_HERE = Path(__file__).resolve().parent
_BUILTINS = tomllib.loads((_HERE / "builtins.toml").read_text(encoding="utf-8"))
_SUITE_FILES = sorted((_HERE / "models" / "suite_files").glob("*.toml"))


def _registry(kind: str, group: str) -> Registry:
    return Registry(kind, group, _BUILTINS[group])


STRATEGIES = _registry("strategy", "harness.strategies")
BENCHMARKS = _registry("benchmark", "harness.benchmarks")
GENERATORS = _registry("generator", "harness.generators")
JUDGES = _registry("judge", "harness.judges")
METRICS = _registry("metric", "harness.metrics")
DETECTORS = _registry("detector", "harness.detectors")
SUITES = Registry("model", "harness.models", {file.stem: file for file in _SUITE_FILES})
