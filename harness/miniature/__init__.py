"""The miniature: a small world whose models are real.

The same classes as the full-size setting (``SanaPipeline``, a SigLIP vision encoder, CLIP, a
detector) with tiny checkpoints that the code in ``train`` makes from rendered scenes. Its scores
say something about search strategies and nothing about SANA.
"""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the committed checkpoints."""
