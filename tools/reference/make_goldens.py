"""Writes internal/model/testdata/reference/<variant>.json: a configuration, token ids, and the reference's logits.

    python3 tools/reference/make_goldens.py

Needs numpy and PyTorch (Debian: python3-numpy python3-torch). The output is the same on every machine to the digits
that are written.
"""

import json
import pathlib

import checkpoint
import reference

OUT = pathlib.Path(__file__).parents[2] / "internal/model/testdata/reference"
PROMPT = 40
ROWS = [0, 1, 5, 11, 12, 16, 27, 39]  # whose logits are kept: before, at and after the windows and original contexts

BASE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
DEEP_YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4, "beta_slow": 0.5,
             "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False}

VARIANTS = {
    "llama": {"model_type": "llama", "num_key_value_heads": 4},
    "llama-gqa-tied": {"model_type": "llama", "tie_word_embeddings": True},
    "llama-bias": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "llama-linear": {"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 2.5}},
    "llama-llama3": {"model_type": "llama", "rope_scaling": LLAMA3, "rope_theta": 500000.0},
    "llama-yarn": {"model_type": "llama", "rope_scaling": YARN},
    "llama-yarn-mscale": {"model_type": "llama", "rope_scaling": DEEP_YARN},
    "llama-parameters": {"model_type": "llama", "rope_theta": None,
                         "rope_parameters": {**YARN, "rope_theta": 50000.0, "attention_factor": 1.3}},
    "mistral": {"model_type": "mistral", "sliding_window": 12, "head_dim": 24},
    "mistral-nemo": {"model_type": "mistral", "sliding_window": None, "head_dim": 24, "rope_theta": 1000000.0},
    "qwen2": {"model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "sliding_window": 12,
              "use_sliding_window": False, "max_window_layers": 1, "tie_word_embeddings": True},
    "qwen2-window": {"model_type": "qwen2", "rms_norm_eps": 1e-6, "num_hidden_layers": 3, "sliding_window": 12,
                     "use_sliding_window": True, "max_window_layers": 1},
    "qwen3": {"model_type": "qwen3", "rms_norm_eps": 1e-6, "head_dim": 24, "rope_theta": 1000000.0},
    "qwen3-tied-bias": {"model_type": "qwen3", "rms_norm_eps": 1e-6, "head_dim": 16, "attention_bias": True,
                        "tie_word_embeddings": True, "rope_scaling": YARN},
    # Heads of the sizes that have kernels of their own on a GPU.
    "llama-128": {"model_type": "llama", "hidden_size": 128, "head_dim": 128, "rope_scaling": LLAMA3, "rope_theta": 500000.0},
    "mistral-128": {"model_type": "mistral", "hidden_size": 128, "sliding_window": 12, "head_dim": 128},
    "qwen2-64": {"model_type": "qwen2", "rms_norm_eps": 1e-6, "hidden_size": 128, "num_attention_heads": 2,
                 "num_key_value_heads": 1, "sliding_window": 12, "use_sliding_window": False, "max_window_layers": 1},
    "qwen3-128": {"model_type": "qwen3", "rms_norm_eps": 1e-6, "hidden_size": 128, "head_dim": 128, "rope_theta": 1000000.0,
                  "tie_word_embeddings": True},
}


def config(name):
    """The fields of config.json: null ones are absent."""
    return {k: v for k, v in {**BASE, **VARIANTS[name]}.items() if v is not None or k == "sliding_window"}


def golden(name):
    c = config(name)
    ids = checkpoint.prompt(name, PROMPT, c["vocab_size"])
    logits = reference.forward(c, checkpoint.tensors(name, c), ids)
    kept = [[float(f"{v:.7g}") for v in logits[r].tolist()] for r in ROWS]
    return {"config": c, "ids": ids, "rows": ROWS, "logits": kept}


def write(name, g):
    lines = [f'"config": {json.dumps(g["config"])}', f'"ids": {json.dumps(g["ids"])}', f'"rows": {json.dumps(g["rows"])}',
             '"logits": [\n' + ",\n".join(json.dumps(row) for row in g["logits"]) + "\n]"]
    (OUT / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    for name in VARIANTS:
        write(name, golden(name))
        print(name)
