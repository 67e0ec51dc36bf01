"""A reference for EAGLE heads, in Python alone (float64), and the goldens that
internal/spec/draft compares with:

    python3 tools/reference/eagle.py internal/spec/draft/testdata

The layout and the arithmetic are those of the EAGLE project's cnets1.py (EAGLE-1
and -2) and cnets.py (EAGLE-3), written down from its description: no PyTorch was
at hand, so nothing here is its output. For each kind it writes a checkpoint
(eagleN.safetensors, float32), its config.json, and eagleN.json: the tokens, the
model's states, and the logits after each position and after three guesses.
"""

import json
import math
import random
import struct
import sys

WIDTH, HEADS, KV_HEADS, FFN, VOCAB, DRAFTS, LAYERS, EPS, THETA = 16, 4, 2, 24, 40, 12, 8, 1e-5, 10000.0
HEAD = WIDTH // HEADS


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


class Random:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def matrix(self, rows, cols, scale):
        return [[f32(self.r.gauss(0, scale)) for _ in range(cols)] for _ in range(rows)]

    def vector(self, n, scale=0.2, mean=1.0):
        return [f32(self.r.gauss(mean, scale)) for _ in range(n)]


def mul(w, x):
    return [sum(a * b for a, b in zip(row, x)) for row in w]


def plus(a, b):
    return [x + y for x, y in zip(a, b)]


def norm(x, w):
    s = 1 / math.sqrt(sum(v * v for v in x) / len(x) + EPS)
    return [v * s * g for v, g in zip(x, w)]


def rotate(x, pos):
    half = HEAD // 2
    out = list(x)
    for i in range(half):
        angle = pos * THETA ** (-2 * i / HEAD)
        a, b = x[i], x[i + half]
        out[i] = a * math.cos(angle) - b * math.sin(angle)
        out[i + half] = b * math.cos(angle) + a * math.sin(angle)
    return out


def heads(x):
    return [x[i:i + HEAD] for i in range(0, len(x), HEAD)]


class Layer:
    """One decoder layer with its cache; three is EAGLE-3's."""

    def __init__(self, w, three):
        self.w, self.three, self.keys, self.values = w, three, [], []

    def __call__(self, emb, x):
        w, p = self.w, "midlayer." if self.three else "layers.0."
        if self.three:
            seen = norm(emb, w[p + "input_layernorm.weight"]) + norm(x, w[p + "hidden_norm.weight"])
        else:
            seen = x
        pos = len(self.keys)
        q = [rotate(h, pos) for h in heads(mul(w[p + "self_attn.q_proj.weight"], seen))]
        self.keys.append([rotate(h, pos) for h in heads(mul(w[p + "self_attn.k_proj.weight"], seen))])
        self.values.append(heads(mul(w[p + "self_attn.v_proj.weight"], seen)))
        out = []
        for i, h in enumerate(q):
            kv = i * KV_HEADS // HEADS
            scores = [sum(a * b for a, b in zip(h, k[kv])) / math.sqrt(HEAD) for k in self.keys]
            top = max(scores)
            e = [math.exp(s - top) for s in scores]
            out += [sum(p * v[kv][j] for p, v in zip(e, self.values)) / sum(e) for j in range(HEAD)]
        x = plus(x, mul(w[p + "self_attn.o_proj.weight"], out))
        n = norm(x, w[p + "post_attention_layernorm.weight"])
        gate, up = mul(w[p + "mlp.gate_proj.weight"], n), mul(w[p + "mlp.up_proj.weight"], n)
        return plus(x, mul(w[p + "mlp.down_proj.weight"], [g / (1 + math.exp(-g)) * u for g, u in zip(gate, up)]))


