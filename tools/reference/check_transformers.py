"""Compares reference.py with Hugging Face Transformers on the goldens' configurations.

    python3 tools/reference/check_transformers.py

Needs Transformers 5 beside what make_goldens.py needs; no network, no GPU. Prints the largest difference of each
variant's logits and fails above TOLERANCE. Transformers computes its rotation tables in float32, so float64 models
still differ by what float32 keeps of an angle.
"""

import sys

import torch
import transformers

import checkpoint
import make_goldens
import reference

TOLERANCE = 2e-5


def peer_logits(c, weights, ids):
    fields = {k: v for k, v in c.items() if k != "model_type"}
    hf = transformers.AutoConfig.for_model(c["model_type"], **fields, attn_implementation="eager")
    model = transformers.AutoModelForCausalLM.from_config(hf).double().eval()
    state = {name: torch.as_tensor(t).double() for name, t in weights.items()}
    missing, extra = model.load_state_dict(state, strict=False)
    missing = [m for m in missing if not (m == "lm_head.weight" and c["tie_word_embeddings"])]
    if missing or extra:
        raise SystemExit(f"missing {missing}, not expected {extra}")
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0]


def main():
    print("transformers", transformers.__version__, "torch", torch.__version__)
    worst = 0.0
    for name in make_goldens.VARIANTS:
        c = make_goldens.config(name)
        weights = checkpoint.tensors(name, c)
        ids = checkpoint.prompt(name, make_goldens.PROMPT, c["vocab_size"])
        ours, theirs = reference.forward(c, weights, ids), peer_logits(c, weights, ids)
        diff = (ours - theirs).abs().max().item() / ours.pow(2).mean().sqrt().item()
        print(f"{name:20} largest difference / rms of logits {diff:.2e}")
        worst = max(worst, diff)
    if worst > TOLERANCE:
        sys.exit(f"the reference and Transformers differ by {worst:.2e}, more than {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
