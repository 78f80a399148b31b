"""Makes ``tasks/files/sentiment.csv``: sentences about films from a small grammar, with the sentiment that they have.

    python docs/sentiment_grammar.py > tasks/files/sentiment.csv

A sentence is a clause, or two that "but" or "although" joins. A clause says something good or bad of a part of the
film, and may turn it round by a "not" or a "never". Of two clauses joined by "but" the second one decides; where
"although" begins, it is the second one too; "and" joins clauses of one mind. So a bag of words knows little, and a
reader who goes from left to right must remember.
"""

from __future__ import annotations

import csv
import io
import random
import sys

SENTENCES = 2000
GOOD = ("good", "moving", "funny", "clever", "warm", "gripping", "honest", "lovely", "bright", "brilliant")
BAD = ("bad", "dull", "clumsy", "empty", "cold", "tedious", "false", "ugly", "grim", "dreadful")
PARTS = ("plot", "acting", "music", "ending", "camera", "cast", "script", "first half", "last hour", "dialogue")
TURNS = ("not", "never", "hardly")
DEGREES = ("", "very", "rather", "so", "really")
FILMS = ("in this film", "here", "this time", "as ever", "in my view", "")


def clause(positive: bool, dice: random.Random) -> str:
    """Return a clause of one sentiment; four of ten say it by turning its opposite round."""
    turned = dice.random() < 0.4
    word = dice.choice(GOOD if positive != turned else BAD)
    words = ["the", dice.choice(PARTS), "was", dice.choice(TURNS) if turned else "", dice.choice(DEGREES), word]
    return " ".join(part for part in [*words, dice.choice(FILMS)] if part)


def sentence(positive: bool, dice: random.Random) -> str:
    """Return a sentence of one sentiment."""
    kind = dice.choice(("one", "and", "but", "although"))
    if kind == "one":
        return clause(positive, dice)
    if kind == "and":
        return f"{clause(positive, dice)} and {clause(positive, dice)}"
    if kind == "but":
        return f"{clause(not positive, dice)}, but {clause(positive, dice)}"
    return f"although {clause(not positive, dice)}, {clause(positive, dice)}"


def table(count: int = SENTENCES, seed: int = 0) -> str:
    """Return the file: as many different sentences as asked for, positive and negative ones by turns."""
    dice, seen = random.Random(seed), set()
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("text", "label"))
    while len(seen) < count:
        positive = len(seen) % 2 == 0
        found = sentence(positive, dice)
        if found not in seen:
            seen.add(found)
            rows.writerow((found, "positive" if positive else "negative"))
    return text.getvalue()


if __name__ == "__main__":
    sys.stdout.write(table())
