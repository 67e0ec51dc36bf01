"""Intents: what may be asked, in many ways, and what to answer.

kb/*.kb, one intent a paragraph, one line each:

    @ name          starts an intent
    n pattern       a noun phrase the question is about      (paged attention)
    g pattern       a goal, as a verb phrase                 (change the port)
    s pattern       a symptom, as a clause                   (the port is already in use)
    y pattern       a yes-or-no question or any other question, whole
    ? pattern       the same as y
    = text          an answer; several lines, several answers (\\n starts a new line)
    + text          what "tell me more" adds
    # text          a comment
"""

import glob
import os
import zlib

from . import noise
from .text import expand

NOUN_FRAMES = [
    (6, "what {is|are|'s} X"), (3, "explain X [{to me|simply|in simple {terms|words}|like i'm five|briefly|in one sentence|please|in detail|to a beginner}]"),
    (2, "{can|could|would|will} you [please] {explain|describe|define|tell me about|tell me what is|say something about|clarify|summarise} X"),
    (2, "tell me [{more|something|a bit|a little|everything}] about X"), (2, "what {does|do} X {mean|do|stand for|refer to}"),
    (2, "how {does|do|would} X [actually] {work|function|help|operate}"), (2, "X"), (1, "{define|describe|definition of|meaning of|explanation of|intro to|basics of|info on|information about|details on} X"),
    (1, "i {don't|do not|can't|never} {understand|get|grasp|follow} X"), (1, "why {does X matter|do we need X|is X {useful|important|good|needed}|would i {want|use|need|care about} X|should i care about X|use X}"),
    (1, "{what's|what is} the {point|purpose|idea|deal|story|use|benefit|advantage|concept|meaning|definition} {of|behind|with} X"),
    (1, "{give me|i need|i'd like|i want} {an overview|a summary|the gist|a short explanation|a definition|an explanation|a description|an introduction} {of|about|on|to} X"),
    (1, "i {keep hearing about|read about|came across|heard of|saw|stumbled upon|am learning about|want to learn about|want to understand} X, {what is it|what's that|what does it mean|can you explain|please explain|tell me more}"),
    (1, "help me {understand|with|grasp|learn about} X"), (1, "what do {people|you|they|engineers|folks} mean {by|with|when they say} X"),
    (1, "{walk me through|teach me|educate me about|introduce me to|enlighten me about|break down|talk about|describe in simple words} X"),
    (1, "how would you {explain|describe|define|sum up|summarise} X {to a {beginner|child|friend|newcomer|colleague|student}|in a sentence|simply|}"),
    (1, "what should i know about X"), (1, "what exactly {is|are} X"), (1, "X {meaning|explained|definition|overview|basics|?|in short|eli5|purpose|how it works}"),
    (1, "{in one sentence|in short|in simple terms|in plain words|briefly|roughly}, what {is|are} X"), (1, "is X {a good thing|worth it|important|something i need}"),
    (1, "i'm {curious|unsure|confused} about X"), (1, "do you know {what X is|about X|anything about X|X}"), (1, "have you heard of X"),
]
GOAL_FRAMES = [
    (6, "how {do|can|would|should|could|might} {i|we|you|one|somebody} X"), (3, "how to X"), (2, "{what's|what is} {the|a} [{best|right|easiest|proper|simplest|quickest|recommended|usual}] {way|method|approach|trick|procedure} to X"),
    (2, "i {want|need|would like|'d like|am trying|have|wish|tried|plan|intend|hope} to X"), (1, "{show|tell|teach|explain to|remind} me how {to|i can|i could|one can} X"),
    (1, "is {it possible|there a way|there any way|there an option|there a flag|there a command|there a means} to X"), (2, "{can|could|may} {i|you|weir|we|it|one} X"),
    (1, "{what|which} {command|flag|option|setting|switch|verb} {do i use|should i use|is used|is there|do i need|would i use|lets me|can i use|will help} to X"),
    (1, "{what|which} {command|flag|option|setting} {lets me|allows me to|would} X"), (1, "help me [to] X"), (1, "{steps|instructions|guide|recipe|command|tutorial|howto|tips|advice} {to|for how to} X"),
    (1, "i {can't|cannot|don't know how to|have no idea how to|am not sure how to|struggle to|can't figure out how to|never managed to} X"),
    (1, "what {should|must|do|can|would} {i|we|you} {do|type|enter|run|call|need} {to|in order to|if i want to} X"), (2, "X"), (1, "X {how|please|howto|command|how to|?|example}"),
    (1, "{any|some} {idea|ideas|tips|advice|suggestion|hints} {how to|on how to|to|for how i can} X"), (1, "does weir {let me|allow me to|help me} X"), (1, "how {does one|do people|do you guys|would a beginner} X"),
    (1, "my {goal|plan|task|job|aim} is to X"), (1, "i was {asked|told} to X, how {do i do that|does that work|}"), (1, "what if i {want|need|have} to X"), (1, "where {do|can|should} i X"),
    (1, "{let's|let me} X"), (1, "suppose i {want|need} to X, {what then|how|what do i do|what would you do}"), (1, "{can|could} you {show|tell|explain|help} {me|us} {how|how to} X"),
]
SYMPTOM_FRAMES = [
    (4, "X"), (3, "X[,|.| and] what {should|can|do|must|could} {i|we} {do|try|check|look at|change} [{now|next|about it|then}]"), (2, "X. {how|what} {do i {do|fix|fix it}|can i do|should i do|to do|now|next}"),
    (2, "X[.|,] how {do|can|could|should} {i|we} $fix {it|this|that}"), (2, "$why X"), (2, "what {should|can|do|to} {i do|we do|do} {when|if|once|in case} X"),
    (2, "help[,|!|:] X"), (1, "X[.|,] {any ideas|any idea|ideas|any tips|any suggestion|suggestions|any advice|any clue|any hints|thoughts}"),
    (1, "X and i {don't know|have no idea|can't see|don't understand|wonder|need to know|can't tell} why"), (1, "what {could|can|might|would|does} {cause|explain|be the reason for|be behind|trigger} {this|it|that}: X"),
    (1, "{i have a|we have a|there is a|here is my|got a|having a|i'm facing a} $error: X"), (1, "{it seems [that]|it looks like|i noticed [that]|i think|my problem is that|the problem is that|the issue is that|we found that|apparently|somehow} X"),
    (1, "$suddenly X"), (1, "X $suddenly"), (1, "X - {fix|solution|cause|reason|remedy|help|why}"), (1, "what's {wrong|going on|happening|the matter|the cause|the problem|the reason|the fix|the solution|the remedy} {if|when|here,} X"),
    (1, "{troubleshoot|debug|diagnose|solve|fix|explain|deal with} {this|the following}: X"), (1, "what does it mean {when|if|that} X"), (1, "{when|whenever|if} X, what {is the cause|is wrong|do i do|should i check|can i try|helps|went wrong|now}"),
    (1, "{can|could} you {help|tell me why|explain why|fix it|look into this}? X"), (1, "X. {what's wrong|what is happening|what happened|what went wrong|what am i doing wrong|did i do something wrong|what did i do|is that normal|why|why is that|how come}"),
    (1, "i tried everything but X"), (1, "where do i {look|start|begin} if X"),
]
FRAMES = {"n": NOUN_FRAMES, "g": GOAL_FRAMES, "s": SYMPTOM_FRAMES, "?": [(1, "X")]}
# What each kind of line is asked as, when an intent has several.
KIND_WEIGHT = {"n": 3, "g": 3, "s": 3, "?": 2}


