"""A judge that reads: a vision-language model that looks at the image and says what is wrong.

Reflect-DiT's judge is a fine-tuned Qwen2.5-VL; any other image-text-to-text model of transformers
may take its place. transformers' own `generate` writes the answers; what is drawn at random is
drawn here, from one generator a row, so that an answer depends on its row and seed alone.

Source: Li et al., "Reflect-DiT", arXiv 2503.12271 (question, acceptance and feedback), and
Bai et al., "Qwen2.5-VL Technical Report", arXiv 2502.13923.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, PositiveInt

from benchmarks.base import Benchmark
from harness import options
from harness.errors import HarnessError, UsageError, did_you_mean
from harness.models.devices import prepare
from harness.models.dtypes import resolve_dtype
from harness.models.judges.vlm_sampler import Sampler, Sampling
from harness.models.vlm_loading import (
    Inputs,
    check_finite,
    count_weights,
    load_vlm,
    pad,
    stack,
)
from harness.records import Ability, Cost, Image, Inquiry, Loading, Prompt, Setting, Verdict

PARTS = ("model", "processor")
"""Its checkpoints; the second is left out where the first has it in its own folder."""

QUESTION = (
    "Please evaluate this generated image based on the following prompt: {prompt}. "
    "Focus on text alignment and compositionality."
)

LENGTH_STEP = 128
"""Inputs are padded to a multiple of so many tokens: one shape serves nearly all prompts."""


@dataclass(frozen=True)
class VLMSettings:
    """The wording of the question, and how the answer is drawn and read.

    Attributes:
        question: What it is asked; "{prompt}" stands for the prompt.
        accepts: An answer that contains this accepts the image.
        stem: The words that the score's forward pass puts into the model's mouth ...
        verdict: ... and the next ones, whose probability is the score. Their leading space is
            part of the token in most vocabularies.
        ranked: Whether images are scored at all; without, half of the looking is saved, and all
            accepted images rank alike, as do all rejected ones.
        max_new_tokens: Tokens of the longest answer.
        temperature: Of sampling; 0 takes the likeliest token. By default the checkpoint's own
            (`generation_config.json`), as for `top_p` and `top_k`.
        top_p: Sample among the likeliest tokens that together have this probability.
        top_k: Sample among so many of the likeliest tokens.
        feedback: Which part of a rejecting answer becomes the feedback (`feedback`).
            "last-sentence": its last sentence. "published": what follows its last full stop, as
            the official script has it, which is nothing where an answer ends in one.
    """

    question: str = QUESTION
    accepts: Annotated[str, Field(min_length=1)] = "is correct"
    stem: str = "The image is"
    verdict: Annotated[str, Field(min_length=1)] = " correct"
    ranked: bool = True
    max_new_tokens: Annotated[int, Field(gt=0, le=65536)] = 128
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: PositiveInt | None = None
    feedback: Literal["last-sentence", "published"] = "last-sentence"


class _Row(NamedTuple):
    inputs: Inputs  # of this row alone, unpadded
    seed: int


class VLMJudge:
    """A vision-language model on one device. Has state: the weights."""

    oracle: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.FEEDBACK, Ability.REPLY})
    main_part: ClassVar[str] = "model"
    Settings: ClassVar[type] = VLMSettings

    def __init__(
        self, model: Any, processor: Any, *, batch_size: int, settings: VLMSettings
    ) -> None:
        self.model = model
        self.processor = processor
        self.batch_size = batch_size
        self.settings = settings
        self._sampling, self._ends = self._take_over(model.generation_config)
        self._verdict = self._tokens(settings.verdict)
        self._stem = self._tokens(settings.stem)
        self._weights = count_weights(model)
        if not self._verdict:
            raise UsageError(f"the judge's verdict {settings.verdict!r} has no token")

    @classmethod
    def check(
        cls, parts: Collection[str], settings: Mapping[str, Setting], benchmark: Benchmark
    ) -> None:
        """Look at settings and parts (see `harness.models.base.JudgeFactory`).

        Raises:
            UsageError: An unknown setting, a value that it does not take, or no model.
        """
        built = options.build(VLMSettings, settings, flag="judge setting")
        if "{prompt}" not in built.question:
            raise UsageError(
                "the judge's question does not mention {prompt}", "write {prompt} where it stands"
            )
        if cls.main_part not in parts:
            raise UsageError(
                "the judge 'vlm' needs a checkpoint named 'model'",
                "name the checkpoint, such as --judge vlm=Qwen/Qwen2.5-VL-3B-Instruct, or in the "
                "suite's file",
            )
        for part in parts:
            if part not in PARTS:
                raise UsageError(f"the judge 'vlm' has no part '{part}'", did_you_mean(part, PARTS))

    @classmethod
    def load(cls, loading: Loading, benchmark: Benchmark) -> VLMJudge:
        """Load it (see `harness.models.base.JudgeFactory`).

        Args:
            loading: The checkpoint `model` is any image-text-to-text model of transformers;
                `processor` the folder of its tokenizer, chat template and image processor, if
                not the same. The settings are `VLMSettings`.
            benchmark: What the images are made for; it does not matter here.

        Raises:
            UsageError: An unknown setting, no such device, or a checkpoint too few.
            HarnessError: A checkpoint is missing, damaged or of another kind of model.
        """
        cls.check(loading.checkpoints, loading.settings, benchmark)
        built = options.build(VLMSettings, loading.settings, flag="judge setting")
        place = prepare(loading.device)
        folder = loading.checkpoints["model"]
        dtype = resolve_dtype(loading.dtype, loading.device)
        model, processor = load_vlm(folder, loading.checkpoints.get("processor", folder), dtype)
        return cls(model.to(place), processor, batch_size=loading.batch_size, settings=built)

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        """Ask of each image whether it shows its prompt (see `harness.models.base.Judge`).

        The score is (accepted + p) / 2, so that what is accepted ranks above what is not. p is
        the probability, between 0 and 1, that the model goes on with `verdict` (" correct") once
        it has begun its answer with `stem` ("The image is"): the product of the next-token
        probabilities of `verdict`, at temperature 1, from one forward pass.

        Tokens are what the model read (once for the answer and once for the score) and wrote.
        FLOPs are two per weight and token, of the language model for each token read or written
        and of the vision model for each patch (Kaplan et al., arXiv 2001.08361, section 2.1);
        attention's own products, a few percent, are left out, as is all padding.

        Raises:
            HarnessError: More images than the batch size, or an output that is not finite.
        """
        if len(prompts) > self.batch_size:
            raise HarnessError(f"{len(prompts)} images for a batch size of {self.batch_size}")
        rows = [
            _Row(self._ask(prompt.text, image), seed)
            for prompt, image, seed in zip(prompts, images, seeds, strict=True)
        ]
        answers = self._in_shapes(rows, self._write)
        chances = (
            self._in_shapes([self._led_on(row) for row in rows], self._chance)
            if self.settings.ranked
            else [0.0] * len(rows)
        )
        return [
            (
                self._read(self._decode(answer), chance),
                self._cost(row, len(answer), ranked=self.settings.ranked),
            )
            for row, answer, chance in zip(rows, answers, chances, strict=True)
        ]

    def reply(self, inquiries: Sequence[Inquiry]) -> list[tuple[str, Cost]]:
        """Answer questions in words (see `harness.models.base.Replying`).

        Raises:
            HarnessError: More questions than the batch size, or an output that is not finite.
        """
        if len(inquiries) > self.batch_size:
            raise HarnessError(f"{len(inquiries)} questions for a batch size of {self.batch_size}")
        rows = [_Row(self._inputs(each.text, each.images), each.seed) for each in inquiries]
        return [
            (self._decode(answer).strip(), self._cost(row, len(answer), ranked=False))
            for row, answer in zip(rows, self._in_shapes(rows, self._write), strict=True)
        ]

    def _ask(self, prompt: str, image: Image) -> Inputs:
        return self._inputs(self.settings.question.replace("{prompt}", prompt), [image])

    def _inputs(self, text: str, images: Sequence[Image]) -> Inputs:
        from PIL import Image as Pillow

        content: list[dict[str, Any]] = [
            *({"type": "image", "image": Pillow.fromarray(image)} for image in images),
            {"type": "text", "text": text},
        ]
        inputs = self.processor.apply_chat_template(
            [[{"role": "user", "content": content}]],
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

    def _take_over(self, config: Any) -> tuple[Sampling, list[int]]:
        """Return how to draw, and what ends an answer; from the options, else from the checkpoint.

        The model's own config is left to decode greedily, so that it has nothing to warn of.
        """
        values = {}
        for name, default in Sampling()._asdict().items():
            given = [getattr(source, name, None) for source in (self.settings, config)]
            values[name] = next((value for value in given if value is not None), default)
            setattr(config, name, None)
        config.do_sample = False
        ends = config.eos_token_id
        ends = self.processor.tokenizer.eos_token_id if ends is None else ends
        return Sampling(**values), ends if isinstance(ends, list) else [ends]

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

    def _read(self, answer: str, chance: float) -> Verdict:
        accepted = self.settings.accepts in answer
        score = (accepted + min(chance, 1 - 2**-20)) / 2
        rule = self.settings.feedback
        return Verdict(accepted, score, "" if accepted else feedback(answer, rule))

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


def feedback(answer: str, rule: Literal["last-sentence", "published"] = "last-sentence") -> str:
    """Return what a rejecting answer says is wrong: its last sentence, without its full stop.

    "The image is not correct. There is no knife in image" and the same with a full stop at its
    end both give "There is no knife in image". Reflect-DiT's script takes the last piece between
    full stops (arXiv 2503.12271, official inference code), which for the second answer is "".
    """
    pieces = [piece.strip() for piece in answer.split(".")]
    if rule == "published":
        return pieces[-1]
    return next((piece for piece in reversed(pieces) if piece), "")
