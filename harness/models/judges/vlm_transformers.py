"""A vision-language model run by transformers: its own `generate` writes the answers.

What is drawn at random is drawn here, from one generator a row, and every batch has one of few
shapes, so that an answer depends on its row and seed alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from transformers import LogitsProcessorList

from harness.models.judges.vlm_settings import Asked, Sampling, VLMSettings, Writer, Written
from harness.models.vlm_loading import (
    Inputs,
    chat_inputs,
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


class TransformersWriter(Writer):
    """A model on one device.

    FLOPs are those of `harness.models.vlm_loading.Weights`, without padding.
    """

    def __init__(
        self, model: Any, processor: Any, *, batch_size: int, settings: VLMSettings
    ) -> None:
        config = model.generation_config
        super().__init__(processor, config, settings)
        self.model = model
        self.batch_size = batch_size
        for name in self._sampling._fields:  # it decodes greedily, and has nothing to warn of
            setattr(config, name, None)
        config.do_sample = False
        self._weights = count_weights(model)

    @classmethod
    def load(cls, loading: Loading, settings: VLMSettings) -> Self:
        """Load it onto a device (see `Writer`)."""
        model, processor = load_vlm(loading)
        return cls(model, processor, batch_size=loading.batch_size, settings=settings)

    def write(self, asked: Sequence[Asked], *, ranked: bool) -> list[Written]:
        """Answer up to a batch of questions (see `Writer`)."""
        rows = [
            _Row(chat_inputs(self.processor, each.text, each.images), each.seed) for each in asked
        ]
        answers = self._in_shapes(rows, self._write)
        chances = [0.0] * len(rows)
        if ranked:
            chances = self._in_shapes([self._led_on(row) for row in rows], self._chance)
        return [
            Written(self._decode(answer), chance, self._cost(row, len(answer), ranked=ranked))
            for row, answer, chance in zip(rows, answers, chances, strict=True)
        ]

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
        with torch.no_grad():
            written = self.model.generate(
                **batch,
                do_sample=False,  # the processor below has drawn by then
                max_new_tokens=self.settings.max_new_tokens,
                eos_token_id=self._ends,
                pad_token_id=self.processor.tokenizer.pad_token_id,
                logits_processor=LogitsProcessorList([Sampler(self._sampling, seeds)]),
            )[:, batch["input_ids"].shape[1] :].tolist()
        return [self._answer(row) for row in written]

    def _led_on(self, row: _Row) -> _Row:
        """The row with the stem and the verdict for the beginning of its answer."""
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
        number = len(self._verdict)
        with torch.no_grad():
            logits = self.model(**batch, logits_to_keep=number + 1, use_cache=False).logits
        check_finite(logits)
        tokens = torch.tensor(self._verdict, device=logits.device).expand(len(logits), -1)
        chances = logits[:, -number - 1 : -1].float().log_softmax(-1)
        total = chances.gather(-1, tokens[..., None]).sum((1, 2))
        probabilities: list[float] = total.exp().tolist()
        return probabilities

    def _cost(self, row: _Row, answer: int, *, ranked: bool) -> Cost:
        read, wrote = self._counted(row.inputs["input_ids"].numel(), answer, ranked=ranked)
        predicted = wrote + (len(self._verdict) + 1) * ranked
        patches = self._patches(row.inputs) * (1 + ranked)
        flops = self._weights.flops(patches, read + wrote, predicted)
        return Cost(flops=flops, tokens=read + wrote)

    def _patches(self, inputs: Inputs) -> int:
        if "image_grid_thw" in inputs:
            return int(inputs["image_grid_thw"].prod(dim=-1).sum())
        config = self.model.config
        token = getattr(config, "image_token_id", getattr(config, "image_token_index", None))
        return int((inputs["input_ids"] == token).sum()) if token is not None else 0


class Sampler:
    """A logits processor that draws each row's next token from the row's own generator.

    transformers' own sampling draws a whole batch from one global generator; what narrows the
    distribution first is transformers' own. The drawn token is left as the only possible one, so
    that greedy decoding takes it. The generators draw on the CPU: equal seeds give equal noise on
    every device.

    Args:
        sampling: How to draw.
        seeds: One a row.
    """

    def __init__(self, sampling: Sampling, seeds: Sequence[int]) -> None:
        self._warpers = sampling.warpers() if sampling.temperature > 0 else None
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Draw, by the race of exponentials: argmin of e / p is distributed as p."""
        check_finite(scores)
        scores = scores.float()
        if self._warpers is not None:
            for warper in self._warpers:
                scores = warper(input_ids, scores)
            size = scores.shape[-1]
            races = [torch.empty(size).exponential_(generator=own) for own in self._generators]
            scores = scores.log_softmax(-1) - torch.stack(races).to(scores.device).log()
        drawn = scores.argmax(-1, keepdim=True)
        return torch.full_like(scores, float("-inf")).scatter(1, drawn, 0.0)
