"""The miniature's language: its words, its tokenizers and the sentences that say what is wrong.

One token a word. The vocabulary is closed: GenEval's grammar over all classes, and the feedback
sentences of Reflect-DiT (arXiv 2503.12271), whose words are learnt with the captions, so that they
mean something before reflection is trained.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

from benchmarks.geneval.classes import CLASSES, NUMBERS, RELATIONS, plural
from benchmarks.geneval.prompts import Request
from harness.miniature.glyphs import COLOURS

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
PAD, EOS, BOS, UNK = range(4)

_GRAMMAR = "a an photo of and object colored"
_FEEDBACK = (
    "there is no in the image should be but only exists exist it this are has have not correct "
    "incorrect wrong missing extra too many few more less than instead at least most to with "
    "picture shows show shown objects color position count found expected exactly now same any"
)
# GenEval writes "benchs"; people do not.
_PLURALS = "benches knives sandwiches couches toothbrushes people skis sheep broccoli"
_MARKS = ". , - : ; ! ? ' > = < ( )"


def vocabulary() -> tuple[str, ...]:
    """All tokens, in the order of their numbers."""
    phrases = [*CLASSES, *map(plural, CLASSES), *COLOURS, *NUMBERS, *RELATIONS]
    words = " ".join([_GRAMMAR, *phrases, _FEEDBACK, _PLURALS]).split()
    digits = [str(number) for number in range(21)]
    return tuple(dict.fromkeys([*SPECIAL, *words, *digits, *_MARKS.split()]))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer that lower-cases and puts "<bos>" first."""
    tokenizer = Tokenizer(
        WordLevel({word: number for number, word in enumerate(vocabulary())}, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A",
        pair=None,
        special_tokens=[("<bos>", BOS)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        padding_side="right",
    )


def make_clip_tokenizer(length: int) -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer, with merges that make each of the miniature's words one token."""
    letters = [chr(code) for code in range(33, 127)]
    vocab = [*letters, *(f"{letter}</w>" for letter in letters)]
    words = [[*word[:-1], f"{word[-1]}</w>"] for word in vocabulary() if word not in SPECIAL]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for word in words for pair in pairwise(word)):
        # The most frequent pair, the first in the alphabet among equals.
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append((left, right))
        vocab.append(left + right)
        words = [_merged(word, left, right) for word in words]
    vocab += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(dict.fromkeys(vocab))},
        merges=merges,
        model_max_length=length,
    )


def _merged(word: list[str], left: str, right: str) -> list[str]:
    """A word's tokens after joining a pair wherever it occurs, from the left."""
    joined: list[str] = []
    for token in word:
        if joined and joined[-1] == left and token == right:
            joined[-1] = left + right
        else:
            joined.append(token)
    return joined


def wish(rng: np.random.Generator, request: Request) -> str:
    """A feedback sentence that a scene would put right if it showed what the request asks for.

    The faults it names are made up. In base training it is a second way to say what to show.
    """
    first = request.groups[0]
    if request.tag == "counting":
        other = int(rng.choice([n for n in range(7) if n != first.count]))
        only = "only " if other < first.count else ""
        return f"There should be {first.count} {first.name}, but {only}{other} exists in image"
    if request.relation:
        other_way = rng.choice([relation for relation in RELATIONS if relation != request.relation])
        second = request.groups[1].name
        return (
            f"{first.name} should be {request.relation} the {second}, "
            f"but it is {other_way} the {second}"
        )
    if request.tag == "colors":
        other_colour = rng.choice([colour for colour in COLOURS if colour != first.color])
        return f"the {first.name} should be {first.color}, but it is {other_colour}"
    if request.tag == "color_attr":
        return ". ".join(f"the {w.name} should be {w.color}" for w in request.groups)
    return ". ".join(f"There is no {w.name} in image" for w in request.groups)
