"""The first word of a vision-language model's answers, and how probable it finds the right one.

An answer is one greedy token. Its probabilities are a softmax over the whole vocabulary in float32,
after the logits processors that greedy decoding has: a repetition penalty applies, what only
narrows sampling does not. An image is encoded once: its tokens fill a cache that all its questions
go on from. Every pass has one of few shapes, whatever else is waiting, so that an answer's bits
depend on its image and question alone.

Source of the protocol: `evaluation.py` of github.com/facebookresearch/GenEval2 at a6e82d2 (Kamath
et al., arXiv 2512.16853). Positions: Bai et al., "Qwen2.5-VL Technical Report", arXiv 2502.13923.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.vqa.asking import Asked, FirstToken
from harness.errors import HarnessError
from harness.models.vlm_loading import QWEN, chat_inputs, check_finite, count_weights, stack
from harness.records import Cost, Image

if TYPE_CHECKING:
    from torch import Tensor

_Item = TypeVar("_Item")

LENGTH_STEP = 32
"""What comes after the image is padded to a multiple of so many tokens."""

MAX_TOKENS = 4096
"""Of the longest question."""

_UNHEEDED = (
    "bad_words_ids", "encoder_repetition_penalty", "exponential_decay_length_penalty",
    "forced_bos_token_id", "forced_eos_token_id", "guidance_scale", "min_length", "min_new_tokens",
    "no_repeat_ngram_size", "sequence_bias", "suppress_tokens", "begin_suppress_tokens",
    "watermarking_config",
)  # fmt: skip
"""Settings of a generation config that would change the first token and are not followed here."""


@dataclass(frozen=True, slots=True)
class _Row:
    """An image with its questions as the model reads them."""

    inputs: dict[str, Tensor]  # the pixels and their grid
    prefix: list[int]  # up to the image's last token
    image_start: int
    suffixes: list[list[int]]  # what comes after the image, one a question

    @property
    def grid(self) -> tuple[int, int]:
        _, height, width = self.inputs["image_grid_thw"][0].tolist()
        return height, width


class Reader:
    """A vision-language model of the Qwen families on one device. Has state: the weights.

    It encodes `batch_size` images together and answers `questions` questions together.
    """

    def __init__(
        self, model: Any, processor: Any, *, batch_size: int = 1, questions: int = 8
    ) -> None:
        if model.config.model_type not in QWEN:
            raise HarnessError(
                f"the model is a {model.config.model_type}, expected one of {', '.join(QWEN)}",
                "only these families' images can be encoded once for all their questions",
            )
        self.model = model
        self.processor = processor
        self.batch_size = batch_size
        self.questions = questions
        self._weights = count_weights(model)
        self._penalty = repetition_penalty(model.generation_config)
        self._image_token = int(model.config.image_token_id)
        self._merge = int(model.config.vision_config.spatial_merge_size)

    def ask(
        self, images: Sequence[Image], asked: Sequence[Sequence[Asked]]
    ) -> list[tuple[list[FirstToken], Cost]]:
        """Answer the questions of each image, in order.

        Tokens are those of the image, once, and of each question. FLOPs are those of
        `harness.models.vlm_loading.Weights`, without padding.

        Raises:
            HarnessError: A question is too long or holds a token of images, or an output is not
                finite.
        """
        rows = [
            self.encode(image, [each.message for each in own])
            for image, own in zip(images, asked, strict=True)
        ]
        answers: list[list[FirstToken]] = [[FirstToken("", 0.0)] * len(each) for each in asked]
        for number, question, distribution in self.distributions(rows):
            answers[number][question] = first_token(
                self.processor.tokenizer, distribution, asked[number][question]
            )
        return [(each, self._cost(row)) for row, each in zip(rows, answers, strict=True)]

    def distributions(self, rows: Sequence[_Row]) -> Iterator[tuple[int, int, Tensor]]:
        """Run rows; yields the row, the question and the first token's distribution of each."""
        grids: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            if row.suffixes:
                grids[row.grid].append(number)
        for members in grids.values():
            for chunk in _batched(members, self.batch_size):
                cache = self._see([rows[chunk[i % len(chunk)]] for i in range(self.batch_size)])
                lengths: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
                for place, number in enumerate(chunk):
                    for question, suffix in enumerate(rows[number].suffixes):
                        length = -(-len(suffix) // LENGTH_STEP) * LENGTH_STEP
                        lengths[length].append((place, question))
                for length, pairs in lengths.items():
                    for some in _batched(pairs, self.questions):
                        full = [some[i % len(some)] for i in range(self.questions)]
                        chosen = [(rows[chunk[place]], question) for place, question in full]
                        places = [place for place, _ in full]
                        distributions = self._answer(cache, places, chosen, length)
                        for (place, question), distribution in zip(
                            some, distributions, strict=False
                        ):
                            yield chunk[place], question, distribution

    def plain(self, row: _Row, question: int) -> Tensor:
        """Return a first token's distribution from one pass over all tokens, without a cache."""
        import torch

        device = self.model.device
        tokens = torch.tensor([[*row.prefix, *row.suffixes[question]]], device=device)
        inputs = {name: value.to(device) for name, value in row.inputs.items()}
        with torch.no_grad():
            logits = self.model(
                input_ids=tokens,
                mm_token_type_ids=(tokens == self._image_token).int(),
                attention_mask=torch.ones_like(tokens),
                use_cache=False,
                **inputs,
            ).logits[:, -1]
        return self._softmax(logits.float(), [(row, question)])[0]

    def encode(self, image: Image, messages: Sequence[str]) -> _Row:
        """Return an image and messages as the model reads them."""
        from PIL import Image as Pillow

        inputs = dict(
            self.processor.image_processor(images=[Pillow.fromarray(image)], return_tensors="pt")
        )
        height, width = inputs["image_grid_thw"][0].tolist()[1:]
        count = height * width // self._merge**2
        start, suffixes, before = 0, [], [self._image_token]
        for message in messages:
            tokens = self._tokens(message)
            start = tokens.index(self._image_token)
            before, after = tokens[:start], tokens[start + 1 :]
            suffixes.append(after)
        prefix = [*before, *[self._image_token] * count]
        inputs = {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}
        return _Row(inputs, prefix, start, suffixes)

    def _tokens(self, message: str) -> list[int]:
        content = [{"type": "image"}, {"type": "text", "text": message}]
        text = self.processor.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=self.processor.chat_template,
            tokenize=False,
            add_generation_prompt=True,
        )
        tokens: list[int] = self.processor.tokenizer.encode(text, add_special_tokens=False)
        if tokens.count(self._image_token) != 1:
            raise HarnessError(
                f"the question {message[:80]!r} has a token that stands for an image in it",
                "leave it out of the prompt or question",
            )
        if len(tokens) > MAX_TOKENS:
            raise HarnessError(
                f"a question of {len(tokens)} tokens is longer than {MAX_TOKENS}",
                "ask shorter questions",
            )
        return tokens

    def _see(self, rows: Sequence[_Row]) -> Any:
        """The cache of some images of one grid."""
        import torch

        device = self.model.device
        tokens = torch.tensor([row.prefix for row in rows], device=device)
        positions = torch.stack([self._positions(row) for row in rows], dim=1).to(device)
        inputs = {
            name: torch.cat([row.inputs[name] for row in rows]).to(device)
            for name in rows[0].inputs
        }
        with torch.no_grad():
            return self.model.model(
                input_ids=tokens,
                position_ids=positions,
                mm_token_type_ids=(tokens == self._image_token).int(),
                use_cache=True,
                **inputs,
            ).past_key_values

    def _positions(self, row: _Row) -> Tensor:
        """Time, height and width of each token of a prefix, shape (3, tokens)."""
        import torch

        height, width = (side // self._merge for side in row.grid)
        text = torch.arange(row.image_start).expand(3, -1)
        cells = torch.arange(height * width)
        image = torch.stack([torch.zeros_like(cells), cells // width, cells % width])
        return torch.cat([text, image + row.image_start], dim=1)

    def _answer(
        self, cache: Any, places: list[int], chosen: Sequence[tuple[_Row, int]], length: int
    ) -> Tensor:
        """First tokens' distributions, shape (questions, vocabulary), in float32."""
        import torch
        from transformers import DynamicCache

        device = self.model.device
        suffixes = [row.suffixes[question] for row, question in chosen]
        own = DynamicCache(config=self.model.config.get_text_config())
        for number, layer in enumerate(cache.layers):
            own.update(layer.keys[places], layer.values[places], number)
        # Padding stands behind what is read, where no token that counts can see it.
        tokens = torch.zeros((len(suffixes), length), dtype=torch.long)
        for place, suffix in enumerate(suffixes):
            tokens[place, : len(suffix)] = torch.tensor(suffix)
        nexts = torch.tensor([row.image_start + max(row.grid) // self._merge for row, _ in chosen])
        positions = (nexts[:, None] + torch.arange(length)).expand(3, -1, -1)
        with torch.no_grad():
            states = self.model.model(
                input_ids=tokens.to(device),
                position_ids=positions.to(device),
                past_key_values=own,
                use_cache=True,
            ).last_hidden_state
            ends = torch.tensor([len(suffix) - 1 for suffix in suffixes], device=device)
            last = states[torch.arange(len(suffixes), device=device), ends]
            logits = self.model.get_output_embeddings()(last).float()
        return self._softmax(logits, chosen)

    def _softmax(self, logits: Tensor, chosen: Sequence[tuple[_Row, int]]) -> Tensor:
        """Return the scores after some questions as greedy decoding changes them."""
        check_finite(logits)
        for place, (row, question) in enumerate(chosen):
            read = [*row.prefix, *row.suffixes[question]]
            logits[place] = penalised(logits[place], read, self._penalty)
        distributions: Tensor = logits.softmax(-1)
        return distributions

    def _cost(self, row: _Row) -> Cost:
        read = len(row.prefix) + sum(map(len, row.suffixes))
        patches = len(row.inputs["pixel_values"])
        return Cost(flops=self._weights.flops(patches, read, len(row.suffixes)), tokens=read)


class WholeReader:
    """A vision-language model of any family on one device. Has state: the weights.

    Each question is asked with its image, by itself: nothing is kept between questions and no two
    share a pass, so that an answer's bits depend on its image and question alone, whatever a
    family's processor makes of an image. Tokens are those of each question with its image; nobody
    counts FLOPs.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model
        self.processor = processor
        self._penalty = repetition_penalty(model.generation_config)

    def ask(
        self, images: Sequence[Image], asked: Sequence[Sequence[Asked]]
    ) -> list[tuple[list[FirstToken], Cost]]:
        """Answer the questions of each image, in order.

        Raises:
            HarnessError: An output is not finite.
        """
        rows = []
        for image, questions in zip(images, asked, strict=True):
            answers = [self._answer(image, each) for each in questions]
            tokens = sum(read for _, read in answers)
            rows.append(([answer for answer, _ in answers], Cost(flops=None, tokens=tokens)))
        return rows

    def _answer(self, image: Image, asked: Asked) -> tuple[FirstToken, int]:
        import torch

        inputs = chat_inputs(self.processor, asked.message, [image])
        batch = stack([inputs], self.model.device, self.model.dtype)
        with torch.no_grad():
            logits = self.model(**batch, logits_to_keep=1, use_cache=False).logits[:, -1].float()
        check_finite(logits)
        read = batch["input_ids"][0].tolist()
        distribution = penalised(logits[0], read, self._penalty).softmax(-1)
        return first_token(self.processor.tokenizer, distribution, asked), len(read)


def first_token(tokenizer: Any, distribution: Tensor, asked: Asked) -> FirstToken:
    """Return the likeliest first token, and what the right answer's spellings have together.

    Raises:
        HarnessError: No token begins it.
    """
    tokens = [
        encoded[0]
        for spelling in asked.spellings
        if (encoded := tokenizer.encode(spelling, add_special_tokens=False))
    ]
    if asked.mended:
        tokens = [t for t in dict.fromkeys(tokens) if tokenizer.decode([t]).strip()]
    if not tokens:
        raise HarnessError(
            f"the model has no token that begins the answer {asked.spellings[0]!r}",
            "expect an answer in letters or digits",
        )
    text = tokenizer.decode(
        [int(distribution.argmax())], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return FirstToken(str(text), sum(distribution[tokens].tolist()))


def penalised(logits: Tensor, read: Sequence[int], penalty: float) -> Tensor:
    """Return the scores after some tokens as greedy decoding's repetition penalty changes them."""
    import torch
    from transformers import RepetitionPenaltyLogitsProcessor

    if penalty == 1.0:
        return logits
    tokens = torch.tensor([[*read]], device=logits.device)
    changed: Tensor = RepetitionPenaltyLogitsProcessor(penalty)(tokens, logits[None])[0]
    return changed


def _batched(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def repetition_penalty(config: Any) -> float:
    """Return the effect of greedy decoding on the scores of tokens that were read.

    Raises:
        HarnessError: The checkpoint asks for something else that changes scores.
    """
    for name in _UNHEEDED:
        if getattr(config, name, None) not in (None, 0, [], {}, 1.0):
            raise HarnessError(
                f"the checkpoint's generation_config sets {name}, which is not followed here",
                "remove it from generation_config.json",
            )
    return float(getattr(config, "repetition_penalty", None) or 1.0)
