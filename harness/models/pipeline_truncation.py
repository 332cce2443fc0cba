"""Which texts a pipeline's tokenizers cut: its own encoding code runs without weights, watched.

A text counts as cut where none of the tokenizers that are given it reads it whole: what is behind
the last token that any of them reads cannot change an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness import options
from harness.models.loading import quiet
from harness.records import Loading, Request, Setting
from harness.truncation import Truncation


class _Encoded(Exception):
    """All texts are encoded; what the pipeline does with them is of no interest."""


class _Watched:
    """A tokenizer that notes whether it cuts what it is given."""

    def __init__(self, tokenizer: Any, name: str, watch: _Encoding) -> None:
        self._tokenizer, self._name, self._watch = tokenizer, name, watch

    def __call__(self, texts: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("truncation"):
            limit = kwargs.get("max_length") or self._tokenizer.model_max_length
            limit = min(limit, self._watch.limit)
            # One more is enough to know, however long the text is.
            tokens = self._tokenizer(texts, truncation=True, max_length=limit + 1)["input_ids"]
            own = any(len(row) > limit for row in tokens)
            self._watch.cuts[self._name] = own or self._watch.cuts.get(self._name, False)
        return self._tokenizer(texts, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


class _Encoding:
    """Turns a pipeline's generator into one that only encodes; it is the first of two bases.

    Has state: what each tokenizer cut of the last texts.
    """

    cuts: dict[str, bool]
    limit: int
    # The generator's own.
    pipeline: Any
    settings_type: Any
    forget: Any
    _run: Any

    def watch(self) -> None:
        """Put a watched tokenizer in the place of each."""
        for name, part in self.pipeline.components.items():
            if name.startswith("tokenizer") and part is not None:
                vars(self.pipeline)[name] = _Watched(part, name, self)

    def is_cut(self, text: str, settings: Mapping[str, Setting]) -> bool:
        """Encode a text, and return whether it is cut."""
        own: Any = options.build(self.settings_type, settings, flag="-G")
        self.limit = 2**31
        if template := getattr(self.pipeline, "prompt_template_encode", None):
            # Qwen-Image cuts tokens itself, and those of its template beside the text's.
            around = self.pipeline.tokenizer(template.format(""))["input_ids"]
            self.limit = len(around) + own.max_sequence_length
        self.cuts = {}
        self.forget()
        with suppress(_Encoded), quiet():
            self._run([Request("", text, ((0, 1.0),), settings)], own, {})
        return bool(self.cuts) and all(self.cuts.values())

    def _prepare_rows(self, *_: Any, **__: Any) -> Any:
        raise _Encoded


def pipeline_truncation(generator: type, checkpoints: Mapping[str, Path]) -> Truncation:
    """Return what tells which texts of a request are cut, by the class of the pipeline's generator.

    Raises:
        HarnessError: Its configuration is missing or damaged.
    """
    encodes: Any = type("Encoding", (_Encoding, generator), {})
    encoding = encodes._weightless(Loading(checkpoints))
    encoding.watch()

    @lru_cache(maxsize=4096)
    def is_cut(text: str, settings: tuple[tuple[str, Setting], ...]) -> bool:
        return bool(encoding.is_cut(text, dict(settings)))

    def truncated(request: Request[Any]) -> list[str]:
        has_negative = isinstance(request.settings.get("negative_prompt"), str)
        plain = {**request.settings, **({"negative_prompt": ""} if has_negative else {})}
        texts = {"text": (request.text, plain)}
        if has_negative:
            texts["negative_prompt"] = ("", dict(request.settings))
        return [
            name for name, (text, own) in texts.items() if is_cut(text, tuple(sorted(own.items())))
        ]

    return truncated
