"""Patterns: {a|b} chooses, [a] may be left out, $name stands for a named pattern, all nesting.

A choice is drawn with the caller's random generator through random() alone, whose sequence for a seed is the
same in every Python version.
"""

import functools
import re

from .words import NAMED

TOKEN = re.compile(r"[{}|\[\]]|\$[a-z_]+|[^{}|\[\]$]+|\$")


class Rand:
    """Choices drawn from random() only."""

    def __init__(self, source):
        self.random = source.random

    def below(self, n):
        return int(self.random() * n)

    def between(self, low, high):
        return low + self.below(high - low + 1)

    def pick(self, seq):
        return seq[int(self.random() * len(seq))]

    def chance(self, p):
        return self.random() < p

    def weighted(self, pairs):
        """pairs: (weight, value)"""
        at = self.random() * sum(w for w, _ in pairs)
        for w, value in pairs:
            at -= w
            if at < 0:
                return value
        return pairs[-1][1]

    def sample(self, seq, n):
        rest = list(seq)
        return [rest.pop(self.below(len(rest))) for _ in range(min(n, len(rest)))]


@functools.lru_cache(None)
def parse(pattern):
    tokens = TOKEN.findall(pattern)
    node, at = parse_choice(tokens, 0, None)
    if at != len(tokens):
        raise ValueError(f"unbalanced pattern: {pattern}")
    return node


def parse_choice(tokens, at, closing):
    """A list of alternatives, each a list of parts: str, ("all", alternatives), ("maybe", alternatives)."""
    alternatives = [[]]
    while at < len(tokens):
        t = tokens[at]
        at += 1
        if t == closing:
            return alternatives, at
        if t == "|":
            alternatives.append([])
        elif t in "{[":
            inner, at = parse_choice(tokens, at, "}" if t == "{" else "]")
            alternatives[-1].append(("all" if t == "{" else "maybe", inner))
        elif t[0] == "$" and len(t) > 1:
            if t[1:] not in NAMED:
                raise ValueError(f"unknown pattern {t}")
            alternatives[-1].append(("all", parse(NAMED[t[1:]])))
        elif t in "}]":
            raise ValueError("unbalanced pattern: " + "".join(tokens))
        else:
            alternatives[-1].append(t)
    if closing:
        raise ValueError("unbalanced pattern: " + "".join(tokens))
    return alternatives, at


def emit(rng, alternatives, out):
    for part in rng.pick(alternatives):
        if isinstance(part, str):
            out.append(part)
        elif part[0] == "all" or rng.chance(0.5):
            emit(rng, part[1], out)


SPACES = re.compile(r" {2,}")


def expand(rng, pattern):
    """One expansion of a pattern, spaces tidied."""
    out = []
    emit(rng, parse(pattern), out)
    text = SPACES.sub(" ", "".join(out)).strip()
    return text.replace(" 's ", "'s ").replace(" 'd ", "'d ").replace(" 're ", "'re ").replace(" ,", ",").replace(" ?", "?").replace(" .", ".")


def sentence(text):
    """With a capital first letter."""
    return text[:1].upper() + text[1:]


def article(noun):
    return ("an " if noun[:1].lower() in "aeiou" else "a ") + noun
