"""The words GenEval is made of: the detector's 80 classes, the 10 colours, the 4 relations.

The classes are COCO's "things" in the order every COCO detector numbers them. GenEval renames
three of them so that a prompt reads naturally: COCO's "mouse", "remote" and "keyboard" are
"computer mouse", "tv remote" and "computer keyboard" here.

Source: Ghosh, Hajishirzi, Schmidt, "GenEval", arXiv 2310.11513; github.com/djghosh13/geneval.
"""

from __future__ import annotations

CLASSES: tuple[str, ...] = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat"),
    *("dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack"),
    *("umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball"),
    *("kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket"),
    *("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair"),
    *("couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop"),
    *("computer mouse", "tv remote", "computer keyboard", "cell phone", "microwave", "oven"),
    *("toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear"),
    *("hair drier", "toothbrush"),
)
"""Class names in detector order: class i of the detector is CLASSES[i]."""

COLORS: tuple[str, ...] = (
    *("red", "orange", "yellow", "green", "blue"),
    *("purple", "pink", "brown", "black", "white"),
)
"""Colours in the order the published recipe and classifier number them."""

RELATIONS: tuple[str, ...] = ("left of", "right of", "above", "below")
"""Spatial relations in the order the published recipe numbers them."""

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
"""The six tasks in official order; the official overall score is the mean over them (macro)."""

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
"""Number n as a word is NUMBERS[n]."""


def with_article(phrase: str) -> str:
    """Put "a" before a phrase, or "an" before a vowel."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def plural(name: str) -> str:
    """GenEval's plural: "es" after a final "s", otherwise "s"."""
    return f"{name}es" if name.endswith("s") else f"{name}s"
