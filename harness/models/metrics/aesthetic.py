"""The look of an image as people rate it, whatever it shows: LAION's predictors over CLIP."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from harness import options
from harness.errors import HarnessError, shortened
from harness.models.checkpoints import require
from harness.models.loading import read_weights
from harness.records import Cost, Loading, Look

if TYPE_CHECKING:
    from torch import Tensor

    from harness.models.metrics.two_towers import TwoTowers

Layers = Sequence[tuple["Tensor", "Tensor"]]
"""Weight (out, in) and bias (out,) of each linear layer."""

_NAME = re.compile(r"(?:layers\.(?P<number>\d{1,3})\.)?(?P<what>weight|bias)")

CONVERT = (
    "the published heads are pickled; safetensors.torch.save_file(torch.load(FILE, "
    "weights_only=True), 'FOLDER/model.safetensors') makes such a folder of one"
)


class Aesthetic:
    """LAION's aesthetic predictor: linear layers over CLIP ViT-L/14's image embedding of length 1.

    Ratings of about 1 to 10. The head is either the one linear layer of version 1
    (github.com/LAION-AI/aesthetic-predictor) or the five of the improved predictor, which has no
    activations between them (github.com/christophschuhmann/improved-aesthetic-predictor,
    `sac+logos+ava1-l14-linearMSE`). Source: Schuhmann et al., "LAION-5B", arXiv 2210.08402,
    section 4 and appendix B.1. The prompt plays no part.

    Checkpoints: `head`, a folder with the layers in `model.safetensors`, and `model`, the CLIP.
    """

    main_part: ClassVar[str] = "head"
    checkpoints: ClassVar[Mapping[str, str]] = {"model": "openai/clip-vit-large-patch14"}
    Settings: ClassVar[type] = options.NoSettings

    def __init__(self, towers: TwoTowers, head: Layers) -> None:
        self.towers = towers
        self.head = head

    @classmethod
    def load(cls, loading: Loading) -> Self:
        """Load it (see `harness.models.base.MetricFactory`)."""
        options.build(cls.Settings, loading.settings, flag="metric setting")
        from harness.models.metrics.two_towers import TwoTowers

        towers = TwoTowers.load(loading)
        return cls(towers, read_head(loading.checkpoints["head"], towers.width))

    def measure(self, looks: Sequence[Look]) -> list[tuple[float, Cost]]:
        """Rate each image (see `harness.models.base.Metric`)."""
        size = sum(2.0 * weight.numel() for weight, _ in self.head)
        cost = Cost(flops=self.towers.image_flops + size)
        images = self.towers.images([look.image for look in looks])
        return [(self._rate(image), cost) for image in images]

    def _rate(self, row: Tensor) -> float:
        for weight, bias in self.head:
            row = weight @ row + bias
        return float(row)


def read_head(folder: Path, width: int) -> Layers:
    """Read the linear layers of a predictor, in order.

    Args:
        folder: With `model.safetensors`: `weight` and `bias`, or `layers.N.weight` and so on.
        width: Of the embedding that they are applied to.

    Raises:
        HarnessError: The file is missing or damaged, or its layers do not lead from an embedding
            to one number.
    """
    require(folder, ["model.safetensors"], CONVERT)
    stored = read_weights(folder / "model.safetensors")
    layers: dict[int, dict[str, Tensor]] = {}
    names = {name: _NAME.fullmatch(name) for name in stored}
    if strange := [name for name, match in names.items() if match is None]:
        raise HarnessError(f"{folder} is no aesthetic head: it holds {shortened(strange)}", CONVERT)
    for name, match in names.items():
        assert match is not None
        layers.setdefault(int(match["number"] or 0), {})[match["what"]] = stored[name].float()
    head = []
    size = width
    for number, layer in sorted(layers.items()):
        weight, bias = layer.get("weight"), layer.get("bias")
        if weight is None or bias is None or weight.shape != (len(bias), size):
            shape = None if weight is None else tuple(weight.shape)
            raise HarnessError(
                f"{folder} is no head for a CLIP of width {width}: layer {number} takes and gives "
                f"{shape}, where {size} numbers go in",
                CONVERT,
            )
        head.append((weight, bias))
        size = len(bias)
    if size != 1 or not head:
        raise HarnessError(f"{folder} is no aesthetic head: it gives {size} numbers", CONVERT)
    return head
