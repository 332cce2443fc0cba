"""The miniature: a small world whose models are real.

The same classes as the full-size setting (``SanaPipeline``, a SigLIP vision encoder, CLIP, a
detector) with tiny checkpoints that the code in ``train`` makes from rendered scenes. Its scores
say something about search strategies and nothing about SANA.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from harness.errors import HarnessError

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the committed checkpoints."""


class World(NamedTuple):
    """The checkpoints that make images of one world; all others are shared.

    Attributes:
        components: Folder of the base's text encoder and transformer; "" for the pipeline's own.
        prefix: Of the folders of its judge and of its transformer that learnt reflection.
        suffix: Of the files and marks of its measurements.
    """

    components: str
    prefix: str
    suffix: str

    @property
    def reflect(self) -> str:
        """Folder of the transformer that learnt reflection."""
        return f"{self.prefix}reflect"

    @property
    def judge(self) -> tuple[str, str]:
        """Folders of the judge's detector and of its colours."""
        return f"{self.prefix}judge", f"{self.prefix}judge_colors"

    def components_in(self, weights: Path) -> Path | None:
        """Return the folder of text encoder and transformer; None if the pipeline has its own."""
        return weights / self.components if self.components else None

    def judge_in(self, weights: Path) -> dict[str, Path]:
        """Return the folders of the judge's parts, as a detector judge's checkpoints."""
        detector, colors = self.judge
        return {"detector": weights / detector, "colors": weights / colors}


WORLDS = {
    "habits": World("habits", "habits_", "-habits"),
    "even": World("", "", ""),
}
"""By name: failures that habits bring whatever the seed, and failures of each draw's own."""


@contextmanager
def explained() -> Iterator[None]:
    """End the program over an error as the harness does: a sentence, a hint, an exit code."""
    try:
        yield
    except HarnessError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
