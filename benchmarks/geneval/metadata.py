"""The rules for a row of GenEval's metadata, so that the verdict over it means something.

One validator for every road by which metadata comes in. The official evaluator reads rows as they
are: some faults stop it (a missing tag or count, a number that is text), others pass as answers (a
count of 0 is always met, a position that counts from the end names another object, a misspelt key
is a requirement that nobody looks at). Here all of them are refused by name. Null means absent,
since any program that keeps rows in a table writes it for the keys that a row has not.

What no image can satisfy (a class that the detector does not know, a colour that is none of the
ten) is no fault of the row's form: the official evaluator scores it as wrong, and so does this
one, but `warnings` says so.

Source of the form: `prompts/create_prompts.py` and `evaluation/evaluate_images.py` of
github.com/djghosh13/geneval.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.base import Benchmark
from benchmarks.geneval.classes import CLASSES, COLORS, RELATIONS, TAGS
from benchmarks.geneval.rules import COUNTING_THRESHOLD, MAX_OBJECTS, SCORE_THRESHOLD
from harness.errors import UsageError
from harness.text import is_encodable

ROW_KEYS = ("tag", "include", "exclude", "prompt")
INCLUDE_KEYS = ("class", "count", "color", "position")
EXCLUDE_KEYS = ("class", "count")

_MISSPELT = 0.85
"""How like one of `ROW_KEYS` another key of a row must be ("includes"; "prompt_id" is not)."""
_LONGEST = 40
"""Characters of a value in a message."""
_LISTED = 5
"""Words of a kind that a warning names."""

_TAG_HINT = (
    f"the tag decides the detector's threshold: {COUNTING_THRESHOLD} for counting, "
    f"{SCORE_THRESHOLD} for every other"
)


class BadMetadata(UsageError):
    """A row that is none of GenEval's; the message names the key."""


def validated(row: Any) -> dict[str, Any]:
    """Return a row of metadata without the keys that are null.

    Keys that GenEval does not have stay in the row, unless they look like a misspelt one.

    Raises:
        BadMetadata: The row is no object, lacks tag, prompt or include, or holds something of
            another type or out of its range.
    """
    if not isinstance(row, Mapping):
        raise BadMetadata(
            f"expected one JSON object, got {_shown(row)}",
            'e.g. {"tag": "single_object", "include": [{"class": "bench", "count": 1}], '
            '"prompt": "a photo of a bench"}',
        )
    present = {key: value for key, value in row.items() if value is not None}
    for key in present.keys() - set(ROW_KEYS):
        if close := difflib.get_close_matches(key.casefold().strip(), ROW_KEYS, 1, _MISSPELT):
            raise BadMetadata(
                f"'{_named(key)}' is no key of GenEval's", f"did you mean '{close[0]}'?"
            )
    asked = requirements(present)
    _text(present, "tag", "", _TAG_HINT, empty=True)
    _text(present, "prompt", "", "the text that the image was made for")
    return present | asked


def require_metadata(benchmark: Benchmark, what: str, hint: str) -> None:
    """Refuse a benchmark whose prompts do not say in GenEval's form what they ask for.

    Raises:
        UsageError: They do not; the message says what cannot do without.
    """
    if not all(
        isinstance(prompt.metadata.get("include"), list | tuple) for prompt in benchmark.prompts()
    ):
        raise UsageError(f"{what} cannot tell what the prompts of {benchmark.name} ask for", hint)


