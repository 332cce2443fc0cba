"""A judge that reads: a vision-language model that looks at the image and says what is wrong.

Reflect-DiT's judge is a fine-tuned Qwen2.5-VL; any other image-text-to-text model of transformers
may take its place. What it is asked and how its answers are read is here; who runs the model is
`vlm_transformers` or, where that is asked for, `vlm_vllm`.

Source: Li et al., "Reflect-DiT", arXiv 2503.12271 (question, acceptance and feedback), and
Bai et al., "Qwen2.5-VL Technical Report", arXiv 2502.13923.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from typing import ClassVar, Literal

from benchmarks.base import Benchmark
from harness import options
from harness.errors import HarnessError, UsageError, did_you_mean
from harness.models.judges.vlm_settings import Asked, VLMSettings, Writer
from harness.records import Ability, Cost, Image, Inquiry, Loading, Prompt, Setting, Verdict

PARTS = ("model", "processor")
"""Its checkpoints; the second is left out where the first has it in its own folder."""


class VLMJudge:
    """A vision-language model that is asked about images. Has state: its writer's."""

    oracle: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.FEEDBACK, Ability.REPLY})
    main_part: ClassVar[str] = "model"
    Settings: ClassVar[type] = VLMSettings

    def __init__(self, writer: Writer, *, batch_size: int, settings: VLMSettings) -> None:
        self.writer = writer
        self.batch_size = batch_size
        self.settings = settings

    @classmethod
    def check(
        cls, parts: Collection[str], settings: Mapping[str, Setting], benchmark: Benchmark
    ) -> None:
        """Look at settings and parts (see `harness.models.base.JudgeFactory`)."""
        built = options.build(VLMSettings, settings, flag="judge setting")
        if built.backend == "vllm" and find_spec("vllm") is None:
            raise UsageError(
                "the judge's backend is to be vllm, which is not installed",
                "pip install 'inference-scaling-harness[vllm]' on a machine with a GPU, or leave "
                "-J backend=vllm out",
            )
        if built.backend != "vllm" and built.gpu_memory_utilization is not None:
            raise UsageError(
                f"gpu_memory_utilization is vLLM's, and the judge's backend is {built.backend}",
                "leave it out, or add -J backend=vllm",
            )
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
        """
        from harness.models.judges import vlm_transformers, vlm_vllm

        cls.check(loading.checkpoints, loading.settings, benchmark)
        settings = options.build(VLMSettings, loading.settings, flag="judge setting")
        writers: dict[str, type[Writer]] = {
            "transformers": vlm_transformers.TransformersWriter,
            "vllm": vlm_vllm.VLLMWriter,
        }
        writer = writers[settings.backend].load(loading, settings)
        return cls(writer, batch_size=loading.batch_size, settings=settings)

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        """Ask of each image whether it shows its prompt (see `harness.models.base.Judge`).

        The score is (accepted + p) / 2, so that what is accepted ranks above what is not. p is
        the probability, between 0 and 1, that the model goes on with `verdict` (" correct") once
        it has begun its answer with `stem` ("The image is"): the product of the next-token
        probabilities of `verdict`, at temperature 1, from one forward pass.

        Raises:
            HarnessError: More images than the batch size, or an output that is not finite.
        """
        if len(prompts) > self.batch_size:
            raise HarnessError(f"{len(prompts)} images for a batch size of {self.batch_size}")
        asked = [
            Asked(self.settings.question.replace("{prompt}", prompt.text), (image,), seed)
            for prompt, image, seed in zip(prompts, images, seeds, strict=True)
        ]
        written = self.writer.write(asked, ranked=self.settings.ranked)
        return [(self._read(each.text, each.chance), each.cost) for each in written]

    def reply(self, inquiries: Sequence[Inquiry]) -> list[tuple[str, Cost]]:
        """Answer questions in words (see `harness.models.base.Replying`).

        Raises:
            HarnessError: More questions than the batch size, or an output that is not finite.
        """
        if len(inquiries) > self.batch_size:
            raise HarnessError(f"{len(inquiries)} questions for a batch size of {self.batch_size}")
        asked = [Asked(each.text, each.images, each.seed) for each in inquiries]
        written = self.writer.write(asked, ranked=False)
        return [(each.text.strip(), each.cost) for each in written]

    def _read(self, answer: str, chance: float) -> Verdict:
        accepted = self.settings.accepts in answer
        score = (accepted + min(chance, 1 - 2**-20)) / 2
        rule = self.settings.feedback
        return Verdict(accepted, score, "" if accepted else feedback(answer, rule))


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
