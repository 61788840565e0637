"""Write the demo's tables: messages to a shop, labelled by the desk that answers them.

    python -m scripts.demo_messages FOLDER

`messages/train.csv` is filled in from one set of sentences, `messages/test.csv` from another, so
that the test shows what was understood and not what was remembered. `new.csv` has no labels.
"""

from __future__ import annotations

import csv
import itertools
import random
import sys
from collections.abc import Iterable
from pathlib import Path

ROWS_PER_LABEL = 100
TEST_ROWS_PER_LABEL = 20
SEED = 0

OPENINGS = ["", "", "", "Hello, ", "Hi there, ", "Good morning, ", "Sorry to bother you, "]
ENDINGS = ["", "", "", " Please help.", " Thanks in advance.", " What should I do now?"]

THINGS = ["coat", "lamp", "kettle", "backpack", "radio", "chair", "pair of shoes", "camera"]
TIMES = ["yesterday", "last week", "on Monday", "two days ago", "this morning", "last month"]
AMOUNTS = ["12 euros", "40 euros", "99.50", "a small amount", "the full price", "15 dollars"]

TRAIN = {
    "billing": [
        "I was charged {amount} twice for the {thing}.",
        "my card shows a payment of {amount} that I did not make.",
        "the invoice for the {thing} has the wrong amount on it.",
        "please send me a receipt for the {thing} that I paid {time}.",
        "I asked for a refund {time} and the money is not on my account.",
        "why does the bill say {amount} when the price was lower?",
        "the discount code was not taken off the price of the {thing}.",
        "you took {amount} from my bank {time} without asking.",
    ],
    "delivery": [
        "the parcel with the {thing} should have arrived {time}.",
        "tracking has not moved since {time}, where is my {thing}?",
        "the courier left the {thing} with a neighbour I do not know.",
        "I need to change the delivery address for the {thing}.",
        "the driver said nobody was home {time}, but I was.",
        "how long does shipping of a {thing} to the islands take?",
        "my order was sent {time} and still has not come.",
        "can the {thing} be delivered in the evening instead?",
    ],
    "account": [
        "I cannot log in since {time}, the password is refused.",
        "the reset link for my password does not open.",
        "please change the email address of my account.",
        "my account was locked {time} after three attempts.",
        "how do I delete my profile and all my data?",
        "the confirmation code to sign in never reaches my phone.",
        "someone else seems to have used my login {time}.",
        "I registered {time} and cannot set a new user name.",
    ],
    "product": [
        "the {thing} I got {time} is broken on one side.",
        "the {thing} stopped working after one day.",
        "a part of the {thing} is missing from the box.",
        "the {thing} has a different colour than in the picture.",
        "the {thing} makes a strange noise when I use it.",
        "the manual of the {thing} does not say how to clean it.",
        "the {thing} is too small, which size do I need?",
        "the {thing} smells of plastic and has a scratch.",
    ],
}

TEST = {
    "billing": [
        "there are two payments for one {thing} on my card.",
        "I returned the {thing} {time} but got no refund of the money.",
        "the price on the invoice is not the price I paid.",
        "could I have the bill for the {thing} with my company's name?",
    ],
    "delivery": [
        "no parcel so far, although the {thing} was shipped {time}.",
        "the courier went to the wrong address with my {thing}.",
        "when will the order with my {thing} arrive?",
        "tracking says delivered {time}, but nothing has come.",
    ],
    "account": [
        "signing in fails, it says my password is wrong.",
        "I forgot the user name I registered with.",
        "the email of my profile is an old one, how do I change it?",
        "no code reaches my phone when I log in.",
    ],
    "product": [
        "the {thing} came with a broken part.",
        "after a day of use the {thing} is already damaged and noisy.",
        "the {thing} is not the size and colour I saw in the picture.",
        "a screw is missing in the box, the {thing} does not work.",
    ],
}

NEW = [
    "My refund still has not reached my bank.",
    "Where is my parcel? It was sent a week ago.",
    "The password reset mail never came.",
    "The lamp flickers and then stops working.",
    "asdf qwerty",
]


def messages(sentences: list[str], count: int, draw: random.Random) -> list[str]:
    """Fill in the sentences in turn until there are `count` different messages."""
    found: dict[str, None] = {}
    turns = itertools.cycle(sentences)
    while len(found) < count:
        opening, ending = draw.choice(OPENINGS), draw.choice(ENDINGS)
        thing, time, amount = draw.choice(THINGS), draw.choice(TIMES), draw.choice(AMOUNTS)
        sentence = next(turns).format(thing=thing, time=time, amount=amount)
        found[f"{opening}{sentence}{ending}"] = None
    return list(found)


def write_table(path: Path, rows: Iterable[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def labelled_rows(by_label: dict[str, list[str]], per_label: int) -> list[tuple[str, ...]]:
    draw = random.Random(SEED)
    rows: list[tuple[str, ...]] = [
        (text, label)
        for label, sentences in by_label.items()
        for text in messages(sentences, per_label, draw)
    ]
    draw.shuffle(rows)
    return [("text", "label"), *rows]


def main() -> None:
    folder = Path(sys.argv[1])
    write_table(folder / "messages" / "train.csv", labelled_rows(TRAIN, ROWS_PER_LABEL))
    write_table(folder / "messages" / "test.csv", labelled_rows(TEST, TEST_ROWS_PER_LABEL))
    write_table(folder / "new.csv", [("text",), *((text,) for text in NEW)])


if __name__ == "__main__":
    main()
