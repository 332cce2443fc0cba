"""A harness that measures what inference-time compute buys in text-to-image generation."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["image", "load"]

if TYPE_CHECKING:
    from harness.log.frame import image, load


def __getattr__(name: str) -> Any:
    # `import harness` must stay instant for the command line; pandas comes with the first use.
    if name in __all__:
        from harness.log import frame

        return getattr(frame, name)
    raise AttributeError(f"module 'harness' has no attribute '{name}'")


def _import_neighbours(*names: str) -> None:
    """Import the other packages of this distribution from beside this one.

    Here, since every process that works for a run comes by: Ray's workers search the working
    directory first, and a folder of the same name there is somebody else's.

    Raises:
        ImportError: One is missing, or another package of its name has been imported before.
    """
    root = str(Path(__file__).resolve().parent.parent)
    for name in names:
        spec = PathFinder.find_spec(name, [root])
        if spec is None or spec.loader is None:
            raise ImportError(f"harness is incomplete: there is no package '{name}' in {root}")
        if (other := sys.modules.get(name)) is not None:
            place = getattr(other, "__file__", None)
            if place is None or Path(place).resolve() != Path(str(spec.origin)):
                raise ImportError(
                    f"harness needs its own package '{name}', and another has been imported "
                    f"before: {place or other}"
                )
            continue
        module = sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(module)


_import_neighbours("strategies", "benchmarks")
