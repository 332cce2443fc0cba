"""Model suites: which generator, judge and scorer models a run uses, and how they are run.

A suite is a small TOML file (the built-in ones lie in `suite_files/`). A researcher's own is
given by path: `--model my_suite.toml`. Reading one imports no model library.
"""

from __future__ import annotations

import os
import tomllib
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness import options
from harness.errors import UsageError, did_you_mean, first_line
from harness.models.checkpoints import Located, is_pipeline, look
from harness.models.remote_code import remote_code
from harness.records import LARGEST_BATCH, Loading, Role, Setting, resolve_dtype
from harness.registry import GENERATORS, SUITES
from harness.seeds import digest
from harness.text import MAX_DEPTH, expanded, read_text

_MAX_BYTES = 2**18
_SHOWN = 80
_EXAMPLES = "write it like those in harness/models/suite_files"


class ModelSpec(BaseModel):
    """One model of a suite.

    Attributes:
        kind: Its registry name. "" for a scorer, whose benchmark says what it is.
        checkpoints: Checkpoint references (`harness.models.checkpoints`) by part.
        dtype: Number format of the weights; "auto" is bfloat16 on a GPU and float32 on a CPU.
        batch_size: Rows of the one batch shape it runs at.
        settings: Further settings; a generator's are its sampler settings.
        compile: Compile its blocks (`harness.models.compiling`). Spelled out only where it is
            true, since specs did not always have it.
        trust_remote_code: Run code beside its checkpoints (`harness.models.remote_code`). Spelled
            out likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = ""
    checkpoints: dict[str, str] = Field(default_factory=dict)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_size: int = Field(default=1, ge=1, le=LARGEST_BATCH)
    settings: dict[str, Setting] = Field(default_factory=dict)
    compile: bool = Field(default=False, exclude_if=lambda compiled: not compiled)
    trust_remote_code: bool = Field(default=False, exclude_if=lambda trusted: not trusted)

    def loading(self, checkpoints: Mapping[str, Path], device: str = "cpu") -> Loading:
        """Return what the model is loaded from, with its number format settled."""
        return Loading(checkpoints, device, self.dtype, self.batch_size, self.settings)


class Suite(BaseModel):
    """The models of a run.

    Attributes:
        name: What it is called on the command line and in the log.
        title: One line for people.
        miniature: Whether its models are miniatures; every result of such a suite says so.
        generator: Makes the images.
        judge: Is consulted by strategies.
        scorer: The benchmark's metric.
        metric: Checkpoints and settings of further metrics, by "NAME.PART", for whoever asks for
            them; their number format and batch size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    title: str = ""
    miniature: bool = False
    generator: ModelSpec
    judge: ModelSpec = ModelSpec(kind="none")
    scorer: ModelSpec = ModelSpec()
    metric: ModelSpec = ModelSpec(batch_size=8)

    def spec(self, role: Role) -> ModelSpec:
        """The model of a role."""
        spec: ModelSpec = getattr(self, role.value)
        return spec


def load_suite(name_or_path: str | Path) -> Suite:
    """Load a suite by its registered name, from a TOML file, or around a pipeline of diffusers.

    A relative folder among a file's checkpoint references is taken from the file's own place,
    if it exists there or is written with a leading `./` or `../`.

    Raises:
        UsageError: Unknown name, unreadable file, or a key or value that does not belong there.
    """
    if isinstance(name_or_path, Path) or str(name_or_path).endswith(".toml"):
        return _from_file(expanded(name_or_path))
    name = str(name_or_path)
    if is_pipeline(name) and name not in SUITES.names():
        return _of_pipeline(name)
    try:
        entry = SUITES.get(name)
    except UsageError as error:
        if ":" in name or name in SUITES.names():
            raise
        raise UsageError(
            error.message,
            f"{error.hint}; a suite of one's own is given as a TOML file, a pipeline of diffusers "
            "as a folder or hub id, another checkpoint for a suite's generator with --checkpoint",
        ) from error
    if callable(entry) and not isinstance(entry, type):
        entry = entry()
    if isinstance(entry, Suite):
        return entry
    if isinstance(entry, Mapping):
        return _validate(dict(entry), f"suite '{name}'")
    if isinstance(entry, str | Path):
        return _from_file(expanded(entry))
    raise UsageError(
        f"suite '{name}' is a {type(entry).__name__}",
        "an entry point gives a Suite, a mapping, or the path of a TOML file",
    )


