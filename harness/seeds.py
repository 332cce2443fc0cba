"""Identity to digest, identity to seed: the one place where things get their names.

Everything random hangs on a hash of what it is for, never on the order in which work arrives.
Everything reusable is named by a hash of what determines it. Both go through one canonical
JSON, so that equal things have equal names on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.records import Image, Setting

DRAW_ID_VERSION = 1
"""Part of every draw's identity; raised when the meaning of its fields changes."""


LATER = frozenset({"batch_rows", "metric"})
"""Fields that configs did not always have, empty by default."""


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(value: Any) -> str:
    """Spell a JSON-like value in its one canonical way: sorted keys, no spaces, ASCII.

    Raises:
        ValueError: The value holds NaN or an infinity, which JSON cannot spell.
        TypeError: The value holds something that is not JSON-like.
    """
    return _CANONICAL.encode(value)


def digest(value: Any) -> str:
    """SHA-256 of a JSON-like value's canonical spelling, in hex (64 characters)."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def config_identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a run's name is a digest of, from its config as a manifest spells it.

    Checkpoints count by content, not by where they happen to lie. Works on the fields as they
    are, so that a config of an older program, with fewer of them, keeps its name; fields that came
    later count where they are not at their default.
    """
    return {
        name: {key: part for key, part in value.items() if key != "checkpoints"}
        if name in ("generator", "judge", "scorer", "metric") and isinstance(value, dict)
        else value
        for name, value in present(config).items()
    }


def present(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without the later fields that are at their default, as older ones are."""
    return {name: value for name, value in config.items() if value or name not in LATER}


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a config's identity.

    Raises:
        ValueError: As `canonical_json`.
    """
    return digest(config_identity(config))


def seed(run_seed: int, prompt_id: str, replicate: int, index: int, purpose: str) -> int:
    """A 63-bit seed for one purpose ("noise", "strategy", …) of one draw.

    The strategy's name is deliberately absent: strategies that draw the same index for the
    same prompt and replicate get the same noise, so their difference is measured pairwise.
    (63 bits, since a signed 64-bit column and torch's generators both hold them.) The index is -1
    for what belongs to the search as a whole.
    """
    name = canonical_json(["seed", run_seed, prompt_id, replicate, index, purpose])
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def draw_id(
    *,
    generator: str,
    text: str,
    noise_seed: int,
    settings: Mapping[str, Setting],
    feedback: tuple[tuple[str, str], ...] = (),
    **present: Any,
) -> str:
    """A draw's identity: a hash of everything that determines its pixels.

    Args:
        generator: Identity of the generator (checkpoint digests, dtype, batch shape).
        text: The prompt as the generator gets it.
        noise_seed: Seed of the initial noise.
        settings: Sampler settings, complete.
        feedback: (identity of the draw whose image it is, sentence) pairs, in the order that the
            strategy gives.
        present: What not every draw has (turns of the noise, a start, a stop), by name. What is
            None or empty is left out, so that draws without it keep the ids that they had when
            there was no such thing.

    Returns:
        32 hex characters (128 bits).
    """
    fields = {
        **{name: value for name, value in present.items() if value not in (None, [], ())},
        "version": DRAW_ID_VERSION,
        "generator": generator,
        "text": text,
        "noise_seed": noise_seed,
        "settings": dict(settings),
        "feedback": [list(pair) for pair in feedback],
    }
    return digest(fields)[:32]


def recorded_id(prompt_id: str, replicate: int, index: int, image: str | None) -> str:
    """A draw's identity where nobody knows what determined its pixels: its place and its image.

    The first replicate has the ids that it had when an imported prompt could have no other; the
    image is the digest of its pixels, None without one.

    Returns:
        32 hex characters (128 bits).
    """
    search = [replicate] if replicate else []
    return digest(["recorded", prompt_id, index, image, *search])[:32]


def pixel_digest(image: Image) -> str:
    """Digest of an image's pixels and shape, whatever file they came from (32 hex characters).

    Raises:
        ValueError: Not an RGB uint8 array of shape (height, width, 3).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected a uint8 array (H, W, 3), got {image.dtype} {image.shape}")
    header = canonical_json(["rgb8", image.shape[0], image.shape[1]]).encode()
    return hashlib.sha256(header + np.ascontiguousarray(image).tobytes()).hexdigest()[:32]
