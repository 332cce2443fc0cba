"""Options given as `name=value` to the dataclass whose fields declare them.

A plug-in's options are its dataclass fields and nothing else: their types validate, their
defaults document, a misspelt name is answered with the closest right one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from harness.errors import UsageError, did_you_mean

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """A plug-in without options."""


EXAMPLES = {
    "-S": "rounds=3",
    "-B": "path=prompts.jsonl",
    "-G": "guidance_scale=4.5",
    "-O": "resize=float32",
    "-J": "accept=0.3",
    "--scorer": "detector=FOLDER",
    "--gpu-share": "generator=1",
}
"""What is given with each flag, for messages."""


def build(
    plugin: type[T],
    options: Mapping[str, Any],
    *,
    flag: str,
    title: str = "",
    defaults: Mapping[str, Any] | None = None,
) -> T:
    """Make a plug-in, a dataclass, from its options.

    Args:
        plugin: The class.
        options: Values by field name; strings are converted to the field's type.
        flag: How such options are given on the command line ("-S"), for messages.
        title: What the plug-in is called in messages; by default its name.
        defaults: Values that hold where none is given, other than the plug-in's own.

    Raises:
        UsageError: An unknown name, or a value its field does not take.
    """
    title = title or getattr(plugin, "name", plugin.__name__)
    if not dataclasses.is_dataclass(plugin):
        raise UsageError(f"'{title}' is no plug-in: {plugin!r} is not a dataclass")
    known = [field.name for field in dataclasses.fields(plugin) if field.init]
    for name in (*(defaults or {}), *options):
        if name not in known:
            raise UsageError(f"'{title}' has no option '{name}'", did_you_mean(name, known))
    try:
        built: T = _adapter(plugin).validate_python({**(defaults or {}), **options})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "options"
        problem = f"cannot take {flag} {name}={first['input']}: {first['msg'].lower()}"
        if first["type"] in ("missing", "missing_argument"):
            problem = f"needs {flag} {name}=VALUE"
        hint = f"its options: {describe(plugin, defaults or {})}"
        raise UsageError(f"'{title}' {problem}", hint) from error
    for name in known:
        value = getattr(built, name)
        if isinstance(value, float) and not math.isfinite(value):  # no identity is made of it
            raise UsageError(f"'{title}' cannot take {flag} {name}={value}: it is no number")
    return built


@lru_cache(maxsize=512)
def _adapter(plugin: type[T]) -> TypeAdapter[T]:
    """Return what validates a dataclass. Making it takes a millisecond, and requests are many."""
    return TypeAdapter(plugin)


def describe(plugin: type, defaults: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return a dataclass's options with their defaults and what they take, on one line."""
    schema = _adapter(plugin).json_schema()["properties"]
    parts = []
    for field in dataclasses.fields(plugin):
        if field.init:
            value = defaults.get(field.name, field.default)
            default = "" if value is dataclasses.MISSING else f"={value}"
            parts.append(f"{field.name}{default} ({_takes(schema[field.name])})")
    return "; ".join(parts) or "none"


_KINDS = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "null": "none",
}
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
    "minLength": "its length at least",
}


def _takes(schema: Mapping[str, Any]) -> str:
    """A JSON schema of one value, in words."""
    if "anyOf" in schema:
        return " or ".join(_takes(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    kind = str(schema.get("const", schema.get("type", "anything")))
    bounds = [f"{words} {schema[key]}" for key, words in _BOUNDS.items() if key in schema]
    return ", ".join([_KINDS.get(kind, kind), *bounds])


def resolved(plugin: Any) -> dict[str, Any]:
    """A built plug-in's options with defaults filled in, ready for canonical JSON."""
    dumped: dict[str, Any] = TypeAdapter(type(plugin)).dump_python(plugin, mode="json")
    return dumped


def parse(pairs: tuple[str, ...], *, flag: str) -> dict[str, str]:
    """Split `name=value` pairs.

    Raises:
        UsageError: A pair without "=", or a name given twice.
    """
    options: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        owner, dot, name = name.strip().rpartition(".")  # of an ensemble's member, whose name stays
        name = f"{owner}{dot}{name.replace('-', '_')}"
        if not equals or not name:
            example = f"such as {flag} {EXAMPLES.get(flag, 'name=value')}"
            raise UsageError(f"{flag} takes name=value, got '{pair}'", example)
        if name in options:
            raise UsageError(f"{flag} {name} is given twice", "give it once")
        options[name] = value
    return options