def layer_weights(r, prefix, seen):
    q, kv = HEADS * HEAD, KV_HEADS * HEAD
    return {
        prefix + "self_attn.q_proj.weight": r.matrix(q, seen * WIDTH, 0.4),
        prefix + "self_attn.k_proj.weight": r.matrix(kv, seen * WIDTH, 0.4),
        prefix + "self_attn.v_proj.weight": r.matrix(kv, seen * WIDTH, 0.3),
        prefix + "self_attn.o_proj.weight": r.matrix(WIDTH, q, 0.3),
        prefix + "post_attention_layernorm.weight": r.vector(WIDTH),
        prefix + "mlp.gate_proj.weight": r.matrix(FFN, WIDTH, 0.3),
        prefix + "mlp.up_proj.weight": r.matrix(FFN, WIDTH, 0.3),
        prefix + "mlp.down_proj.weight": r.matrix(WIDTH, FFN, 0.3),
    }


def make(three, directory):
    r = Random(3 if three else 1)
    model = {"embedding": r.matrix(VOCAB, WIDTH, 1), "norm": r.vector(WIDTH), "output": r.matrix(VOCAB, WIDTH, 0.4)}
    if three:
        w = layer_weights(r, "midlayer.", 2)
        w["midlayer.input_layernorm.weight"], w["midlayer.hidden_norm.weight"] = r.vector(WIDTH), r.vector(WIDTH)
        w["fc.weight"] = r.matrix(WIDTH, 3 * WIDTH, 0.2)
        w["norm.weight"], w["lm_head.weight"] = r.vector(WIDTH), r.matrix(DRAFTS, WIDTH, 0.4)
        chosen = sorted(r.r.sample(range(VOCAB), DRAFTS))
        w["d2t"] = [t - i for i, t in enumerate(chosen)]
    else:
        w = layer_weights(r, "layers.0.", 1)
        w["fc.weight"], w["fc.bias"] = r.matrix(WIDTH, 2 * WIDTH, 0.3), r.vector(WIDTH, 0.1, 0)
        w["embed_tokens.weight"] = model["embedding"]
    taps = 3 if three else 1
    tokens = [r.r.randrange(VOCAB) for _ in range(7)]
    states = [[f32(r.r.gauss(0, 1)) for _ in range(taps * WIDTH)] for _ in range(6)]

    layer = Layer(w, three)

    def step(token, state, own):
        emb = model["embedding"][token]
        if not three:
            x = plus(mul(w["fc.weight"], emb + (state if own else norm(state, model["norm"]))), w["fc.bias"])
        else:
            x = state if own else mul(w["fc.weight"], state)
        x = layer(emb, x)
        if not three:
            return x, mul(model["output"], x)
        small = mul(w["lm_head.weight"], norm(x, w["norm.weight"]))
        return x, small

    logits, guesses = [], []
    for i, s in enumerate(states):
        x, l = step(tokens[i + 1], s, False)
        logits.append(l)
    for _ in range(3):
        best = max(range(len(l)), key=lambda i: l[i])
        guesses.append(best + w["d2t"][best] if three else best)
        x, l = step(guesses[-1], x, True)
        logits.append(l)
    name = "eagle3" if three else "eagle1"
    write(f"{directory}/{name}.safetensors", w)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLMEagle3" if three else "LlamaForCausalLM"],
              "hidden_size": WIDTH, "intermediate_size": FFN, "num_hidden_layers": 1, "num_attention_heads": HEADS,
              "num_key_value_heads": KV_HEADS, "vocab_size": VOCAB, "rms_norm_eps": EPS, "rope_theta": THETA,
              "hidden_act": "silu", "max_position_embeddings": 64}
    config.update({"draft_vocab_size": DRAFTS} if three else {"bias": True})
    json.dump({"config": config, "layers": LAYERS, "model": model, "tokens": tokens, "states": states,
               "guesses": guesses, "logits": logits}, open(f"{directory}/{name}.json", "w"), separators=(",", ":"))


def write(path, tensors):
    header, data = {}, b""
    for name, t in tensors.items():
        if name == "d2t":
            kind, shape, raw = "I64", [len(t)], struct.pack(f"<{len(t)}q", *t)
        else:
            flat = t if not isinstance(t[0], list) else [v for row in t for v in row]
            kind, shape = "F32", [len(t)] if not isinstance(t[0], list) else [len(t), len(t[0])]
            raw = struct.pack(f"<{len(flat)}f", *flat)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


for three in (False, True):
    make(three, sys.argv[1])
