"""A harness that measures what inference-time compute buys in text-to-image generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["load"]

if TYPE_CHECKING:
    from harness.log.frame import load


def __getattr__(name: str) -> Any:
    # `import harness` must stay instant for the command line; pandas comes with the first use.
    if name == "load":
        from harness.log.frame import load

        return load
    raise AttributeError(f"module 'harness' has no attribute '{name}'")
