"""The names of Mask2Former's tensors in mmdet, and in transformers' public checkpoints.

The two columns are in `names.toml`, mmdet 3.x on the left. mmdet 2.x says a few things differently
and is put into 3.x words first. Modules that need more than a new name (fused projections, patch
merging) are not there but in `convert`.
"""

from __future__ import annotations

import functools
import re
import tomllib
from pathlib import Path

_FILE = Path(__file__).with_name("names.toml")

_OLD_WORDS = (
    (re.compile(r"(pixel_decoder\.encoder\.layers\.\d+\.)attentions\.0\."), r"\1self_attn."),
    (re.compile(r"(transformer_decoder\.layers\.\d+\.)attentions\.0\."), r"\1cross_attn."),
    (re.compile(r"(transformer_decoder\.layers\.\d+\.)attentions\.1\."), r"\1self_attn."),
    (re.compile(r"(layers\.\d+\.)ffns\.0\."), r"\1ffn."),
)


def modernise(key: str) -> str:
    """Put an mmdet 2.x key into 3.x words; a 3.x key stays as it is."""
    for old, new in _OLD_WORDS:
        key = old.sub(new, key)
    return key


def renamed(key: str) -> str | None:
    """Return transformers' name of an mmdet 3.x key, or None if the table does not know it."""
    module, _, leaf = key.rpartition(".")
    modules, tensors = _table()
    if key in tensors:
        return tensors[key]
    for source, target in modules:
        # Numbers that the table spells out ("mask_embed.2") must match as they are.
        if match := source.fullmatch(module):
            return f"{target.format(*match.groups())}.{leaf}"
    return None


@functools.cache
def _table() -> tuple[list[tuple[re.Pattern[str], str]], dict[str, str]]:
    """Return patterns of modules with forms of their new names, and whole names of tensors."""
    content = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    modules = [
        (
            re.compile(re.escape(f"{group['mmdet']}.{old}").replace(r"\*", r"(\d+)")),
            f"{group['transformers']}.{new}".replace("*", "{}"),
        )
        for group in content["group"]
        for old, new in group["names"].items()
    ]
    return modules, content["tensors"]