class Intent:
    def __init__(self, name):
        self.name, self.asks, self.answers, self.more = name, {}, [], []

    def question(self, rng):
        """A clean question, before noise."""
        kinds = sorted(self.asks)
        kind = rng.weighted([(KIND_WEIGHT[k] * min(3, len(self.asks[k])), k) for k in kinds])
        core = expand(rng, rng.pick(self.asks[kind]))
        frame = expand(rng, rng.weighted(FRAMES[kind]))
        return frame.replace("X", core, 1)

    def held_back(self, question):
        """One phrasing in 25 is kept out of training, whatever noise it would wear."""
        return zlib.crc32(f"{self.name}\n{question.lower()}".encode()) % 25 == 0


def load(text):
    intents, now = [], None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line[0] == "#":
            continue
        mark, rest = line[0], line[1:].strip()
        if mark == "@":
            now = Intent(rest)
            intents.append(now)
        elif mark == "=":
            now.answers.append(rest.replace("\\n", "\n"))
        elif mark == "+":
            now.more.append(rest.replace("\\n", "\n"))
        elif mark in "ngs?y":
            now.asks.setdefault("?" if mark == "y" else mark, []).append(rest)
        else:
            raise ValueError(f"line {number}: unknown mark {mark!r}")
    for i in intents:
        if not i.asks or not i.answers:
            raise ValueError(f"intent {i.name}: needs questions and answers")
    return intents


def load_folder():
    here = os.path.join(os.path.dirname(__file__), "kb")
    groups = {}
    for path in sorted(glob.glob(os.path.join(here, "*.kb"))):
        with open(path) as f:
            groups[os.path.basename(path)[:-3]] = load(f.read())
    names = [i.name for g in groups.values() for i in g]
    if len(names) != len(set(names)):
        raise ValueError("two intents share a name: " + ", ".join(sorted(n for n in names if names.count(n) > 1)))
    return groups


def ask(rng, intent):
    """(clean question, question as typed, answer)"""
    clean = intent.question(rng)
    return clean, noise.disturb(rng, clean), rng.pick(intent.answers)
