"""EAGLE heads in PyTorch, and the goldens that internal/spec/draft compares with:

    python3 tools/reference/eagle.py internal/spec/draft/testdata

A module's state_dict is a checkpoint: its names and shapes are those of the EAGLE project's cnets1.py
(EAGLE-1 and -2) and cnets.py (EAGLE-3). For each kind this writes a checkpoint with random weights
(eagleN.safetensors, float32) and eagleN.json: its config.json, the ends of a model, the model's states, and
what the heads make of them in float64, all positions at once: the logits after each, and after three greedy
guesses; and draft trees as EAGLE-2 makes them. check_eagle.py compares the same with the EAGLE project's own code.
"""

import json
import math
import struct
import sys

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, HEADS, KV_HEADS, FFN, VOCAB, DRAFTS, LAYERS, EPS, THETA = 16, 4, 2, 24, 40, 12, 8, 1e-5, 10000.0
HEAD = WIDTH // HEADS
TOKENS = 7  # known; a state stands before each but the first
GUESSES = 3
BREADTH = 4  # of a draft tree


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(WIDTH))

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS)


class Attention(nn.Module):
    """seen: how many vectors of the model's width queries, keys and values are made of."""

    def __init__(self, seen):
        super().__init__()
        self.q_proj = nn.Linear(seen * WIDTH, HEADS * HEAD, bias=False)
        self.k_proj = nn.Linear(seen * WIDTH, KV_HEADS * HEAD, bias=False)
        self.v_proj = nn.Linear(seen * WIDTH, KV_HEADS * HEAD, bias=False)
        self.o_proj = nn.Linear(HEADS * HEAD, WIDTH, bias=False)

    def forward(self, x):  # [n, seen*width]
        n = len(x)
        split = lambda y, heads: y.view(n, heads, HEAD).transpose(0, 1)  # [heads, n, head]
        q, k, v = split(self.q_proj(x), HEADS), split(self.k_proj(x), KV_HEADS), split(self.v_proj(x), KV_HEADS)
        k, v = (y.repeat_interleave(HEADS // KV_HEADS, 0) for y in (rotate(k), v))
        scores = rotate(q) @ k.transpose(1, 2) / math.sqrt(HEAD)
        later = torch.ones(n, n, dtype=torch.bool).triu(1)
        out = scores.masked_fill(later, -math.inf).softmax(-1) @ v
        return self.o_proj(out.transpose(0, 1).reshape(n, HEADS * HEAD))


def rotate(x):  # [heads, n, head]
    angle = torch.arange(x.shape[1]).double()[:, None] * THETA ** (-torch.arange(0, HEAD, 2).double() / HEAD)
    a, b = x.chunk(2, -1)
    return torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), -1)


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, FFN, bias=False)
        self.up_proj = nn.Linear(WIDTH, FFN, bias=False)
        self.down_proj = nn.Linear(FFN, WIDTH, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer1(nn.Module):
    """A Llama layer without its first norm."""

    def __init__(self):
        super().__init__()
        self.self_attn, self.post_attention_layernorm, self.mlp = Attention(1), Norm(), MLP()

    def forward(self, x):
        x = x + self.self_attn(x)
        return x + self.mlp(self.post_attention_layernorm(x))


class Layer3(nn.Module):
    """A Llama layer whose attention sees the tokens beside the states."""

    def __init__(self):
        super().__init__()
        self.self_attn, self.post_attention_layernorm, self.mlp = Attention(2), Norm(), MLP()
        self.input_layernorm, self.hidden_norm = Norm(), Norm()

    def forward(self, emb, x):
        x = x + self.self_attn(torch.cat((self.input_layernorm(emb), self.hidden_norm(x)), -1))
        return x + self.mlp(self.post_attention_layernorm(x))


class Eagle1(nn.Module):
    taps, name, architecture = 1, "eagle1", "LlamaForCausalLM"

    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB, WIDTH)
        self.layers = nn.ModuleList([Layer1()])
        self.fc = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, states, own, tokens, ends):
        """States of the model, then the heads' own; the token after each. Returns states and logits."""
        states = torch.cat((ends.norm(states), own))  # a model hands out its last state after its last norm
        x = self.layers[0](self.fc(torch.cat((self.embed_tokens(tokens), states), -1)))
        return x, ends.output(x)

    def token(self, i):
        return i


class Eagle3(nn.Module):
    taps, name, architecture = 3, "eagle3", "LlamaForCausalLMEagle3"

    def __init__(self):
        super().__init__()
        self.midlayer, self.norm = Layer3(), Norm()
        self.fc = nn.Linear(3 * WIDTH, WIDTH, bias=False)
        self.lm_head = nn.Linear(WIDTH, DRAFTS, bias=False)
        self.register_buffer("d2t", torch.randperm(VOCAB)[:DRAFTS].sort().values - torch.arange(DRAFTS))

    def forward(self, states, own, tokens, ends):
        x = self.midlayer(ends.embedding(tokens), torch.cat((self.fc(states), own)))
        return x, self.lm_head(self.norm(x))

    def token(self, i):
        return i + int(self.d2t[i])


