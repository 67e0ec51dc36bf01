"""Tests of the generator and the file formats: python3 -m unittest test_builtin (needs numpy and PyTorch)."""

import os
import random
import tempfile
import unittest

import numpy as np
import torch

import bpe
import data
import gguf
from corpus import assemble, knowledge, text
from model import Config, Llama, causal, greedy


class Corpus(unittest.TestCase):
    def test_every_pattern_expands(self):
        rng = text.Rand(random.Random(1))
        for group in knowledge.load_folder().values():
            for intent in group:
                for patterns in intent.asks.values():
                    for p in patterns:
                        self.assertNotRegex(text.expand(rng, p), r"[{}|$]", p)

    def test_bad_patterns_are_refused(self):
        for bad in ("{a|b", "a}", "[x", "$nosuchname"):
            with self.assertRaises(ValueError, msg=bad):
                text.parse(bad)

    def test_a_seed_fixes_the_corpus_whatever_the_workers(self):
        one, two = assemble.build(7, 4000, 1), assemble.build(7, 4000, 2)
        self.assertEqual(one.sha256, two.sha256)
        self.assertEqual(one.train, two.train)
        self.assertNotEqual(one.sha256, assemble.build(8, 4000, 2).sha256)

    def test_held_back_phrasings_stay_out_of_training(self):
        c = assemble.build(7, 4000, 2)
        self.assertTrue(c.dev)
        self.assertFalse([d for d in c.train if d.get("held")])

    def test_characters_split_as_gpt2_would(self):
        # bpe.PATTERN equals GPT-2's pattern on ASCII; the corpus keeps to that.
        c = assemble.build(7, 4000, 2)
        for d in c.train:
            for t in assemble.texts_of(d):
                self.assertTrue(t.isascii(), t)
                self.assertNotIn("%PORT%", t)


class Tokenizer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tok = bpe.Tokenizer(bpe.train(assemble.build(7, 6000, 2).words, 2048))

    def test_round_trip(self):
        for s in ("Hello, world!", "  two  spaces\n\tand a tab\n\n", "naïve 漢字 🦊", "a_b's 1234.5", ""):
            self.assertEqual(self.tok.decode(self.tok.encode(s)), s)

    def test_specials(self):
        ids = self.tok.encode("<|im_start|>user\nhi<|im_end|>")
        self.assertEqual((ids[0], ids[-1]), (2042, 2043))
        self.assertNotIn(2042, self.tok.plain("<|im_start|>"))

    def test_gguf_spelling_round_trip(self):
        tokens, merges = self.tok.gguf_tokens()
        self.assertEqual((len(tokens), len(set(tokens))), (2048, 2048))
        again = bpe.from_gguf({"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": merges})
        s = "How do I change the port?\n"
        self.assertEqual(again.encode(s), self.tok.encode(s))

    def test_only_what_the_assistant_says_weighs_fully(self):
        chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello!"}]
        ids, weights = data.encode_document(self.tok, {"messages": chat})
        self.assertEqual(ids, self.tok.encode(data.render(chat, generate=False)))
        heavy = [i for i, w in zip(ids, weights) if w == data.ASSISTANT]
        self.assertEqual(self.tok.decode(heavy), "Hello!<|im_end|>")


class Files(unittest.TestCase):
    def test_q8_0_error_is_within_half_a_step(self):
        x = np.random.default_rng(1).normal(size=(4, 256)).astype(np.float32)
        x[0, :32] = 0
        back = gguf.dequantize_q8_0(gguf.quantize_q8_0(x), x.shape)
        step = np.abs(x.reshape(-1, 32)).max(1) / 127
        # Half a step, and what rounding the scale to a half adds over 127 steps.
        self.assertTrue((np.abs(back - x).reshape(-1, 32) <= step[:, None] * (0.5 + 127 / 2048) + 1e-9).all())

    def test_gguf_round_trip(self):
        x = np.random.default_rng(2).normal(size=(8, 64)).astype(np.float32)
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "x.gguf")
            meta = {"a": 1, "b": 1.5, "c": "text", "d": False, "e": gguf.Typed(gguf.ARRAY, ["x", "y"], gguf.STRING)}
            gguf.write(path, meta, {"m": x, "v": x[0]})
            r = gguf.Reader(path)
        self.assertEqual(r.meta, {"a": 1, "b": 1.5, "c": "text", "d": False, "e": ["x", "y"]})
        np.testing.assert_array_equal(r.tensors["v"], x[0])
        np.testing.assert_allclose(r.tensors["m"], x, atol=0.05)


class Model(unittest.TestCase):
    def test_greedy_in_a_batch_equals_recomputation(self):
        torch.manual_seed(3)
        model = Llama(Config(vocab=64, layers=2, ffn=256, context=64)).eval()
        prompts = [[5, 9, 2], [7, 1, 1, 8, 3, 4], [6]]
        for prompt, got in zip(prompts, greedy(model, prompts, -1, 8)):
            ids = list(prompt)
            for _ in range(8):
                with torch.no_grad():
                    ids.append(int(model(torch.tensor([ids]), causal(len(ids)))[0, -1].argmax()))
            self.assertEqual(ids[len(prompt) :], got)


if __name__ == "__main__":
    unittest.main()
