"""A vision-language model run by vLLM in this process: the same prompts and the same reading.

vLLM keeps what it has read (prefix caching) and batches as it likes, so that an answer's bits may
hang on its neighbours, and nobody counts FLOPs. Written to vLLM's documented offline interface
(`LLM.generate`, `SamplingParams`, `TokensPrompt`) and tried against a stand-in alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from transformers import GenerationConfig

from harness.errors import BadAnswer, Failure, HarnessError, UsageError
from harness.models.checkpoints import PICKLED, require
from harness.models.devices import prepare
from harness.models.judges.vlm_settings import Asked, VLMSettings, Writer, Written
from harness.models.loading import explained, read_config
from harness.models.remote_code import is_trusted
from harness.models.vlm_loading import chat, load_processor
from harness.records import Cost, Loading

MOST_IMAGES = 4
"""Images of a question: vLLM keeps memory for as many."""


class VLLMWriter(Writer):
    """vLLM's engine."""

    def __init__(self, engine: Any, config: Any, processor: Any, settings: VLMSettings) -> None:
        super().__init__(processor, config, settings)
        self.engine = engine
        self._place: TemporaryDirectory[str] | None = None
        self._penalty = float(config.repetition_penalty or 1.0)

    @classmethod
    def load(cls, loading: Loading, settings: VLMSettings) -> Self:
        """Start the engine on the first GPU (see `Writer`)."""
        try:
            import vllm
        except ImportError as error:
            raise UsageError(
                f"vllm cannot be imported: {error}", "pip install 'inference-scaling-harness[vllm]'"
            ) from error
        if prepare(loading.device).index or loading.device.startswith("cpu"):
            raise UsageError(
                f"vLLM takes the first GPU that it sees, and the judge's device is "
                f"{loading.device}",
                "say --device cuda, and choose the GPU by CUDA_VISIBLE_DEVICES",
            )
        folder = loading.checkpoints["model"]
        processor_folder = loading.checkpoints.get("processor", folder)
        require(folder, ["config.json", "model.safetensors"])
        kind = read_config(folder, "a vision-language model").get("model_type")
        processor = load_processor(processor_folder, str(kind))
        config = GenerationConfig()
        if (folder / "generation_config.json").is_file():
            with explained(folder, "generation config"):
                config = GenerationConfig.from_pretrained(folder, local_files_only=True)
        place = TemporaryDirectory(prefix="vllm-")  # it reads from there as long as it runs
        with explained(folder, "vLLM engine"):
            engine = vllm.LLM(
                model=str(_joined(folder, processor_folder, Path(place.name))),
                dtype=loading.dtype,
                load_format="safetensors",
                trust_remote_code=is_trusted(),
                enable_prefix_caching=True,
                limit_mm_per_prompt={"image": MOST_IMAGES},
                max_num_seqs=loading.batch_size,
                gpu_memory_utilization=settings.gpu_memory_utilization or 0.5,
                seed=0,
            )
        writer = cls(engine, config, processor, settings)
        writer._place = place
        return writer

    def write(self, asked: Sequence[Asked], *, ranked: bool) -> list[Written]:
        """Answer up to a batch of questions (see `Writer`)."""
        import vllm

        prompts = [self._prompt(each) for each in asked]
        sampling = [
            vllm.SamplingParams(
                **self._sampling._asdict(),
                repetition_penalty=self._penalty,
                seed=each.seed % 2**31,
                max_tokens=self.settings.max_new_tokens,
                stop_token_ids=self._ends,
            )
            for each in asked
        ]
        outputs = self._generate(prompts, sampling)
        chances = self._chances(prompts) if ranked else [0.0] * len(prompts)
        return [
            self._written(output, chance, ranked=ranked)
            for output, chance in zip(outputs, chances, strict=True)
        ]

    def _prompt(self, asked: Asked) -> dict[str, Any]:
        if len(asked.images) > MOST_IMAGES:
            raise HarnessError(f"a question has {len(asked.images)} images, at most {MOST_IMAGES}")
        turns = chat(asked.text, asked.images)
        text = self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        tokenizer = self.processor.tokenizer
        begun = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
        prompt = {"prompt_token_ids": tokenizer.encode(text, add_special_tokens=not begun)}
        images = [part["image"] for part in turns[0]["content"] if part["type"] == "image"]
        return {**prompt, "multi_modal_data": {"image": images}} if images else prompt

    def _generate(self, prompts: Sequence[Any], sampling: Any) -> list[Any]:
        outputs = list(self.engine.generate(prompts, sampling, use_tqdm=False)) if prompts else []
        if len(outputs) != len(prompts):
            raise BadAnswer(
                Failure.WRONG_SHAPE, f"vLLM answered {len(outputs)} of {len(prompts)} questions"
            )
        return outputs

    def _chances(self, prompts: Sequence[dict[str, Any]]) -> list[float]:
        """The probability of the verdict's tokens after the stem, which vLLM reads as prompts."""
        import vllm

        words = [*self._stem, *self._verdict]
        led_on = [{**p, "prompt_token_ids": [*p["prompt_token_ids"], *words]} for p in prompts]
        sampling = vllm.SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=1)
        return [self._chance(output) for output in self._generate(led_on, sampling)]

    def _chance(self, output: Any) -> float:
        listed = (output.prompt_logprobs or [])[-len(self._verdict) :]
        values = [
            each[token].logprob
            for each, token in zip(listed, self._verdict, strict=False)
            if each and token in each
        ]
        total = sum(values)
        if len(values) != len(self._verdict) or math.isnan(total) or total > 1e-3:
            raise BadAnswer(
                Failure.BAD_NUMBER,
                "vLLM gave no probability of the verdict's tokens",
                "-J ranked=false does without",
            )
        return min(math.exp(total), 1.0)

    def _written(self, output: Any, chance: float, *, ranked: bool) -> Written:
        answer = self._answer(map(int, output.outputs[0].token_ids))
        counted = self._counted(len(output.prompt_token_ids), len(answer), ranked=ranked)
        return Written(self._decode(answer), chance, Cost(flops=None, tokens=sum(counted)))


def _joined(folder: Path, processor: Path, place: Path) -> Path:
    """Return one folder with a model and its processor, which vLLM looks for beside each other."""
    if folder == processor:
        return folder
    for source in (processor, folder):  # what both have is the model's
        for file in source.iterdir():
            is_weights = file.suffix in (".safetensors", *PICKLED) or ".index." in file.name
            if file.is_file() and (source == folder or not is_weights):
                (place / file.name).unlink(missing_ok=True)
                (place / file.name).symlink_to(file.resolve())
    return place
