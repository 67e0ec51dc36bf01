"""The families that weir runs, in plain PyTorch and float64, one step after another.

Written from the definitions: RMSNorm (Zhang & Sennrich 2019), rotary embeddings (Su et al. 2021), grouped-query
attention (Ainslie et al. 2023), SwiGLU (Shazeer 2020), sliding windows (Jiang et al. 2023), YaRN (Peng et al. 2023),
Llama 3's frequency scaling (Meta's release). It is slow and keeps nothing between calls: what a forward pass means,
not how to run one. check_transformers.py compares it with Hugging Face's models.
"""

import math

import torch


def forward(c, weights, ids):
    """Logits [len(ids), vocab] of a sequence. c: the fields of config.json; weights: name -> tensor."""
    w = {name: torch.as_tensor(t).double() for name, t in weights.items()}
    eps = c["rms_norm_eps"]
    x = w["model.embed_tokens.weight"][torch.tensor(ids)]  # [n, width]
    for i in range(c["num_hidden_layers"]):
        layer = {k[len(f"model.layers.{i}.") :]: v for k, v in w.items() if k.startswith(f"model.layers.{i}.")}
        x = x + attention(c, layer, rms_norm(x, layer["input_layernorm.weight"], eps), window(c, i))
        x = x + mlp(layer, rms_norm(x, layer["post_attention_layernorm.weight"], eps))
    x = rms_norm(x, w["model.norm.weight"], eps)
    return x @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T


def rms_norm(x, weight, eps):
    return weight * x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)


def linear(layer, name, x):
    y = x @ layer[name + ".weight"].T
    return y + layer[name + ".bias"] if name + ".bias" in layer else y


def mlp(layer, x):
    gate = linear(layer, "mlp.gate_proj", x)
    return linear(layer, "mlp.down_proj", gate * torch.sigmoid(gate) * linear(layer, "mlp.up_proj", x))


def attention(c, layer, x, window):
    heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
    dim = head_dim(c)
    q = linear(layer, "self_attn.q_proj", x).view(-1, heads, dim)  # [n, heads, dim]
    k = linear(layer, "self_attn.k_proj", x).view(-1, kv_heads, dim)
    v = linear(layer, "self_attn.v_proj", x).view(-1, kv_heads, dim)
    if "self_attn.q_norm.weight" in layer:
        q = rms_norm(q, layer["self_attn.q_norm.weight"], c["rms_norm_eps"])
        k = rms_norm(k, layer["self_attn.k_norm.weight"], c["rms_norm_eps"])
    q, k = rotate(c, q), rotate(c, k)
    out = torch.empty_like(q)
    for pos in range(len(x)):
        first = 0 if window is None else max(0, pos - window + 1)
        for h in range(heads):
            g = h // (heads // kv_heads)  # the head of k and v that query head h reads
            scores = k[first : pos + 1, g] @ q[pos, h] / math.sqrt(dim)
            out[pos, h] = torch.softmax(scores, 0) @ v[first : pos + 1, g]
    return linear(layer, "self_attn.o_proj", out.reshape(len(x), heads * dim))


def window(c, layer):
    """How many positions, its own included, a row of this layer sees; None: all."""
    if c["model_type"] == "mistral":
        return c.get("sliding_window")
    if c["model_type"] in ("qwen2", "qwen3") and c.get("use_sliding_window"):
        return c["sliding_window"] if layer >= c["max_window_layers"] else None
    return None


def head_dim(c):
    return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]


def rotate(c, x):
    """Turns the pair (x[i], x[i + dim/2]) of each head by its position times frequency i. x [n, heads, dim]"""
    freq, scale = frequencies(c)
    angle = torch.arange(len(x)).double()[:, None] * freq  # [n, dim/2]
    cos, sin = scale * torch.cos(angle)[:, None], scale * torch.sin(angle)[:, None]
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def frequencies(c):
    """Angle per position of each pair [dim/2], and what multiplies cosine and sine."""
    dim = head_dim(c)
    s = c.get("rope_parameters") or c.get("rope_scaling") or {}
    theta = s.get("rope_theta") or c["rope_theta"]
    freq = theta ** (-torch.arange(0, dim, 2).double() / dim)
    kind = s.get("rope_type") or s.get("type") or "default"
    if kind == "default":
        return freq, 1.0
    if kind == "linear":
        return freq / s["factor"], 1.0
    if kind == "llama3":
        return llama3(freq, s), 1.0
    if kind == "yarn":
        return yarn(freq, s, theta, dim)
    raise ValueError(f"rope type {kind}")


def llama3(freq, s):
    """Short waves stay, long ones stretch by the factor, and between the two the share moves linearly in 1/wavelength."""
    low, high, factor = s["low_freq_factor"], s["high_freq_factor"], s["factor"]
    turns = s["original_max_position_embeddings"] * freq / (2 * math.pi)  # in the original context
    keep = ((turns - low) / (high - low)).clamp(0, 1)
    return keep * freq + (1 - keep) * freq / factor


def yarn(freq, s, theta, dim):
    """Pairs that turn more than beta_fast times in the original context stay, those that turn less than beta_slow
    times stretch by the factor, and between the two the share moves linearly in the pair's index."""
    factor, context = s["factor"], s["original_max_position_embeddings"]

    def pair_turning(times):
        return dim * math.log(context / (times * 2 * math.pi)) / (2 * math.log(theta))

    first, last = pair_turning(s.get("beta_fast") or 32), pair_turning(s.get("beta_slow") or 1)
    if s.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dim - 1)
    if first == last:
        last += 0.001
    stretch = ((torch.arange(dim // 2).double() - first) / (last - first)).clamp(0, 1)
    return freq * (1 - stretch) + freq / factor * stretch, yarn_scale(s, factor)


def yarn_scale(s, factor):
    """Sharpens attention, as more positions compete."""

    def term(m):
        return 0.1 * m * math.log(factor) + 1 if factor > 1 else 1.0

    if s.get("attention_factor") is not None:
        return s["attention_factor"]
    if s.get("mscale") and s.get("mscale_all_dim"):
        return term(s["mscale"]) / term(s["mscale_all_dim"])
    return term(1)