def requirements(row: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return what a row asks of an image: `include` and, where there is one, `exclude`.

    Args:
        row: A prompt's metadata. Other keys are not looked at.

    Raises:
        BadMetadata: An entry is not what `benchmarks.geneval.rules` reads.
    """
    include = _entries(row, "include")
    if not include:
        raise BadMetadata(
            f"'include' {'is empty' if row.get('include') is not None else 'is missing'}",
            "it lists the objects that the prompt asks for; without any, every image is right",
        )
    result = {"include": [_checked_entry(entry, place) for place, entry in enumerate(include)]}
    if row.get("exclude") is not None:
        entries = _entries(row, "exclude")
        result["exclude"] = [
            _counted(entry, f"exclude[{place}]", EXCLUDE_KEYS)
            for place, entry in enumerate(entries)
        ]
    return result


def warnings(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Sentences about what rows ask for that GenEval has not, each with the number of prompts."""
    words: dict[str, Counter[str]] = defaultdict(Counter)
    prompts: Counter[str] = Counter()
    for row in rows:
        unknown = dict.fromkeys(_unknown(row))
        for kind, word in unknown:
            words[kind][word] += 1
        prompts.update({kind for kind, _ in unknown})
    return [
        f"{prompts[kind]} prompt{'s' if prompts[kind] > 1 else ''} {sentence}: "
        f"{_listed(words[kind], known)}"
        for kind, (sentence, known) in _KINDS.items()
        if words[kind]
    ]


def _listed(words: Counter[str], known: Sequence[str]) -> str:
    parts = []
    for word, number in words.most_common(_LISTED):
        close = _closest(word, known)
        hint = f" (did you mean '{close}'?)" if close else ""
        parts.append(f"'{_named(word)}'{f' ×{number}' if number > 1 else ''}{hint}")
    more = len(words) - len(parts)
    return ", ".join(parts) + (f" and {more} more" if more else "")


_NEVER = "so that no image can be right"
_KINDS: Mapping[str, tuple[str, Sequence[str]]] = {
    "class": (f"with a class that the detector does not know, {_NEVER}", CLASSES),
    "color": (f"with a colour that is none of the ten, {_NEVER}", COLORS),
    "relation": (f"with a relation that is none of the four, {_NEVER}", RELATIONS),
    "count": (f"with a count above {MAX_OBJECTS}, the most that are kept, {_NEVER}", ()),
    "exclude": ("excluding a class that the detector does not know, which never fails", CLASSES),
    "tag": (
        "with a tag that is none of GenEval's six, "
        f"scored at the threshold {SCORE_THRESHOLD} (counting's is {COUNTING_THRESHOLD})",
        TAGS,
    ),
    "key": ("with a key that GenEval does not read", ()),
}


def _unknown(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if row["tag"] not in TAGS:
        yield "tag", row["tag"]
    for key in row.keys() - set(ROW_KEYS):
        yield "key", key
    for entry in row["include"]:
        if entry["class"] not in CLASSES:
            yield "class", entry["class"]
        if entry.get("color", COLORS[0]) not in COLORS:
            yield "color", entry["color"]
        if "position" in entry and entry["position"][0] not in RELATIONS:
            yield "relation", entry["position"][0]
        if entry["count"] > MAX_OBJECTS:
            yield "count", str(entry["count"])
    for entry in row.get("exclude", ()):
        if entry["class"] not in CLASSES:
            yield "exclude", entry["class"]


def _entries(row: Mapping[str, Any], key: str) -> list[Any]:
    value = row.get(key)
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise BadMetadata(f"'{key}' is {_shown(value)}, expected a list of objects")
    return list(value)


def _checked_entry(entry: Any, place: int) -> dict[str, Any]:
    where = f"include[{place}]"
    present = _counted(entry, where, INCLUDE_KEYS)
    if "color" in present:
        _text(present, "color", f"{where}.", "one of GenEval's ten colours")
    if "position" in present:
        _check_position(present["position"], where, place)
    return present


def _counted(entry: Any, where: str, keys: Sequence[str]) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise BadMetadata(
            f"'{where}' is {_shown(entry)}, expected an object", '{"class": "bench", "count": 1}'
        )
    present = {key: value for key, value in entry.items() if value is not None}
    for key in present:
        if key not in keys:
            close = _closest(key, keys)
            raise BadMetadata(
                f"'{where}.{_named(key)}' is no key of GenEval's, so nobody would look at it",
                f"did you mean '{close}'?" if close else f"its keys are {', '.join(keys)}",
            )
    _text(present, "class", f"{where}.", "the name of a class, such as 'bench'")
    count = present.get("count")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        problem = "is missing" if count is None else f"is {_shown(count)}"
        raise BadMetadata(f"'{where}.count' {problem}, expected a whole number from 1 on")
    return present


def _check_position(position: Any, where: str, place: int) -> None:
    key = f"{where}.position"
    expected = 'expected ["left of", 0]: a relation, and the place of an earlier object in include'
    if not isinstance(position, list | tuple) or len(position) != 2:
        raise BadMetadata(f"'{key}' is {_shown(position)}, {expected}")
    relation, target = position
    if not isinstance(relation, str) or not relation:
        raise BadMetadata(f"'{key}[0]' is {_shown(relation)}, {expected}")
    if isinstance(target, bool) or not isinstance(target, int):
        raise BadMetadata(f"'{key}[1]' is {_shown(target)}, {expected}")
    if not 0 <= target < place:
        itself = "itself" if target == place else "no earlier object"
        raise BadMetadata(f"'{key}[1]' is {target}, which names {itself}", expected)


def _text(
    row: Mapping[str, Any], key: str, where: str, hint: str = "", *, empty: bool = False
) -> None:
    value = row.get(key)
    if value is None:
        raise BadMetadata(f"'{where}{key}' is missing", hint)
    if not isinstance(value, str) or not (empty or value.strip()):
        raise BadMetadata(f"'{where}{key}' is {_shown(value)}, expected text", hint)
    if not is_encodable(value):
        raise BadMetadata(
            f"'{where}{key}' has half of a surrogate pair, which is no character",
            "write the character itself, or both halves of its \\u escape",
        )


def _named(word: str) -> str:
    """Return a word as it can be written: no half of a surrogate pair, not without end."""
    text = word.encode(errors="backslashreplace").decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _closest(word: str, known: Sequence[str]) -> str:
    """Return the known word that a word seems to stand for, or ""."""
    folded = word.casefold().strip()
    matches = difflib.get_close_matches(folded, known, n=1, cutoff=0.75)
    inside = [name for name in known if name in folded or (len(folded) > 3 and folded in name)]
    return next(iter([*matches, *inside]), "")
