"""The look of the miniature's objects: one emoji glyph per GenEval class.

The glyphs come from the font Noto Color Emoji, which only training and rendering need; the trained
miniature is used without it. A glyph can be recoloured, because GenEval asks for "a red bench".
"""

from __future__ import annotations

import os
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.geneval.classes import CLASSES
from harness.errors import HarnessError
from harness.text import expanded

_GLYPHS = (
    "🧍🚲🚗🏍✈🚌🚆🚚⛵🚦🧯🛑🅿🪵🐦🐈🐕🐎🐑🐄🐘🐻🦓🦒🎒☂👜👔🧳🥏🎿🏂⚽🪁🏏🧤🛹🏄🎾🍾"
    "🍷☕🍴🔪🥄🥣🍌🍎🥪🍊🥦🥕🌭🍕🍩🎂🪑🛋🪴🛏🍽🚽📺💻🖱🎮⌨📱📻🍳🍞🚰🧊📖🕰🏺✂🧸💨🪥"
)

GLYPHS: dict[str, str] = dict(zip(CLASSES, _GLYPHS, strict=True))
"""Class name to glyph; `weights/CARD.md` lists those that have none of their own."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 30, 35), "orange": (250, 130, 20), "yellow": (245, 215, 35),
    "green": (35, 155, 55), "blue": (40, 80, 220), "purple": (130, 45, 185),
    "pink": (250, 130, 185), "brown": (120, 70, 35), "black": (45, 45, 48),
    "white": (225, 225, 228),
}  # fmt: skip
"""GenEval's ten colours, in its order, as RGB at middling luminance."""

FONT_ENV = "MINIATURE_EMOJI_FONT"
_FONT_PLACES = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto-emoji/NotoColorEmoji.ttf",
    "~/.local/share/fonts/NotoColorEmoji.ttf",
    "~/Library/Fonts/NotoColorEmoji.ttf",
)
# The font holds one bitmap strike; no other size can be asked of it.
_STRIKE = 109


class FontMissingError(HarnessError):
    """The emoji font is not installed; the message says where it was looked for."""


def font_path() -> Path:
    """The file of the emoji font: the path in ``MINIATURE_EMOJI_FONT``, else the usual places.

    Raises:
        FontMissingError: The font is nowhere to be found.
    """
    named = os.environ.get(FONT_ENV)
    places = (named,) if named else _FONT_PLACES
    for place in places:
        path = expanded(place)
        if path.is_file():
            return path
    raise FontMissingError(
        "rendering the miniature's scenes needs the font NotoColorEmoji.ttf, "
        f"which is not at {', '.join(places)}",
        "install it (Debian, Ubuntu: apt-get install fonts-noto-color-emoji) "
        f"or set {FONT_ENV} to the file's path",
    )


@lru_cache(maxsize=1)
def _font(path: Path) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), _STRIKE, layout_engine=ImageFont.Layout.BASIC)


@cache
def _glyph(name: str) -> Image.Image:
    canvas = Image.new("RGBA", (200, 200))
    pen = ImageDraw.Draw(canvas)
    pen.text((30, 30), GLYPHS[name], font=_font(font_path()), embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise RuntimeError(f"the font draws nothing for {name!r}; another font file is needed")
    return canvas.crop(box)


def recolour(pixels: NDArray[np.uint8], colour: str) -> NDArray[np.uint8]:
    """Paint a glyph, RGBA (h, w, 4), in one of ``COLOURS``, keeping its shading and its alpha."""
    opaque = pixels[..., 3] > 64
    luminance = pixels[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    low, high = np.percentile(luminance[opaque], (3, 97))
    # A flat glyph has no shading to stretch; it is painted at middling luminance.
    shade = np.clip((luminance - low) / (high - low), 0, 1) if high - low > 12 else 0.5
    shade = np.broadcast_to(np.asarray(shade, np.float32), luminance.shape)[..., None]
    paint = np.array(COLOURS[colour], np.float32)
    if colour == "white":
        rgb = paint - 55 + 85 * shade
    elif colour == "black":
        rgb = paint - 38 + 75 * shade
    else:
        rgb = paint * (0.68 + 0.5 * shade)
    painted = np.concatenate([np.clip(rgb, 0, 255), pixels[..., 3:]], axis=-1)
    return painted.astype(np.uint8)


@lru_cache(maxsize=16384)
def sprite(name: str, colour: str | None, size: int) -> NDArray[np.uint8]:
    """The glyph of a class, cropped to its alpha box.

    Args:
        name: One of ``CLASSES``.
        colour: One of ``COLOURS``, or None for the glyph's own colours.
        size: Its longer side in pixels.

    Returns:
        RGBA, shape (h, w, 4) with ``max(h, w) == size``. Do not write to it: it is cached.
    """
    glyph = _glyph(name)
    scale = size / max(glyph.size)
    width, height = (max(1, round(side * scale)) for side in glyph.size)
    pixels = np.asarray(glyph.convert("RGBa").resize((width, height), Image.Resampling.BOX))
    unmultiplied = np.asarray(Image.fromarray(pixels, "RGBa").convert("RGBA"))
    return recolour(unmultiplied, colour) if colour else unmultiplied
