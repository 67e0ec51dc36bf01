"""Writes what training made: GGUF files, Medusa heads, goldens for the Go engine, the manifest."""

import copy
import hashlib
import json
import os
import struct

import numpy as np
import torch

import data
import evaluate
import gguf
from model import Llama, causal, greedy, rope_table

NAME = "weir-mini"
FILES = {
    "model": f"{NAME}.gguf",
    "draft": f"{NAME}-draft.gguf",
    "medusa": f"{NAME}-medusa.safetensors",
    "medusa_config": "medusa_config.json",
}


def rounded(model):
    """The model as its file will hold it: every matrix through Q8_0 and back."""
    model = copy.deepcopy(model)
    for p in model.parameters():
        if p.ndim == 2:
            x = p.detach().float().cpu().numpy()
            back = gguf.dequantize_q8_0(gguf.quantize_q8_0(x), x.shape)
            p.data.copy_(torch.from_numpy(back))
    for p in model.parameters():
        p.requires_grad_(False)
    return model


def half(heads):
    heads = copy.deepcopy(heads)
    for p in heads.parameters():
        p.data.copy_(p.data.half().float())
        p.requires_grad_(False)
    return heads


def metadata(cfg, tok, name, description):
    tokens, merges = tok.gguf_tokens()
    normal, control = 1, 3
    types = [normal] * 256 + [normal] * len(merges)
    types += [control] * (len(tokens) - len(types))
    arch = "llama"
    return {
        "general.architecture": arch,
        "general.type": "model",
        "general.name": name,
        "general.author": "weir",
        "general.description": description,
        "general.license": "apache-2.0",
        "general.languages": gguf.Typed(gguf.ARRAY, ["en"], gguf.STRING),
        "general.file_type": 7,  # mostly Q8_0
        "general.quantization_version": 2,
        f"{arch}.block_count": cfg.layers,
        f"{arch}.context_length": cfg.context,
        f"{arch}.embedding_length": cfg.width,
        f"{arch}.feed_forward_length": cfg.ffn,
        f"{arch}.attention.head_count": cfg.heads,
        f"{arch}.attention.head_count_kv": cfg.kv_heads,
        f"{arch}.attention.key_length": cfg.head_dim,
        f"{arch}.attention.value_length": cfg.head_dim,
        f"{arch}.attention.layer_norm_rms_epsilon": cfg.eps,
        f"{arch}.rope.freq_base": cfg.theta,
        f"{arch}.rope.dimension_count": cfg.head_dim,
        f"{arch}.vocab_size": cfg.vocab,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": gguf.Typed(gguf.ARRAY, tokens, gguf.STRING),
        "tokenizer.ggml.token_type": gguf.Typed(gguf.ARRAY, types, gguf.I32),
        "tokenizer.ggml.merges": gguf.Typed(gguf.ARRAY, merges, gguf.STRING),
        "tokenizer.ggml.bos_token_id": tok.bos,
        "tokenizer.ggml.eos_token_id": tok.eos,
        "tokenizer.ggml.padding_token_id": tok.pad,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": data.CHAT_TEMPLATE,
    }


def tensors(model):
    return {n: p.detach().float().cpu().numpy() for n, p in model.state_dict().items() if n not in ("cos", "sin")}


def save(path, model, tok, name, description):
    gguf.write(path, metadata(model.cfg, tok, name, description), tensors(model))


def save_main(out, model, tok):
    about = "weir's built-in model: small, for trying weir out and for its tests"
    save(os.path.join(out, FILES["model"]), model, tok, NAME, about)
    with open(os.path.join(out, "tokenizer.json"), "w") as f:
        json.dump({"merges": tok.merges}, f)


def load(path, cfg):
    """The model of a GGUF file as its weights are stored, dequantised to float32."""
    model = Llama(cfg)
    stored = gguf.Reader(path).tensors
    model.load_state_dict({n: torch.from_numpy(np.array(x)) for n, x in stored.items()})
    return model.eval()


def save_medusa(out, heads):
    """The layout of the Medusa project: {head}.0 the residual linear layer, {head}.1 its output matrix."""
    arrays = {}
    for i, (linear, output) in enumerate(zip(heads.linear, heads.out)):
        arrays[f"{i}.0.linear.weight"] = linear.weight
        arrays[f"{i}.0.linear.bias"] = linear.bias
        arrays[f"{i}.1.weight"] = output.weight
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, x in arrays.items():
        raw = x.detach().cpu().half().numpy().astype("<f2").tobytes()
        header[name] = {"dtype": "F16", "shape": list(x.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with open(os.path.join(out, FILES["medusa"]), "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + body)
    config = {
        "medusa_num_heads": len(heads.linear),
        "medusa_num_layers": 1,
        "base_model_name_or_path": NAME,
        "hidden_size": heads.linear[0].in_features,
        "vocab_size": heads.out[0].out_features,
    }
    with open(os.path.join(out, FILES["medusa_config"]), "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")


GOLDEN_PROMPTS = [
    [{"role": "user", "content": "Who are you?"}],
    [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "The port is already in use. What should I do?"},
    ],
    "Once upon a time, a small fox",
]


def top_logprobs(logits, n=10):
    values, ids = logits.log_softmax(-1).topk(n)
    return [[[int(i), round(float(v), 6)] for i, v in zip(a, b)] for a, b in zip(ids, values)]


@torch.no_grad()
def golden(path, model, tok):
    """What the stored weights give in float64: for each prompt its ids, the ten likeliest next tokens at every
    position, and 48 greedy tokens with the margin of each choice over the second."""
    model = copy.deepcopy(model).cpu().double()
    model.cos, model.sin = rope_table(model.cfg, model.cfg.context, torch.float64)
    cases = []
    for prompt in GOLDEN_PROMPTS:
        text = prompt if isinstance(prompt, str) else data.render(prompt)
        ids = tok.encode(text)
        more = greedy(model, [ids], -1, 48)[0]  # no token is -1: the end does not stop it
        logits = model(torch.tensor([ids + more]), causal(len(ids) + len(more)))[0]
        best = logits.topk(2).values[len(ids) - 1 : -1]
        cases.append(
            {
                "prompt": prompt,
                "text": text,
                "ids": ids,
                "prompt_top_logprobs": top_logprobs(logits[: len(ids)]),
                "greedy_ids": more,
                "greedy_text": tok.decode(more),
                "greedy_margins": [round(float(a - b), 6) for a, b in best],
            }
        )
    with open(path, "w") as f:
        json.dump({"model": FILES["model"], "arithmetic": "float64 on Q8_0 weights", "cases": cases}, f, indent=1)
        f.write("\n")


def finish(args, report, model, draft, heads, tok, corpus, dev, log):
    out = args.out
    about = "draft model for speculative decoding with weir's built-in model"
    save(os.path.join(out, FILES["draft"]), draft, tok, f"{NAME}-draft", about)
    save_medusa(out, heads)
    golden(os.path.join(out, "golden.json"), load(os.path.join(out, FILES["model"]), model.cfg), tok)
    report.update(evaluate.all_measures(args, model, draft, heads, tok, corpus, dev))
    report["files"] = {}
    for name in FILES.values():
        raw = open(os.path.join(out, name), "rb").read()
        report["files"][name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    with open(os.path.join(out, "manifest.json"), "w") as f:
        json.dump(report, f, indent=2)
        f.write("\n")
    log(json.dumps(report, indent=1))