class Ends(nn.Module):
    """The first and the last of a model."""

    def __init__(self):
        super().__init__()
        self.embedding, self.norm, self.output = nn.Embedding(VOCAB, WIDTH), Norm(), nn.Linear(WIDTH, VOCAB, bias=False)


def fill(module):
    """Random weights that keep what flows through them of a size, and exact in float32."""
    for name, p in module.named_parameters():
        if p.dim() == 1:
            centre, scale = (0, 0.1) if name.endswith("bias") else (1, 0.2)
        else:
            centre, scale = 0, 1 if "emb" in name else 1.2 / math.sqrt(p.shape[1])
        p.data = (centre + scale * torch.randn(p.shape)).double()


def build(kind):
    """Heads, a model's ends, tokens and states: the same each time."""
    torch.manual_seed(kind.taps)
    heads, ends = kind().double(), Ends().double()
    fill(heads)
    fill(ends)
    if kind is Eagle1:
        ends.embedding.weight = heads.embed_tokens.weight
    return heads, ends, torch.randint(VOCAB, (TOKENS,)), torch.randn(TOKENS - 1, kind.taps * WIDTH).double()


def config(kind):
    c = {"model_type": "llama", "architectures": [kind.architecture], "hidden_size": WIDTH, "intermediate_size": FFN,
         "num_hidden_layers": 1, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "vocab_size": VOCAB,
         "rms_norm_eps": EPS, "rope_theta": THETA, "hidden_act": "silu", "max_position_embeddings": 64}
    return {**c, **({"draft_vocab_size": DRAFTS} if kind is Eagle3 else {"bias": True})}


def run(heads, ends, tokens, states):
    """The logits after each state and after greedy guesses, which are returned, too."""
    guesses, own = [], states.new_empty(0, WIDTH)
    for _ in range(GUESSES + 1):
        after = torch.cat((tokens[1:], torch.tensor(guesses, dtype=torch.long)))
        x, logits = heads(states, own, after, ends)
        own = x[len(states) - 1 :]  # what was guessed goes on from the state before it
        guesses.append(heads.token(int(logits[-1].argmax())))
    return logits, guesses[:GUESSES]


def trees(heads, ends, tokens, states):
    """The draft trees of EAGLE-2 (topK_genrate of the EAGLE project): layer by layer the BREADTH likeliest tokens
    after each of the BREADTH paths that are likeliest as a whole; of all of them those of the greatest chance."""

    def after(path):  # log probabilities
        own = states.new_empty(0, WIDTH)
        for i in range(len(path) + 1):
            x, logits = heads(states, own, torch.cat((tokens[1:], torch.tensor(path[:i], dtype=torch.long))), ends)
            own = x[len(states) - 1 :]
        return logits[-1].log_softmax(-1)

    def onward(layer):
        found = []
        for chance, path in layer:
            best = after(path).topk(BREADTH)
            found += [(chance + p, path + [heads.token(i)]) for p, i in zip(best.values.tolist(), best.indices.tolist())]
        return found

    out = []
    for size, depth in ((1, 1), (3, 1), (3, 3), (5, 2), (6, 4), (8, 3), (8, 5)):
        layer = thought = onward([(0.0, [])])
        for _ in range(depth - 1):
            layer = onward(sorted(layer, key=lambda n: -n[0])[:BREADTH])
            thought = thought + layer
        chosen = sorted(thought, key=lambda n: -n[0])[:size]
        out.append({"breadth": BREADTH, "size": size, "depth": depth, "paths": [path for _, path in chosen]})
    return out


def write(path, tensors):
    header, data = {}, b""
    for name, t in tensors.items():
        kind, t = ("I64", t) if t.dtype == torch.long else ("F32", t.float())
        raw = t.contiguous().numpy().tobytes()
        header[name] = {"dtype": kind, "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


@torch.no_grad()
def main(directory):
    for kind in (Eagle1, Eagle3):
        heads, ends, tokens, states = build(kind)
        logits, guesses = run(heads, ends, tokens, states)
        write(f"{directory}/{kind.name}.safetensors", heads.state_dict())
        golden = {"config": config(kind), "layers": LAYERS, "torch": torch.__version__,
                  "model": {"embedding": ends.embedding.weight.tolist(), "norm": ends.norm.weight.tolist(),
                            "output": ends.output.weight.tolist()},
                  "tokens": tokens.tolist(), "states": states.tolist(), "guesses": guesses, "logits": logits.tolist(),
                  "trees": trees(heads, ends, tokens, states)}
        with open(f"{directory}/{kind.name}.json", "w") as f:
            json.dump(golden, f, separators=(",", ":"))


if __name__ == "__main__":
    main(sys.argv[1])
