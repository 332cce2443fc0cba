"""Agreement of text and image by the cosine of two towers: CLIPScore, SigLIP, PickScore, HPS."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field

from benchmarks.base import Benchmark
from harness import options
from harness.errors import HarnessError, UsageError
from harness.records import Cost, Loading, Look, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from harness.models.metrics.two_towers import Towers


class Agreement:
    """The base of metrics of two towers. Has state: the weights.

    Checkpoints: `model`, and `processor` where tokenizer and image settings lie elsewhere.
    """

    main_part: ClassVar[str] = "model"
    checkpoints: ClassVar[Mapping[str, str]]
    Settings: ClassVar[type] = options.NoSettings

    def __init__(self, towers: Towers, settings: Any) -> None:
        self.towers = towers
        self.settings = settings

    @classmethod
    def load(cls, loading: Loading) -> Self:
        """Load it (see `harness.models.base.MetricFactory`)."""
        built: Any = options.build(cls.Settings, loading.settings, flag="metric setting")
        return cls(cls._load_towers(loading), built)

    @classmethod
    def _load_towers(cls, loading: Loading) -> Towers:
        from harness.models.metrics.two_towers import TwoTowers

        return TwoTowers.load(loading)

    def measure(self, looks: Sequence[Look]) -> list[tuple[float, Cost]]:
        """Measure how well each image agrees with its prompt (see `harness.models.base.Metric`)."""
        images = self.towers.images([look.image for look in looks])
        texts = self.towers.texts([self._text(look.prompt.text) for look in looks])
        values = self._values((images * texts).sum(dim=-1)).tolist()
        cost = Cost(flops=self.towers.image_flops + self.towers.text_flops)
        return [(value, cost) for value in values]

    def _text(self, prompt: str) -> str:
        return prompt

    def _values(self, cosines: Tensor) -> Tensor:
        """From cosines, float32 (n,), to the metric's values: by default these themselves."""
        return cosines


@dataclass(frozen=True)
class ClipSettings:
    """Options of CLIPScore.

    Attributes:
        weight: What cosines are multiplied by. The paper has 2.5, torchmetrics 100.
        prefix: What stands before the prompt. The paper has "A photo depicts ".
    """

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    prefix: str = ""


class ClipScore(Agreement):
    """CLIPScore: weight * max(cos(image, text), 0), of CLIP ViT-L/14 unless said otherwise.

    Source: Hessel et al., "CLIPScore: A Reference-free Evaluation Metric for Image Captioning",
    arXiv 2104.08718, section 3. CLIP reads the first 77 tokens of a text.
    """

    checkpoints: ClassVar[Mapping[str, str]] = {"model": "openai/clip-vit-large-patch14"}
    Settings: ClassVar[type] = ClipSettings

    def _text(self, prompt: str) -> str:
        return f"{self.settings.prefix}{prompt}"

    def _values(self, cosines: Tensor) -> Tensor:
        scores: Tensor = self.settings.weight * cosines.clamp(min=0)
        return scores


class SiglipScore(Agreement):
    """SigLIP's probability that text and image belong together: sigmoid(exp(s) * cos + b).

    s and b are the checkpoint's learned scale and bias. Source: Zhai et al., "Sigmoid Loss for
    Language Image Pre-Training", arXiv 2303.15343, section 3.2. SigLIP reads 64 tokens of a text.
    """

    checkpoints: ClassVar[Mapping[str, str]] = {"model": "google/siglip-so400m-patch14-384"}

    @classmethod
    def _load_towers(cls, loading: Loading) -> Towers:
        towers = super()._load_towers(loading)
        if towers.model.config.model_type != "siglip":
            raise HarnessError(
                f"{loading.checkpoints['model']} is no SigLIP, and has no bias for siglip-score",
                "name a SigLIP checkpoint, or measure by clip-score",
            )
        return towers

    def _values(self, cosines: Tensor) -> Tensor:
        model = self.towers.model
        scale, bias = (value.float().cpu() for value in (model.logit_scale, model.logit_bias))
        chances: Tensor = (scale.exp() * cosines + bias).sigmoid()
        return chances


class PickScore(Agreement):
    """PickScore: exp(s) * cos(image, text), of a CLIP-H fine-tuned on people's choices.

    s is the checkpoint's learned scale. Its difference between two images is the logit of the
    chance that people prefer the one. Source: Kirstain et al., "Pick-a-Pic: An Open Dataset of
    User Preferences for Text-to-Image Generation", arXiv 2305.01569, section 3.
    """

    checkpoints: ClassVar[Mapping[str, str]] = {
        "model": "yuvalkirstain/PickScore_v1",
        "processor": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    }

    def _values(self, cosines: Tensor) -> Tensor:
        logits: Tensor = self.towers.model.logit_scale.float().cpu().exp() * cosines
        return logits


class HPS(Agreement):
    """HPS v2.1: cos(image, text), of a CLIP ViT-H/14 fine-tuned on people's choices (HPD v2).

    As the public code has it (github.com/tgxs002/HPSv2, `hpsv2/img_score.py`): without the learned
    scale, images scaled by their longer side and padded with black to a square, in half precision
    by autocasting on a GPU. Source: Wu et al., "Human Preference Score v2", arXiv 2306.09341,
    section 4. CLIP reads the first 77 tokens of a text.

    Checkpoint: `model`, a folder with open_clip's weights in `model.safetensors`.
    """

    architecture: ClassVar[str] = "ViT-H-14"
    checkpoints: ClassVar[Mapping[str, str]] = {"model": "xswu/HPSv2"}
    convert: ClassVar[str] = (
        "the published checkpoint is pickled; safetensors.torch.save_file(torch.load("
        "'HPS_v2.1_compressed.pt', weights_only=True)['state_dict'], 'FOLDER/model.safetensors') "
        "makes a folder of it: say hps-v2.1=FOLDER, or call it $HARNESS_CHECKPOINTS/HPSv2"
    )

    @classmethod
    def check(
        cls, parts: Collection[str], settings: Mapping[str, Setting], benchmark: Benchmark
    ) -> None:
        """Refuse to run without open_clip, and parts that there is no use for."""
        if find_spec("open_clip") is None:
            raise UsageError(
                "the metric 'hps-v2.1' needs open_clip, which is not installed",
                "pip install 'inference-scaling-harness[open-clip]'",
            )
        if strange := {*parts} - {cls.main_part}:
            raise UsageError(f"the metric 'hps-v2.1' has no part '{min(strange)}'", "leave it out")

    @classmethod
    def _load_towers(cls, loading: Loading) -> Towers:
        from harness.models.metrics.open_clip_towers import OpenClipTowers

        return OpenClipTowers.load(loading, cls.architecture, cls.convert)
