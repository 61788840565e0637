"""Write opinions: short reviews of films, books, meals and machines, each of one mind.

Documentation, the other prose that the embedded text encoder is pretrained on, praises and blames
nothing: "charming" stands in five million words of it once. Here every word of praise stands among
its like, and so does every word of blame; a "not" or a "but" turns one against the other.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CHOICE = re.compile(r"\(([^()]*)\)")


def fill_in(pattern: str, named: Mapping[str, str], draw: random.Random) -> str:
    """Put in what the names stand for, which may hold choices, and choose every part."""
    for name, part in named.items():
        pattern = pattern.replace(name, part)
    while found := CHOICE.search(pattern):
        chosen = draw.choice(found[1].split("|"))
        pattern = pattern[: found.start()] + chosen + pattern[found.end() :]
    return pattern


SENTENCES = (1, 1, 2, 3, 4)  # of a review, drawn from
TURNED_SHARE = 0.25  # of the sentences name what the thing is not
AS_TOKENS = 0.4  # of the reviews are written as treebanks print them: lower case, commas apart
ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")

PLAIN = (
    "the PART (is|was|is|was|seems|looks) (|so |too |very |as ever )ADJECTIVE.",
    "the PART is ADJECTIVE and the PART is ADJECTIVE.",
    "a ADJECTIVE, ADJECTIVE THING.",
    "a ADJECTIVE THING, ADVERB (made|told|done), ADJECTIVE and ADJECTIVE.",
    "ADJECTIVE (and|and often|, even|, if) ADJECTIVE.",
    "ADJECTIVE, ADJECTIVE and (altogether |utterly |just |)ADJECTIVE.",
    "(it is|this is|here is|what|such) a ADJECTIVE THING(| with a ADJECTIVE PART).",
    "(it is|it was|this is) (so |very |really |truly |quite |simply |absolutely |)ADJECTIVE.",
    "as ADJECTIVE as (it gets|a THING can be|the first one).",
    "(I|we|my friends) found it ADJECTIVE(, even|, often| and) ADJECTIVE.",
    "(it|the THING|the PART) VERB.",
    "it VERB and VERB.",
    "it DEED and DEED.",
    "(the THING|its PART) DEED (you|me|us|its audience|everybody).",
    "a THING that (VERB|DEED).",
    "a THING that DEED (you|us|its audience) and VERB.",
    "(it is|what|as a THING it is|call it) a (real |complete |total |)NOUN.",
    "the THING is a NOUN(, and the PART| with a PART that) is ADJECTIVE.",
    "a NOUN of a THING.",
    "full of QUALITY and QUALITY.",
    "a THING of (great |much |such |)QUALITY and QUALITY.",
    "(there is|it has|it is filled with) (so much|a lot of|plenty of|nothing but) QUALITY.",
    "(with|thanks to) its QUALITY, the THING VERB.",
    "the PART has (real |much |more than its share of |)QUALITY.",
    "ADVERB (made|done|written|acted|directed|told|paced|designed|cooked|played|put together).",
    "the PART is ADVERB (done|made|handled|told).",
    "a ADVERB ADJECTIVE THING.",
    "(I was|we were|I am|it left me|it left us|you will be) FEELING.",
    "I came away FEELING and FEELING.",
    "OUTCRY.",
    "OUTCRY, (the PART|it) is (so |too |very |)ADJECTIVE.",
    "if you (like|want) a ADJECTIVE THING, this is (one|it).",
    "the more (I saw|one sees) of it, the more ADJECTIVE it (seemed|becomes).",
)
TURNED = (
    "(it is|this is|it was) (not|never|hardly|anything but|not at all|far from) NOT_ADJECTIVE.",
    "(the PART is|the THING is|it is) not NOT_ADJECTIVE, (it is|but) ADJECTIVE.",
    "neither NOT_ADJECTIVE nor NOT_ADJECTIVE.",
    "(no|little|not much) NOT_QUALITY (in it|here|to be found).",
    "there is (no|not a trace of|little|nothing of) NOT_QUALITY (in it|here|to be found).",
    "without (any |)NOT_QUALITY or NOT_QUALITY.",
    "ADJECTIVE (rather than|where it could have been|instead of) NOT_ADJECTIVE.",
    "more ADJECTIVE than NOT_ADJECTIVE.",
    "it (could|might|should) have been NOT_ADJECTIVE, (but|yet) it is ADJECTIVE.",
    "the PART is NOT_ADJECTIVE, but the (THING|rest) (is ADJECTIVE|VERB).",
    "(although|while|though|even if) the PART (is|was) NOT_ADJECTIVE, "
    "the THING (is ADJECTIVE|VERB).",
    "for all its NOT_QUALITY, the THING VERB.",
    "despite (its|the|some) NOT_QUALITY, it is (still |)a ADJECTIVE THING.",
    "(NOT_ADJECTIVE|NOT_ADJECTIVE and NOT_ADJECTIVE) at first, then ADJECTIVE.",
    "(others|my friends|the critics) called it NOT_ADJECTIVE, I (found|call) it ADJECTIVE.",
    "(too|so) ADJECTIVE to be NOT_ADJECTIVE.",
)


@dataclass(frozen=True, slots=True)
class Review:
    """A text, and whether it praises or blames."""

    text: str
    praises: bool


def write_reviews(count: int, seed: int = 0) -> Iterator[Review]:
    """So many reviews; every other one praises."""
    draw = random.Random(seed)
    words = tomllib.loads(Path(__file__).with_name("opinions.toml").read_text(encoding="utf-8"))
    blame, praise = _choices(words["blame"]), _choices(words["praise"])
    sides = [_against(blame, praise), _against(praise, blame)]
    subjects = [_choices(subject) for subject in words["subjects"]]
    for number in range(count):
        praises = number % 2 == 1
        subject = draw.choice(subjects)
        thing = fill_in(subject["THING"], {}, draw)
        named = sides[praises] | {"PART": subject["PART"], "THING": thing}
        yield Review(_review(named, draw), praises)


def _against(own: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    """The words of one side, and those of the other under NOT_."""
    named = own | {f"NOT_{name}": choice for name, choice in other.items()}
    # Longer names first: NOT_ADJECTIVE holds ADJECTIVE, and ADVERB holds VERB.
    return dict(sorted(named.items(), key=lambda item: -len(item[0])))


def _choices(lists: dict[str, str]) -> dict[str, str]:
    """Comma-separated lists as the choices of a pattern."""
    return {
        name: f"({'|'.join(part.strip() for part in text.split(','))})"
        for name, text in lists.items()
    }


def _review(named: dict[str, str], draw: random.Random) -> str:
    sentences = []
    for _ in range(draw.choice(SENTENCES)):
        patterns = TURNED if draw.random() < TURNED_SHARE else PLAIN
        text = fill_in(draw.choice(patterns), named, draw)
        text = ARTICLE.sub(r"\1n ", " ".join(text.replace(" ,", ",").split()))
        sentences.append(text[0].upper() + text[1:])
    review = " ".join(sentences)
    if draw.random() < AS_TOKENS:
        return re.sub(r"([,.])", r" \1", review).lower()
    return review
