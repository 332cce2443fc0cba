"""A vision-language model run by transformers: its own `generate` writes the answers.

What is drawn at random is drawn here, from one generator a row, and every batch has one of few
shapes, so that an answer depends on its row and seed alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from harness.errors import UsageError
from harness.models.devices import prepare
from harness.models.dtypes import resolve_dtype
from harness.models.judges.vlm_sampler import Sampler
from harness.models.judges.vlm_settings import Asked, VLMSettings, Written, messages, sampling_of
from harness.models.vlm_loading import (
    Inputs,
    check_finite,
    count_weights,
    load_vlm,
    pad,
    stack,
)
from harness.records import Cost, Loading

LENGTH_STEP = 128
"""Inputs are padded to a multiple of so many tokens: one shape serves nearly all prompts."""


class _Row(NamedTuple):
    inputs: Inputs  # of this row alone, unpadded
    seed: int


class TransformersWriter:
    """A model on one device (see `harness.models.judges.vlm_settings.Writer`). Has state: weights.

    Tokens are what the model read (once for the answer and once for the score) and wrote. FLOPs are
    two per weight and token, of the language model for each token read or written and of the vision
    model for each patch (Kaplan et al., arXiv 2001.08361, section 2.1); attention's own products, a
    few percent, are left out, as is all padding.
    """

    def __init__(
        self, model: Any, processor: Any, *, batch_size: int, settings: VLMSettings
    ) -> None:
        self.model = model
        self.processor = processor
        self.batch_size = batch_size
        self.settings = settings
        config = model.generation_config
        self._sampling, self._ends = sampling_of(settings, config, processor.tokenizer)
        for name in self._sampling._fields:  # it decodes greedily, and has nothing to warn of
            setattr(config, name, None)
        config.do_sample = False
        self._verdict = self._tokens(settings.verdict)
        self._stem = self._tokens(settings.stem)
        self._weights = count_weights(model)
        if not self._verdict:
            raise UsageError(f"the judge's verdict {settings.verdict!r} has no token")

    @classmethod
    def load(cls, loading: Loading, processor_folder: Path, settings: VLMSettings) -> Self:
        """Load it onto a device.

        Raises:
            UsageError: No such device, or a verdict without a token.
            HarnessError: A checkpoint is missing, damaged or of another kind of model.
        """
        place = prepare(loading.device)
        dtype = resolve_dtype(loading.dtype, loading.device)
        model, processor = load_vlm(loading.checkpoints["model"], processor_folder, dtype)
        return cls(model.to(place), processor, batch_size=loading.batch_size, settings=settings)

    def write(self, asked: Sequence[Asked], *, ranked: bool) -> list[Written]:
        """Answer up to a batch of questions (see `harness.models.judges.vlm_settings.Writer`)."""
        rows = [_Row(self._inputs(each), each.seed) for each in asked]
        answers = self._in_shapes(rows, self._write)
        chances = [0.0] * len(rows)
        if ranked:
            chances = self._in_shapes([self._led_on(row) for row in rows], self._chance)
        return [
            Written(self._decode(answer), chance, self._cost(row, len(answer), ranked=ranked))
            for row, answer, chance in zip(rows, answers, chances, strict=True)
        ]

    def _inputs(self, asked: Asked) -> Inputs:
        inputs = self.processor.apply_chat_template(
            [messages(asked)],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        return dict(inputs)

    def _in_shapes(self, rows: Sequence[_Row], run: Any) -> list[Any]:
        """Run rows of one shape together, each shape at the full batch size.

        A row's padded length is a function of the row alone. There is always some padding: with
        none in the whole batch transformers would leave out the mask and take another kernel.
        """
        groups: defaultdict[Any, list[int]] = defaultdict(list)
        lengths = []
        for number, row in enumerate(rows):
            own = row.inputs["input_ids"].shape[1]
            lengths.append((own // LENGTH_STEP + 1) * LENGTH_STEP)
            others = sorted(
                (name, tuple(value.shape))
                for name, value in row.inputs.items()
                if value.shape[:2] != (1, own)
            )
            grid = row.inputs.get("image_grid_thw")
            groups[lengths[-1], str(others), str(grid)].append(number)
        results: dict[int, Any] = {}
        for members in groups.values():
            chosen = [rows[members[i % len(members)]] for i in range(self.batch_size)]
            padded = [
                pad(row.inputs, lengths[members[0]], self.processor.tokenizer.pad_token_id)
                for row in chosen
            ]
            batch = stack(padded, self.model.device, self.model.dtype)
            made = run(batch, [row.seed for row in chosen])
            results.update(zip(members, made, strict=False))
        return [results[number] for number in range(len(rows))]

    def _write(self, batch: Inputs, seeds: Sequence[int]) -> list[list[int]]:
        """The tokens of each row's answer, without what ends it."""
        import torch
        from transformers import LogitsProcessorList

        with torch.no_grad():
            written = self.model.generate(
                **batch,
                do_sample=False,  # the processor below has drawn by then
                max_new_tokens=self.settings.max_new_tokens,
                eos_token_id=self._ends,
                pad_token_id=self.processor.tokenizer.pad_token_id,
                logits_processor=LogitsProcessorList([Sampler(self._sampling, seeds)]),
            )[:, batch["input_ids"].shape[1] :].tolist()
        return [
            row[: next((i for i, token in enumerate(row) if token in self._ends), len(row))]
            for row in written
        ]

    def _led_on(self, row: _Row) -> _Row:
        """The row with the stem and the verdict for the beginning of its answer."""
        import torch

        own = row.inputs["input_ids"].shape[1]
        words = [*self._stem, *self._verdict]
        further = dict(row.inputs)
        for name, value in row.inputs.items():
            if value.shape[:2] == (1, own):
                tail = value.new_full((1, len(words)), 1 if name == "attention_mask" else 0)
                if name == "input_ids":
                    tail = torch.tensor([words], dtype=value.dtype)
                further[name] = torch.cat([value, tail], dim=1)
        return row._replace(inputs=further)

    def _chance(self, batch: Inputs, seeds: Sequence[int]) -> list[float]:
        """The probability of the verdict's tokens, the last ones of each row."""
        import torch

        number = len(self._verdict)
        with torch.no_grad():
            logits = self.model(**batch, logits_to_keep=number + 1, use_cache=False).logits
        check_finite(logits)
        tokens = torch.tensor(self._verdict, device=logits.device).expand(len(logits), -1)
        chances = logits[:, -number - 1 : -1].float().log_softmax(-1)
        total = chances.gather(-1, tokens[..., None]).sum((1, 2))
        probabilities: list[float] = total.exp().tolist()
        return probabilities

    def _cost(self, row: _Row, written: int, *, ranked: bool) -> Cost:
        wrote = min(written + 1, self.settings.max_new_tokens)  # what ends an answer is a token
        read = row.inputs["input_ids"].numel() * (1 + ranked)
        predicted = wrote
        if ranked:
            read += len(self._stem) + len(self._verdict)
            predicted += len(self._verdict) + 1
        seeing, language, head = self._weights
        patches = self._patches(row.inputs) * (1 + ranked)
        flops = 2.0 * (seeing * patches + language * (read + wrote) + head * predicted)
        return Cost(flops=flops, tokens=read + wrote)

    def _patches(self, inputs: Inputs) -> int:
        if "image_grid_thw" in inputs:
            return int(inputs["image_grid_thw"].prod(dim=-1).sum())
        config = self.model.config
        token = getattr(config, "image_token_id", getattr(config, "image_token_index", None))
        return int((inputs["input_ids"] == token).sum()) if token is not None else 0

    def _tokens(self, words: str) -> list[int]:
        tokens: list[int] = self.processor.tokenizer.encode(words, add_special_tokens=False)
        return tokens

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self.processor.tokenizer.decode(tokens, skip_special_tokens=True))
