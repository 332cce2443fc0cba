"""Places of models' files: references, the places looked at, and what names a folder's content.

A reference is a string: `bundled:NAME` (shipped with the package), a local folder (`~` allowed),
or a Hugging Face hub id `org/name[@revision][//folder]`, where `//folder` names a folder inside
the repository. Looking never touches the network; only `resolve` downloads, and only what is
nowhere on this machine. Pickled weights are neither downloaded nor loaded; a checkpoint's own code
is run only where somebody asks for it (`harness.models.remote_code`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UsageError, did_you_mean, first_line
from harness.records import Role
from harness.text import expanded

BUNDLED = Path(__file__).resolve().parent.parent / "miniature" / "weights"
"""The checkpoints that come with the package, one folder each."""

ENVIRONMENT = "HARNESS_CHECKPOINTS"
"""Environment variable: a folder of checkpoint folders, looked at before the hub's cache."""

PICKLED = (".bin", ".ckpt", ".h5", ".msgpack", ".pkl", ".pt", ".pth")
"""Weight files that can hold code, or another framework's weights; never read."""

_LONGEST = 4096
"""Of a reference, in characters."""
_SHOWN = 80

_PATH = r"[\w.-]+(?:/[\w.-]+)*"
_HUB_ID = re.compile(
    rf"(?P<org>[\w.-]+)/(?P<name>[\w.-]+)(?:@(?P<revision>{_PATH}))?(?://(?P<inside>{_PATH}))?"
)
_NOT_DOWNLOADED = [
    *(f"*{suffix}" for suffix in PICKLED),
    *("*.onnx*", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.mp4", "*.md", "asset*/*"),
    *("*.fp16.safetensors", "*.bf16.safetensors", "*.fp16-*.safetensors", "*.bf16-*.safetensors"),
]


@dataclass(frozen=True, slots=True)
class _Hub:
    """A hub id taken apart: repository, revision or None, folder inside it or ""."""

    repo: str
    revision: str | None
    inside: str


@dataclass(frozen=True, slots=True)
class Located:
    """A reference's local folder, or None, and every place looked at, in order."""

    ref: str
    path: Path | None
    looked: tuple[str, ...]


def look(ref: str) -> Located:
    """Find a checkpoint on this machine, without network.

    Looked at in this order: the folder the reference names; `$HARNESS_CHECKPOINTS/<name>` and
    `$HARNESS_CHECKPOINTS/<org>/<name>` (with `@revision` appended where one is asked for, since
    an unmarked folder may be any revision), and the folder inside it; the Hugging Face cache.

    Raises:
        UsageError: The reference has none of the known forms.
    """
    if not ref.strip():
        raise UsageError("an empty checkpoint reference", _FORMS)
    if len(ref) > _LONGEST or "\0" in ref:  # no file system takes it
        shown = f"{ref[:_SHOWN]}…" if len(ref) > _SHOWN else ref
        raise UsageError(f"'{shown}' is no checkpoint reference", _FORMS)
    if ref.startswith("bundled:"):
        name = ref.removeprefix("bundled:")
        if not name or name != Path(name).name:
            raise UsageError(f"'{ref}' is no checkpoint reference", _FORMS)
        folder = BUNDLED / name
        return Located(ref, folder if folder.is_dir() else None, (str(folder),))
    looked: list[str] = []
    for folder in _folders(ref):
        looked.append(str(folder))
        if os.path.isdir(folder):  # where `Path.is_dir` would raise over a name that is too long
            return Located(ref, folder.resolve(), tuple(looked))
    hub = _hub_id(ref)
    if hub is not None:
        from huggingface_hub import constants

        looked.append(f"the Hugging Face cache ({constants.HF_HUB_CACHE})")
        return Located(ref, _in_hub_cache(hub), tuple(looked))
    return Located(ref, None, tuple(looked))


def resolve(ref: str) -> Path:
    """Find a checkpoint on this machine, or download it from the hub if it has a hub id.

    `HF_HUB_OFFLINE=1` forbids the download.

    Raises:
        UsageError: The reference has none of the known forms, or names a file.
        HarnessError: It is nowhere, and cannot be downloaded.
    """
    located = look(ref)
    if located.path is not None:
        return located.path
    # Before the hub is asked: `models/FILE.pth` has the form of a hub id, too.
    if expanded(ref).is_file():
        raise UsageError(f"checkpoint '{ref}' is a file, expected a folder", _FORMS)
    hub = _hub_id(ref)
    if hub is None:
        raise _missing(located)
    from huggingface_hub import snapshot_download

    try:
        snapshot = snapshot_download(
            hub.repo,
            revision=hub.revision,
            allow_patterns=f"{hub.inside}/*" if hub.inside else None,
            ignore_patterns=_NOT_DOWNLOADED,
        )
    except Exception as error:
        # The hub client's errors come from several packages, which change between its versions.
        raise _missing(located, error) from error
    folder = Path(snapshot) / hub.inside
    if not folder.is_dir():
        raise HarnessError(f"{hub.repo} has no folder '{hub.inside}'", "check the reference's //")
    return folder


def references_of(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names ("role.part") and references of a run's config, as far as it holds any."""
    for role in Role:
        spec = config.get(role.value)
        parts = spec.get("checkpoints") if isinstance(spec, dict) else None
        for part, ref in parts.items() if isinstance(parts, dict) else ():
            if isinstance(ref, str):
                yield f"{role}.{part}", ref


def is_pipeline(ref: str) -> bool:
    """Tell whether a word names a pipeline of diffusers: its folder, or a hub id."""
    folder = expanded(ref)
    if (folder / "model_index.json").is_file():
        return True
    return not folder.exists() and ":" not in ref and not ref.startswith(".") and bool(_hub_id(ref))


def require(folder: Path, files: Iterable[str], convert: str = "") -> None:
    """Check that a checkpoint folder has the files that a model needs.

    Args:
        folder: The folder.
        files: Relative names. A name ending in `.safetensors` is also satisfied by its sharded
            form, `NAME.safetensors.index.json`.
        convert: How to make them of what is published, where that is not as for transformers.

    Raises:
        HarnessError: A file is missing; the message says which, of which folder.
    """
    if not folder.is_dir():
        raise HarnessError(f"checkpoint folder {folder} does not exist", _GET)
    for name in files:
        path = folder / name
        if path.is_file():
            continue
        if name.endswith(".safetensors"):
            if path.with_name(path.name + ".index.json").is_file():
                continue
            pickled = sorted(p.name for p in path.parent.glob("*") if p.suffix in PICKLED)
            if pickled:
                raise HarnessError(
                    f"{folder} has no {name}, only pickled weights ({', '.join(pickled)}), "
                    "which could run code and are not read",
                    convert or "convert them with save_pretrained(..., safe_serialization=True)",
                )
        hint = convert or f"it is incomplete or another model: {_GET}"
        raise HarnessError(f"{folder} has no {name}", hint)


_FORMS = "give bundled:NAME, a folder, or a hub id ORG/NAME[@REVISION][//FOLDER]"
_GET = "get the whole checkpoint, e.g. `hf download ORG/NAME --local-dir FOLDER`"


def _folders(ref: str) -> list[Path]:
    """The local folders a reference may mean, in the order they are looked at."""
    folders = [expanded(ref)]
    root = os.environ.get(ENVIRONMENT)
    if root and not folders[0].is_absolute() and ".." not in folders[0].parts:
        hub = _hub_id(ref)
        if hub is None:
            names = [Path(ref).name, ref]
        else:
            mark = f"@{hub.revision.replace('/', '_')}" if hub.revision else ""
            name = f"{hub.repo}{mark}/{hub.inside}"
            names = [name.partition("/")[2], name]
        folders += [expanded(root) / name for name in dict.fromkeys(names)]
    return folders


def _hub_id(ref: str) -> _Hub | None:
    match = _HUB_ID.fullmatch(ref)
    inside = (match["inside"] or "") if match else ""
    if match is None or match["org"] in (".", "..") or ".." in inside.split("/"):
        return None
    return _Hub(f"{match['org']}/{match['name']}", match["revision"], inside)


def _in_hub_cache(hub: _Hub) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        snapshot = snapshot_download(hub.repo, revision=hub.revision, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    folder = Path(snapshot) / hub.inside
    return folder if folder.is_dir() else None


def _missing(located: Located, error: Exception | None = None) -> HarnessError:
    ref = located.ref
    places = "looked at " + ", ".join(located.looked)
    if ref.startswith("bundled:"):
        known = [path.name for path in BUNDLED.iterdir() if path.is_dir()]
        name = ref.removeprefix("bundled:")
        return HarnessError(f"no bundled checkpoint '{name}'", did_you_mean(name, known))
    if error is None:
        at = os.environ.get(ENVIRONMENT)
        where = f"${ENVIRONMENT} is {at}" if at else f"${ENVIRONMENT} is not set"
        return HarnessError(f"no checkpoint '{ref}'", f"{places}; {where}; {_FORMS}")
    # Only the first sentence: the hub client appends advice and a request id over many lines.
    hub = _hub_id(ref) or _Hub(ref, None, "")
    further = f" --revision {hub.revision}" if hub.revision else ""
    further += f" --include '{hub.inside}/*'" if hub.inside else ""
    return HarnessError(
        f"checkpoint '{ref}' is not on this machine and cannot be downloaded: {first_line(error)}",
        f"{places}; where there is network: `hf download {hub.repo}{further}`, or put the folder "
        f"under ${ENVIRONMENT}",
    )
