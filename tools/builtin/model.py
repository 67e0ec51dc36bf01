"""The built-in model in PyTorch: the Llama shape, written to be read beside weir's own engine.

Rotary embedding turns adjacent pairs (2i, 2i+1), which is what a GGUF file of architecture "llama"
means by its q and k rows. Training with it directly means that no permutation is needed on export.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    vocab: int = 2048
    width: int = 256
    layers: int = 8
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 768
    context: int = 2048
    eps: float = 1e-5
    theta: float = 10000.0


MAIN = Config()
DRAFT = Config(layers=1, ffn=512)


def rope_table(cfg, n, dtype=torch.float32):
    """cos and sin [n, head_dim/2] of position * theta^(-2i/head_dim)."""
    i = torch.arange(0, cfg.head_dim, 2, dtype=torch.float64)
    angle = torch.outer(torch.arange(n, dtype=torch.float64), cfg.theta ** (-i / cfg.head_dim))
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rope(x, cos, sin):
    """x [b, heads, t, head_dim]; turns each adjacent pair by its position's angle."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).type_as(x)


class RMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        y = x.to(torch.promote_types(x.dtype, torch.float32))
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).type_as(x)


class Block(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        q, kv = cfg.heads * cfg.head_dim, cfg.kv_heads * cfg.head_dim
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.attn_norm = RMSNorm(cfg.width, cfg.eps)
        self.attn_q, self.attn_k, self.attn_v = linear(cfg.width, q), linear(cfg.width, kv), linear(cfg.width, kv)
        self.attn_output = linear(q, cfg.width)
        self.ffn_norm = RMSNorm(cfg.width, cfg.eps)
        self.ffn_gate, self.ffn_up = linear(cfg.width, cfg.ffn), linear(cfg.width, cfg.ffn)
        self.ffn_down = linear(cfg.ffn, cfg.width)

    def attend(self, x, cos, sin, mask, past):
        cfg, (b, t, _) = self.cfg, x.shape
        split = lambda y, h: y.view(b, t, h, cfg.head_dim).transpose(1, 2)  # [b, h, t, head_dim]
        q = rope(split(self.attn_q(x), cfg.heads), cos, sin)
        k = rope(split(self.attn_k(x), cfg.kv_heads), cos, sin)
        v = split(self.attn_v(x), cfg.kv_heads)
        if past is not None:
            k, v = past.extend(self, k, v)
        group = cfg.heads // cfg.kv_heads  # query head h reads key head h // group
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = attention(q, k, v, mask)
        return self.attn_output(y.transpose(1, 2).reshape(b, t, -1))

    def forward(self, x, cos, sin, mask, past=None, drop=0.0):
        x = x + F.dropout(self.attend(self.attn_norm(x), cos, sin, mask, past), drop, self.training)
        h = self.ffn_norm(x)
        h = self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))
        return x + F.dropout(h, drop, self.training)


def attention(q, k, v, mask):
    """q [b, h, t, d], k and v [b, h, s, d], mask [b or 1, 1, t, s] true where a key may be read."""
    # Written out: the fused kernels' backward passes add in no fixed order, and training must repeat.
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~mask, float("-inf")).softmax(-1).to(v.dtype) @ v


class Past:
    """Keys and values of the tokens seen, by block."""

    def __init__(self):
        self.kv, self.length = {}, 0

    def extend(self, block, k, v):
        if block in self.kv:
            k = torch.cat((self.kv[block][0], k), 2)
            v = torch.cat((self.kv[block][1], v), 2)
        self.kv[block] = (k, v)
        return k, v


class Llama(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.token_embd = nn.Embedding(cfg.vocab, cfg.width)
        self.blk = nn.ModuleList(Block(cfg) for _ in range(cfg.layers))
        self.output_norm = RMSNorm(cfg.width, cfg.eps)
        cos, sin = rope_table(cfg, cfg.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.reset()

    def reset(self):
        for name, p in self.named_parameters():
            if p.ndim == 2:
                last = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(p, 0, 0.02 / (math.sqrt(2 * self.cfg.layers) if last else 1))

    def hidden(self, ids, mask, past=None, drop=0.0):
        """ids [b, t], mask [b or 1, 1, t, s] -> hidden states after the last norm [b, t, width]."""
        start = past.length if past else 0
        cos, sin = self.cos[start : start + ids.shape[1]], self.sin[start : start + ids.shape[1]]
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, cos, sin, mask, past, drop)
        if past:
            past.length += ids.shape[1]
        return self.output_norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.token_embd.weight)  # tied embeddings

    def forward(self, ids, mask, drop=0.0):
        return self.logits(self.hidden(ids, mask, None, drop))


def causal(t, device=None):
    return torch.ones(t, t, dtype=torch.bool, device=device).tril()[None, None]


class MedusaHeads(nn.Module):
    """Medusa-1: head k reads the hidden state at t and predicts token t+k+2 (the model itself: t+1)."""

    def __init__(self, count, width, vocab):
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(width, width) for _ in range(count))
        self.out = nn.ModuleList(nn.Linear(width, vocab, bias=False) for _ in range(count))

    def start_from(self, model):
        for linear, out in zip(self.linear, self.out):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
            out.weight.data.copy_(model.token_embd.weight)

    def forward(self, h):
        return [out(h + F.silu(linear(h))) for linear, out in zip(self.linear, self.out)]


@torch.no_grad()
def greedy(model, prompts, eos, limit, pad=0):
    """Greedy continuations of a batch of id lists, padded on the left; stops each at eos."""
    device = model.token_embd.weight.device
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)
    real = torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts], device=device)
    past, out = Past(), []
    mask = causal(width, device) & (real[:, None, None, :] | torch.eye(width, dtype=torch.bool, device=device))
    alive = torch.ones(len(prompts), dtype=torch.bool, device=device)
    for _ in range(min(limit, model.cfg.context - width)):
        h = model.hidden(ids, mask, past)[:, -1]
        token = model.logits(h).argmax(-1)
        out.append(torch.where(alive, token, eos))
        alive &= token != eos
        if not alive.any():
            break
        ids = token[:, None]
        real = torch.cat((real, torch.ones_like(alive)[:, None]), 1)
        mask = real[:, None, None, :]
    rows = torch.stack(out, 1).tolist()
    return [row[: row.index(eos)] if eos in row else row for row in rows]
