"""Small checkpoints that anyone can make again: every number comes from a tensor's name.

The Go tests of internal/model make the same numbers (checkpoint_test.go there), so that a golden file
holds a configuration, token ids and logits, and no weights. All of it is exact in float32:

    seed  = FNV-1a, 64 bits, of the UTF-8 bytes of "<checkpoint>/<tensor>"
    z_i   = SplitMix64's output for the state seed + (i + 1) * 0x9E3779B97F4A7C15      (i from 0)
    u_i   = (z_i >> 40) * 2^-23 - 1                                                    in [-1, 1)
    value = centre + scale * u_i, in float32

Tensors have Hugging Face's names and shapes, rows of the output first.
"""

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def fnv1a(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def splitmix(name, n):
    """n uint64 for a name."""
    z = np.uint64(fnv1a(name)) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def values(name, shape, centre, scale):
    """A float32 array."""
    z = splitmix(name, int(np.prod(shape)))
    u = (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return (np.float32(centre) + np.float32(scale) * u).reshape(shape)


def fan(cols):
    """A power of two near sqrt(3 / cols): products with a matrix of this scale keep their size."""
    k = 0
    while 3 * 4 ** (k + 1) <= cols:
        k += 1
    return 2.0**-k


def shapes(c):
    """name -> (shape, centre, scale) of every tensor of a Hugging Face configuration.

    Embeddings are small so that a wrong epsilon shows; queries and keys are large so that attention is
    sharp and a wrong rotation or window shows; logits are large so that there is a best one.
    """
    width, heads = c["hidden_size"], c["num_attention_heads"]
    kv, dim = c["num_key_value_heads"], c.get("head_dim") or width // heads
    ffn, vocab = c["intermediate_size"], c["vocab_size"]
    out = {}

    def matrix(name, rows, cols, gain=1.0):
        out[name + ".weight"] = ((rows, cols), 0, gain * fan(cols))

    def bias(name, n):
        out[name + ".bias"] = ((n,), 0, 0.5)

    def norm(name, n):
        out[name + ".weight"] = ((n,), 1, 0.25)

    out["model.embed_tokens.weight"] = ((vocab, width), 0, 2.0**-6)
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        attn, mlp = layer + "self_attn.", layer + "mlp."
        norm(layer + "input_layernorm", width)
        matrix(attn + "q_proj", heads * dim, width)
        matrix(attn + "k_proj", kv * dim, width)
        matrix(attn + "v_proj", kv * dim, width)
        matrix(attn + "o_proj", width, heads * dim)
        if c.get("attention_bias") or c["model_type"] == "qwen2":
            bias(attn + "q_proj", heads * dim)
            bias(attn + "k_proj", kv * dim)
            bias(attn + "v_proj", kv * dim)
        if c.get("attention_bias"):
            bias(attn + "o_proj", width)
        if c["model_type"] == "qwen3":
            norm(attn + "q_norm", dim)
            norm(attn + "k_norm", dim)
        norm(layer + "post_attention_layernorm", width)
        matrix(mlp + "gate_proj", ffn, width)
        matrix(mlp + "up_proj", ffn, width)
        matrix(mlp + "down_proj", width, ffn)
        if c.get("mlp_bias"):
            bias(mlp + "gate_proj", ffn)
            bias(mlp + "up_proj", ffn)
            bias(mlp + "down_proj", width)
    norm("model.norm", width)
    if not c.get("tie_word_embeddings"):
        matrix("lm_head", vocab, width, 2)
    return out


def tensors(checkpoint, c):
    """name -> float32 array."""
    return {name: values(f"{checkpoint}/{name}", *spec) for name, spec in shapes(c).items()}


def prompt(checkpoint, n, vocab):
    """n token ids."""
    return [int(z >> np.uint64(33)) % vocab for z in splitmix(f"{checkpoint}/ids", n)]
