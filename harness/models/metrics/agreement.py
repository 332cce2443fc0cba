"""Agreement of a text with an image by the cosine of two towers: CLIPScore, SigLIP, PickScore."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field

from harness import options
from harness.records import Cost, Loading, Look

if TYPE_CHECKING:
    from torch import Tensor

    from harness.models.metrics.two_towers import TwoTowers


@dataclass(frozen=True)
class NoSettings:
    """A metric without options."""


class Agreement:
    """The base of metrics of two towers. Has state: the weights.

    Checkpoints: `model`, and `processor` where tokenizer and image settings lie elsewhere.
    """

    main_part: ClassVar[str] = "model"
    checkpoints: ClassVar[Mapping[str, str]]
    Settings: ClassVar[type] = NoSettings

    def __init__(self, towers: TwoTowers, settings: Any) -> None:
        self.towers = towers
        self.settings = settings

    @classmethod
    def load(cls, loading: Loading) -> Self:
        """Load it (see `harness.models.base.MetricFactory`)."""
        built: Any = options.build(cls.Settings, loading.settings, flag="metric setting")
        from harness.models.metrics.two_towers import TwoTowers

        return cls(TwoTowers.load(loading), built)

    def measure(self, looks: Sequence[Look]) -> list[tuple[float, Cost]]:
        """Measure how well each image agrees with its prompt (see `harness.models.base.Metric`)."""
        images = self.towers.images([look.image for look in looks])
        texts = self.towers.texts([self._text(look.prompt.text) for look in looks])
        values = self._values((images * texts).sum(dim=-1)).tolist()
        cost = Cost(flops=self.towers.image_flops + self.towers.text_flops)
        return [(value, cost) for value in values]

    def _text(self, prompt: str) -> str:
        return prompt

    @abstractmethod
    def _values(self, cosines: Tensor) -> Tensor:
        """From cosines, float32 (n,), to the metric's values."""


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
