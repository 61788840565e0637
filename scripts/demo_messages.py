"""Write the demo's tables: messages to a shop, labelled by the desk that answers them.

    python -m scripts.demo_messages FOLDER

`messages/train.csv` is made from one set of sentences, `messages/test.csv` from another, so that
the test shows what was understood and not what was remembered. `new.csv` has no labels.
"""

from __future__ import annotations

import csv
import itertools
import random
import sys
from collections.abc import Iterable
from pathlib import Path

from scripts.fill_in import fill_in

ROWS_PER_LABEL = 160
TEST_ROWS_PER_LABEL = 20
SEED = 0

PARTS = {
    "HELLO": "(||||Hello, |Hi, |Hi there, |Good morning, |Dear team, |Sorry to bother you, )",
    "BYE": "(|||| Please help.| Thanks in advance.| What should I do now?| Regards, Kim.)",
    "THING": "(coat|lamp|kettle|backpack|radio|chair|pair of shoes|camera|blender|tent|watch)",
    "WHEN": "(yesterday|last week|on Monday|two days ago|this morning|last month|on Friday)",
    "SUM": "(12 euros|40 euros|99.50|25 dollars|the full price|15 pounds)",
    "PARCEL": "(parcel|package|order|box|shipment)",
    "PAID": "(paid|was charged|got billed)",
}

TRAIN = {
    "billing": [
        "I PAID SUM twice for the (same |)THING.",
        "my (card|bank statement) shows a (payment|charge) of SUM that I did not make.",
        "the (invoice|bill) for the THING has the wrong (amount|total|price) on it.",
        "please send me (a receipt|an invoice) for the THING that I paid WHEN.",
        "I asked for (a refund|my money back) WHEN and (nothing came|I am still waiting for it).",
        "why does the (bill|invoice) say SUM when the price (was|is) lower?",
        "the (discount|voucher|coupon) was not taken off the (price|total).",
        "you (took|charged|withdrew) SUM (from|on) my (bank account|card) without asking.",
        "can I (pay|settle the bill) (in two parts|by bank transfer|with a gift card)?",
        "my payment was (declined|refused), but the money (is gone|was taken).",
        "the tax on my (receipt|invoice) is not right.",
        "I returned the THING WHEN, when do I get (my money|the SUM) back?",
        "the refund of SUM is (too small|smaller than what I paid).",
        "please (correct|change) the company name on the (invoice|bill|receipt).",
    ],
    "delivery": [
        "the PARCEL with the THING should have (arrived|come) WHEN.",
        "(tracking|the tracking page) has not moved since WHEN, where is my (THING|PARCEL)?",
        "the (courier|driver|postman) left the PARCEL (with a neighbour|in the rain|outside).",
        "I need to change the (delivery|shipping) address (for|of) my PARCEL.",
        "the (driver|courier) said nobody was home WHEN, but I was.",
        "how long does (shipping|delivery) (of a THING |)to (the islands|another country) take?",
        "my PARCEL was (sent|shipped|dispatched) WHEN and still has not (come|arrived).",
        "can the PARCEL be delivered (in the evening|on a Saturday|to a shop) instead?",
        "the PARCEL was delivered to the wrong (house|street|address).",
        "it says (delivered|out for delivery), but (there is no PARCEL|nothing has arrived).",
        "when (will|does) my PARCEL (get here|arrive|leave the warehouse)?",
        "I am away next week, please (hold|delay) the (delivery|PARCEL).",
        "the (courier|carrier) (lost|cannot find) my PARCEL.",
        "only half of my PARCEL (came|arrived) WHEN, where is the rest?",
    ],
    "account": [
        "I cannot (log in|sign in) since WHEN, the password is (refused|wrong).",
        "the (reset link|link to reset my password) does not (open|work).",
        "please change the (email address|phone number|name) (of|in) my (account|profile).",
        "my account (was|is) (locked|blocked) after three (attempts|wrong passwords).",
        "how do I (delete|close) my (profile|account) and (remove|erase) all my data?",
        "the (confirmation|security) code to (sign in|log in) never (comes|reaches my phone).",
        "someone else (has used|knows) my (login|password|account).",
        "I (registered|signed up) WHEN and cannot (set|choose) a user name.",
        "I forgot my (password|user name|login).",
        "the app (logs me out|asks for my password) every day.",
        "how can I (turn on|use) two-step (login|verification)?",
        "I have two (accounts|profiles) and want to (merge|join) them.",
        "please (stop|unsubscribe me from) the newsletter (to|sent to) my (email|address).",
        "the (website|app) says my email is (already registered|not known).",
    ],
    "product": [
        "the THING I got WHEN is (broken|cracked|damaged) on one side.",
        "the THING (stopped working|broke|died) after (one day|a week|an hour).",
        "a (part|screw|cable|button) of the THING is missing.",
        "the THING has a different (colour|size|shape) than in the (picture|photo).",
        "the THING makes a (strange|loud) noise when I (use it|turn it on).",
        "the manual of the THING does not say how to (clean|repair|use) it.",
        "the THING is too (small|large|heavy), which (size|model) do I need?",
        "the THING smells of (plastic|smoke) and has a (scratch|stain).",
        "does the THING (come with|need) (batteries|a charger|a cover)?",
        "the (handle|zip|switch|lid) of the THING (fell off|is loose|does not close).",
        "the THING (does not|will not) (turn on|charge|work) (any more|at all).",
        "is the THING (waterproof|made of leather|safe for children)?",
        "the THING gets (too hot|wet inside) (when I use it|after a minute).",
        "the quality of the THING is (poor|bad), it (tears|bends) easily.",
    ],
}