def sampler_settings(spec: ModelSpec, *overrides: Mapping[str, Setting]) -> dict[str, Setting]:
    """A generator's complete sampler settings: its defaults, the suite's, then the overrides.

    Complete, because they are part of every draw's identity. Nothing is loaded for this. Of
    overrides later ones win; strings are converted to the setting's type.

    Raises:
        UsageError: Unknown generator, unknown setting, or a value it does not take.
    """
    merged = dict(ChainMap(*map(dict, reversed(overrides))))
    factory = GENERATORS.get(spec.kind)
    kind = factory.Settings
    if hasattr(factory, "settings_for"):
        with remote_code(trusted=spec.trust_remote_code):
            kind = factory.settings_for(spec.checkpoints)
    return options.resolved(
        options.build(
            kind, merged, flag="-G", title=f"generator {spec.kind}", defaults=spec.settings
        )
    )


def identity(spec: ModelSpec, digests: Mapping[str, str]) -> str:
    """Name a generator by what determines its outputs, as 64 hex characters.

    That is its kind, number format, batch shape and `folder_digest` of each checkpoint, and whether
    it is compiled: one that is not has the name that it had before any could be. Its settings are
    in every draw's identity.
    """
    return digest(
        {
            "kind": spec.kind,
            "checkpoints": dict(digests),
            "dtype": resolve_dtype(spec.dtype, "cpu"),
            "batch_size": spec.batch_size,
            "settings": {},
            **({"compiled": True} if spec.compile else {}),
        }
    )


def overview(suite: Suite) -> list[tuple[Role, str, Located]]:
    """List every checkpoint of a suite, its part and where it is or was looked for, offline."""
    return [
        (role, part, look(reference))
        for role in Role
        for part, reference in suite.spec(role).checkpoints.items()
    ]


def _from_file(path: Path) -> Suite:
    text = read_text(path, limit=_MAX_BYTES)
    for number, line in enumerate(text.split("\n"), 1):
        # Of a key of n parts the parser keeps all n prefixes, and that for every key.
        if line.count(".") > MAX_DEPTH:
            raise UsageError(
                f"suite {path}, line {number}: more than {MAX_DEPTH} dots, so nested too deeply",
                _EXAMPLES,
            )
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"suite {path} is nested too deeply", _EXAMPLES) from None
    except ValueError as error:  # also of a number of thousands of digits
        raise UsageError(f"suite {path} is no TOML file: {first_line(error)}", _EXAMPLES) from error
    suite = _validate(data, f"suite {path}")
    base = path.resolve().parent
    specs = {}
    for role in Role:
        spec = suite.spec(role)
        refs = {part: _anchored(ref, base) for part, ref in spec.checkpoints.items()}
        specs[role.value] = spec.model_copy(update={"checkpoints": refs})
    return suite.model_copy(update=specs)


def _of_pipeline(reference: str) -> Suite:
    """Return the suite of a pipeline's folder or hub id: without a judge, run by diffusers."""
    local = expanded(reference)
    name = local.resolve().name if local.is_dir() else reference.partition("@")[0].split("/")[1]
    checkpoints = {"pipeline": str(local.resolve()) if local.is_dir() else reference}
    generator = ModelSpec(kind="diffusers", checkpoints=checkpoints, batch_size=4)
    return Suite(name=name, title=f"{reference}, run by diffusers", generator=generator)


def _anchored(ref: str, base: Path) -> str:
    if ref.startswith(("bundled:", "~", "/")) or "\0" in ref:
        return ref
    inside = base / ref
    return str(inside.resolve()) if ref.startswith(".") or os.path.isdir(inside) else ref


def _validate(data: dict[str, Any], source: str) -> Suite:
    try:
        return Suite.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        key = ".".join(where)
        if first["type"] == "extra_forbidden":
            known = (Suite if len(where) == 1 else ModelSpec).model_fields
            hint = did_you_mean(where[-1], known)
            raise UsageError(f"{source}: unknown key '{key}'", hint) from error
        if first["type"] == "missing":
            raise UsageError(f"{source}: '{key}' is missing", _EXAMPLES) from error
        # A union reports one error per member; the key it concerns comes before the member.
        message = f"{first['msg'].lower()}, got {_spelled(first['input'])}"
        raise UsageError(f"{source}: {key}: {message}", _EXAMPLES) from error


def _spelled(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        return "a number of thousands of digits"
    return f"{text[:_SHOWN]}…" if len(text) > _SHOWN else text
