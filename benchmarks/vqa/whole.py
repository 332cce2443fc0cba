"""The first word of answers by models of any family: each question with its image, by itself.

Nothing is kept between questions and no two share a pass, so that an answer's bits depend on its
image and question alone, whatever a family's processor makes of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.vqa.asking import Asked, FirstToken
from benchmarks.vqa.reader import first_token, penalised, repetition_penalty
from harness.models.vlm_loading import chat_inputs, check_finite, stack
from harness.records import Cost, Image


class WholeReader:
    """A vision-language model that transformers runs, on one device. Has state: the weights.

    Tokens are those of each question with its image; nobody counts FLOPs.
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
