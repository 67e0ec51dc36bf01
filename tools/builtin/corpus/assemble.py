"""Documents for training: conversations and plain text, made in shards, the same for a seed on any machine."""

import hashlib
import multiprocessing
import random
from collections import Counter
from dataclasses import dataclass, field

import bpe
import data

from . import code, knowledge, records, stories, talk
from .text import Rand, expand

SHARD = 2000  # documents made from one stream of random numbers
PORT = "8080"  # weir's default port, as the answers give it

# What a conversation's turns are about.
TOPICS = [(46, "knowledge"), (13, "talk"), (7, "facts"), (4, "sums"), (8, "unknown"), (8, "story"), (7, "record"), (7, "code")]
# What a document is.
KINDS = [(58, "single"), (26, "several"), (4, "long"), (12, "plain")]

SYSTEMS = (
    "You are a helpful assistant.|You are weir-mini, a small assistant built into weir.|You are a friendly assistant.|"
    "You are a helpful, honest and concise assistant.|You are an assistant.|Help the user with their questions.|"
    "You are an AI assistant.|Answer the user's questions.|Be polite.|You are a support agent for weir.|You are a chatbot.|"
    "You help people who run language models.|You are a careful assistant that answers in English.|Be helpful."
)
BRIEF = (
    "Answer briefly.|Be brief.|Keep your answers short.|You are a helpful assistant. Answer in one sentence.|"
    "Answer in one short sentence.|You are a concise assistant.|Reply with as few words as you can.|Short answers only."
)
FOLLOW_MORE = (
    "{tell me more|more|go on|continue|more details|more detail please|please continue|elaborate|can you elaborate|can you say more|"
    "tell me more about {it|that|this}|what else|anything else|and|i want to know more|keep going|say more|give me more details|"
    "could you expand on that|expand|any more details|is there more|explain further|explain more|go deeper}[?| please|]"
)
FOLLOW_SHORT = (
    "{shorter|shorter please|too long|in short|make it shorter|can you make it shorter|summarise that|in one sentence|briefly|tl;dr|"
    "sum it up|that's too long|the short version|a shorter answer please|say it shorter|summary please|in a nutshell|"
    "can you say that in one sentence|give me the short version|be brief}[?| please|]"
)
FOLLOW_REPEAT = (
    "{repeat that|again|say that again|can you repeat that|pardon|sorry, what|what did you say|come again|once more|"
    "could you say that again|repeat please|i missed that|please repeat|say it again}[?| please|]"
)
NO_MORE = (
    "That is all I know about it. I am only a small model; a larger one can tell you more: `weir serve model.gguf`.",
    "I have nothing to add: I am a small model. For more, serve a larger one with `weir serve model.gguf`.",
)


def first_sentence(text):
    if "```" in text:
        return text
    for i, c in enumerate(text[:-1]):
        if c in ".?!" and text[i + 1] in " \n" and i > 12:
            return text[: i + 1]
    return text


