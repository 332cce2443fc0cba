"""The probability, by a vision-language model, that an image shows its prompt."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from benchmarks.base import Benchmark
from benchmarks.vqa.asking import Asked, check_backend
from harness import options
from harness.errors import UsageError
from harness.records import Cost, Loading, Look, Setting

if TYPE_CHECKING:
    from benchmarks.vqa.asking import Answerer

QUESTION = 'Does this figure show "{prompt}"? Please answer yes or no.'

YES = ("Yes", "yes", " Yes", " yes")
"""Spellings of the answer; the probabilities of their different first tokens are added."""


@dataclass(frozen=True)
class VQAScoreSettings:
    """Options of the question.

    Attributes:
        question: What it is asked; "{prompt}" stands for the prompt.
    """

    question: str = QUESTION


class VQAScore:
    """VQAScore: the probability that the model begins its answer to `question` with Yes.

    Source: Lin et al., "Evaluating Text-to-Visual Generation with Image-to-Text Generation",
    arXiv 2404.01291, section 3, whose question it is. The paper's own model is CLIP-FlanT5; this
    asks any image-text-to-text model of transformers, with a softmax over the whole vocabulary;
    those of the Qwen-VL families in batches, others a question at a time.

    Checkpoints: `model`, and `processor` where tokenizer and image processor lie elsewhere.
    """

    main_part: ClassVar[str] = "model"
    checkpoints: ClassVar[Mapping[str, str]] = {"model": "Qwen/Qwen2.5-VL-7B-Instruct"}
    Settings: ClassVar[type] = VQAScoreSettings

    def __init__(self, reader: Answerer, question: str) -> None:
        self.reader = reader
        self.question = question

    @classmethod
    def check(
        cls, parts: Collection[str], settings: Mapping[str, Setting], benchmark: Benchmark
    ) -> None:
        """Refuse a question without the prompt, and vLLM.

        Raises:
            UsageError: It does not mention {prompt}, or vLLM is to be asked.
        """
        check_backend(settings)
        if "{prompt}" not in str(settings.get("question", QUESTION)):
            raise UsageError(
                "the question of 'vqa-score' does not mention {prompt}",
                "write {prompt} where it stands",
            )

    @classmethod
    def load(cls, loading: Loading) -> VQAScore:
        """Load the model (see `harness.models.base.MetricFactory`)."""
        built: Any = options.build(cls.Settings, loading.settings, flag="metric setting")
        from benchmarks.vqa.reader import Reader, WholeReader
        from harness.models.vlm_loading import QWEN, load_vlm

        model, processor = load_vlm(loading)
        if model.config.model_type not in QWEN:
            return cls(WholeReader(model, processor), built.question)
        size = loading.batch_size
        reader = Reader(model, processor, batch_size=size, questions=size)
        return cls(reader, built.question)

    def measure(self, looks: Sequence[Look]) -> list[tuple[float, Cost]]:
        """Ask whether each image shows its prompt (see `harness.models.base.Metric`)."""
        asked = [
            [Asked(self.question.replace("{prompt}", look.prompt.text), YES)] for look in looks
        ]
        answers = self.reader.ask([look.image for look in looks], asked)
        return [(first.probability, cost) for [first], cost in answers]
