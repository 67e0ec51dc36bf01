"""Byte-level BPE: trainer and encoder, standard library only.

The pre-tokeniser is GPT-2's pattern, so a GGUF file made from it declares
tokenizer.ggml.model = "gpt2" and tokenizer.ggml.pre = "gpt-2". Ids: the 256 bytes in
GPT-2's byte order, then the merges in the order they were learnt, then the specials.
"""

import heapq
import re
from collections import Counter, defaultdict

SPECIALS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|reserved_0|>",
    "<|reserved_1|>",
    "<|reserved_2|>",
    "<|reserved_3|>",
]

# GPT-2 writes \p{L} and \p{N}, which the standard library lacks. [^\W\d_] and \d agree with them on
# every character the corpus may hold (corpus.py refuses others).
PATTERN = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+"
)


def byte_order():
    """Bytes in GPT-2's order: printable ones first, the other 68 after them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return printable + [b for b in range(256) if b not in set(printable)]


def byte_to_char():
    """GPT-2's map of each byte to a visible character, in which GGUF spells tokens and merges."""
    table, extra = {}, 0
    for b in byte_order():
        if 33 <= b < 127 or 161 <= b < 173 or 174 <= b < 256:
            table[b] = chr(b)
        else:
            table[b] = chr(256 + extra)
            extra += 1
    return table


def count_words(texts):
    counts = Counter()
    for text in texts:
        counts.update(PATTERN.findall(text))
    return counts


def train(counts, vocab_size):
    """Learns merges from word counts; ties go to the smaller pair of ids, so the result is fixed.

    Returns the merges as (left id, right id) in order.
    """
    order = byte_order()
    byte_id = {b: i for i, b in enumerate(order)}
    words = sorted(counts.items())
    spelled = [[byte_id[b] for b in w.encode()] for w, _ in words]
    freqs = [n for _, n in words]
    pairs, where = Counter(), defaultdict(set)
    for i, ids in enumerate(spelled):
        for pair in zip(ids, ids[1:]):
            pairs[pair] += freqs[i]
            where[pair].add(i)
    heap = [(-n, pair) for pair, n in pairs.items()]
    heapq.heapify(heap)
    merges = []
    next_id = 256
    while next_id < vocab_size - len(SPECIALS) and heap:
        n, pair = heapq.heappop(heap)
        if pairs[pair] != -n:  # stale entry: the count has changed since
            continue
        merges.append(pair)
        touched = merge_everywhere(pair, next_id, spelled, freqs, pairs, where)
        for p in touched:
            if pairs[p] > 0:
                heapq.heappush(heap, (-pairs[p], p))
        next_id += 1
    if next_id != vocab_size - len(SPECIALS):
        raise ValueError(f"corpus too small for a vocabulary of {vocab_size}: {next_id} ids found")
    return merges


def merge_everywhere(pair, new_id, spelled, freqs, pairs, where):
    touched = set()
    for i in where.pop(pair):
        before = spelled[i]
        after = merge_once(before, pair, new_id)
        for p in zip(before, before[1:]):
            pairs[p] -= freqs[i]
            touched.add(p)
        for p in zip(after, after[1:]):
            pairs[p] += freqs[i]
            where[p].add(i)
            touched.add(p)
        spelled[i] = after
    return touched


def merge_once(ids, pair, new_id):
    out, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            out.append(new_id)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


class Tokenizer:
    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        self.rank = {m: i for i, m in enumerate(self.merges)}
        self.pieces = [bytes([b]) for b in byte_order()]
        for a, b in self.merges:
            self.pieces.append(self.pieces[a] + self.pieces[b])
        self.byte_id = {b: i for i, b in enumerate(byte_order())}
        self.special = {s: len(self.pieces) + i for i, s in enumerate(SPECIALS)}
        self.pieces += [s.encode() for s in SPECIALS]
        self.vocab_size = len(self.pieces)
        self.bos = self.special["<|begin_of_text|>"]
        self.eos = self.special["<|im_end|>"]
        self.pad = self.special["<|end_of_text|>"]
        self.split = re.compile("(" + "|".join(re.escape(s) for s in SPECIALS) + ")")
        self.cache = {}

    def word(self, word):
        ids = self.cache.get(word)
        if ids is None:
            ids = self.cache[word] = self._merge([self.byte_id[b] for b in word.encode()])
        return ids

    def _merge(self, ids):
        while len(ids) > 1:
            best = min(zip(ids, ids[1:]), key=lambda p: self.rank.get(p, 1 << 30))
            if best not in self.rank:
                break
            ids = merge_once(ids, best, 256 + self.rank[best])
        return ids

    def plain(self, text):
        """Ids of text in which specials are ordinary characters."""
        out = []
        for w in PATTERN.findall(text):
            out += self.word(w)
        return out

    def encode(self, text):
        """Ids of text in which specials count as such."""
        out = []
        for part in self.split.split(text):
            if part in self.special:
                out.append(self.special[part])
            elif part:
                out += self.plain(part)
        return out

    def decode(self, ids):
        return b"".join(self.pieces[i] for i in ids).decode(errors="replace")

    def gguf_tokens(self):
        """Token and merge spellings as GGUF stores them."""
        chars = byte_to_char()
        spell = lambda piece: "".join(chars[b] for b in piece)
        n = self.vocab_size - len(SPECIALS)
        tokens = [spell(p) for p in self.pieces[:n]] + SPECIALS
        merges = [spell(self.pieces[a]) + " " + spell(self.pieces[b]) for a, b in self.merges]
        return tokens, merges


def from_gguf(meta):
    """The tokeniser of a GGUF file this project wrote."""
    ids = {t: i for i, t in enumerate(meta["tokenizer.ggml.tokens"])}
    return Tokenizer([tuple(ids[s] for s in m.split(" ")) for m in meta["tokenizer.ggml.merges"]])