class Writer:
    """Makes the documents of one shard."""

    def __init__(self, seed, groups):
        self.rng = Rand(random.Random(seed))
        self.smalltalk = groups["talk"]
        self.intents = [i for g, members in groups.items() if g != "talk" for i in members]

    def document(self):
        kind = self.rng.weighted(KINDS)
        if kind == "plain":
            return self.plain()
        turns = {"single": 1, "several": self.rng.between(2, 5), "long": self.rng.between(8, 24)}[kind]
        return self.chat(turns)

    def plain(self):
        what = self.rng.below(10)
        if what < 5:
            text = stories.plain(self.rng)
        elif what < 7:
            text = self.rng.pick(self.intents)
            text = self.rng.pick(text.answers) + ("" if not text.more else " " + self.rng.pick(text.more))
        elif what < 8:
            text = records.plain(self.rng)
        elif what < 9:
            text = code.plain(self.rng)
        else:
            clean, _, answer = knowledge.ask(self.rng, self.rng.pick(self.intents))
            text = f"Question: {clean}\nAnswer: {answer}"
        return {"kind": "plain", "text": text.replace("%PORT%", PORT), "bos": self.rng.chance(0.5)}

    def chat(self, turns):
        rng, messages = self.rng, []
        brief = False
        if rng.chance(0.3):
            brief = rng.chance(0.15)
            messages.append({"role": "system", "content": expand(rng, "{" + (BRIEF if brief else SYSTEMS) + "}")})
        doc = {"kind": "chat", "messages": messages}
        state = talk.State()
        while turns > 0:
            turns -= 1
            topic = rng.weighted(TOPICS)
            question, answer, more = self.turn(topic, state, doc)
            if brief:
                answer = first_sentence(answer)
            self.say(messages, question, answer)
            if turns > 0 and topic in ("knowledge", "unknown", "facts") and rng.chance(0.35):
                turns -= 1
                self.follow_up(messages, answer, more, brief)
        if brief:
            doc.pop("accept", None)
        for m in messages:
            m["content"] = m["content"].replace("%PORT%", PORT)
        return doc

    def say(self, messages, question, answer):
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    def turn(self, topic, state, doc):
        """(question, answer, what more there is to say)"""
        rng = self.rng
        if topic == "knowledge":
            intent = rng.pick(self.intents)
            clean, typed, answer = knowledge.ask(rng, intent)
            if intent.held_back(clean):
                doc["held"] = True
                if not doc["messages"] or doc["messages"][0]["role"] == "system" and len(doc["messages"]) == 1:
                    doc["ask"] = len(doc["messages"])
                    doc["accept"] = [a.replace("%PORT%", PORT) for a in intent.answers]
            return typed, answer, intent.more
        if topic == "talk":
            return (*talk.small_talk(rng, state, self.smalltalk), [])
        makers = {"facts": talk.fact, "sums": talk.sum_up, "unknown": talk.unknown}
        if topic in makers:
            return (*makers[topic](rng, state), [])
        return (*{"story": stories.chat, "record": records.chat, "code": code.chat}[topic](rng), [])

    def follow_up(self, messages, answer, more, brief):
        rng = self.rng
        how = rng.below(3)
        if how == 0:
            self.say(messages, expand(rng, FOLLOW_MORE), rng.pick(more) if more else rng.pick(NO_MORE))
        elif how == 1 and not brief:
            self.say(messages, expand(rng, FOLLOW_SHORT), first_sentence(answer))
        else:
            self.say(messages, expand(rng, FOLLOW_REPEAT), answer)


def texts_of(doc):
    return [doc["text"]] if "text" in doc else [m["content"].strip() for m in doc["messages"]]


GROUPS = None


def make_shard(seed):
    """(documents, word counts, digest) of one shard."""
    global GROUPS
    GROUPS = GROUPS or knowledge.load_folder()
    writer = Writer(seed, GROUPS)
    docs = [writer.document() for _ in range(SHARD)]
    counts, digest = Counter(), hashlib.sha256()
    for d in docs:
        for t in texts_of(d):
            digest.update(t.encode() + b"\n")
        if not d.get("held"):
            counts.update(bpe.count_words(texts_of(d)))
    return docs, counts, digest.digest()


@dataclass
class Corpus:
    train: list = field(default_factory=list)
    dev: list = field(default_factory=list)
    words: Counter = field(default_factory=Counter)
    bytes: int = 0
    repeats: int = 0
    sha256: str = ""

    def facts(self):
        return {
            "documents": len(self.train), "held_back": len(self.dev), "bytes": self.bytes,
            "repeats_dropped": self.repeats, "sha256": self.sha256,
        }

    def summary(self):
        return ", ".join(f"{k} {v}" for k, v in self.facts().items())


def build(seed, documents, workers):
    """The corpus for a seed. Every letter of it hangs on seed and documents alone, not on workers."""
    seeds = [seed * 100_000 + i for i in range(-(-documents // SHARD))]
    corpus, digest, seen = Corpus(), hashlib.sha256(), set()
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for docs, counts, d in pool.imap(make_shard, seeds):
            digest.update(d)
            corpus.words.update(counts)
            for doc in docs:
                key = hashlib.blake2b("\n".join(texts_of(doc)).encode(), digest_size=8).digest()
                if key in seen:
                    corpus.repeats += 1
                    continue
                seen.add(key)
                (corpus.dev if doc.get("held") else corpus.train).append(doc)
                corpus.bytes += sum(len(t) for t in texts_of(doc))
    corpus.sha256 = digest.hexdigest()
    return corpus


TOK = None


def encode_some(docs):
    return [data.encode_document(TOK, d) for d in docs]


def encode(docs, tok, workers):
    """Token ids and loss weights of documents, in order."""
    global TOK
    TOK = tok
    parts = [docs[i : i + SHARD] for i in range(0, len(docs), SHARD)]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return [d for part in pool.imap(encode_some, parts) for d in part]