TEST = {
    "billing": [
        "there are two charges for one THING on my credit card.",
        "I sent the THING back WHEN but have seen no refund.",
        "what I paid is not what the invoice says.",
        "could I get a bill in the name of my company?",
        "you still owe me SUM, when is it paid back?",
    ],
    "delivery": [
        "no sign of my PARCEL, although it left the warehouse WHEN.",
        "the driver went to a wrong street with my THING.",
        "on which day will the PARCEL arrive?",
        "tracking says delivered WHEN, but my door was empty.",
        "please send the PARCEL to my office address instead.",
    ],
    "account": [
        "signing in fails, it calls my password wrong.",
        "which user name did I register with? I forgot it.",
        "my profile shows an old email, how do I change it?",
        "no code arrives on my phone when I want to log in.",
        "I want you to erase my account.",
    ],
    "product": [
        "my THING came with a cracked lid.",
        "after a week of use the THING is loud and hot.",
        "the THING does not look like the photo, the colour is wrong.",
        "a cable is missing, so the THING does not turn on.",
        "which size of the THING is right for a child?",
    ],
}

NEW = [
    "My money has not been returned yet.",
    "Where is my parcel? It was sent a week ago.",
    "The mail to reset my password never came.",
    "The lamp flickers and then stops working.",
    "asdf qwerty",
]


def messages(sentences: list[str], count: int, draw: random.Random) -> list[str]:
    """Fill in the sentences in turn until there are `count` different messages."""
    found: dict[str, None] = {}
    turns = itertools.cycle(sentences)
    while len(found) < count:
        found[fill_in(f"HELLO{next(turns)}BYE", PARTS, draw)] = None
    return list(found)


def labelled_rows(by_label: dict[str, list[str]], per_label: int) -> list[tuple[str, ...]]:
    draw = random.Random(SEED)
    rows: list[tuple[str, ...]] = [
        (text, label)
        for label, sentences in by_label.items()
        for text in messages(sentences, per_label, draw)
    ]
    draw.shuffle(rows)
    return [("text", "label"), *rows]


def write_table(path: Path, rows: Iterable[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def main() -> None:
    folder = Path(sys.argv[1])
    write_table(folder / "messages" / "train.csv", labelled_rows(TRAIN, ROWS_PER_LABEL))
    write_table(folder / "messages" / "test.csv", labelled_rows(TEST, TEST_ROWS_PER_LABEL))
    write_table(folder / "new.csv", [("text",), *((text,) for text in NEW)])


if __name__ == "__main__":
    main()
