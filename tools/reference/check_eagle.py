"""Compares eagle.py with the EAGLE project's own code on the goldens' checkpoints.

    python3 tools/reference/check_eagle.py CHECKOUT      # of github.com/SafeAILab/EAGLE

Needs PyTorch alone: what that code imports of Transformers and of the hub and does not use here is stood in for.
Prints the largest difference of the logits and fails above TOLERANCE. That code has its norms and softmax in
float32, so it differs by what float32 keeps.
"""

import importlib
import sys
import types

import torch

import eagle

TOLERANCE = 1e-5
MODULES = {eagle.Eagle1: "cnets1", eagle.Eagle3: "cnets"}


class Config:
    def __init__(self, pad_token_id=0, rope_scaling=None, pretraining_tp=1, **fields):
        self.pad_token_id, self.rope_scaling, self.pretraining_tp = pad_token_id, rope_scaling, pretraining_tp
        self.__dict__.update(fields)


def stand_in(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


def their_logits(kind, heads, ends, tokens, states, guesses):
    """Of the known states in one pass with a cache, then a pass for each guess, as that code drafts."""
    module = importlib.import_module("model." + MODULES[kind])
    model = module.Model(Config(**eagle.config(kind)), bias=True).double().eval()
    state = dict(heads.state_dict())
    if kind is eagle.Eagle3:  # embeddings are the model's; t2d is for training
        state["embed_tokens.weight"], state["t2d"] = ends.embedding.weight, model.t2d
    model.load_state_dict(state)
    model.reset()
    last = ends.output if kind is eagle.Eagle1 else lambda x: model.lm_head(model.norm(x))
    seen = ends.norm(states) if kind is eagle.Eagle1 else states
    x, cache = model(seen[None], input_ids=tokens[None, 1:], use_cache=True)
    logits = [last(x)[0]]
    for token in guesses:
        x, cache = model(x[:, -1:], input_ids=torch.tensor([[token]]), past_key_values=cache, use_cache=True)
        logits.append(last(x)[0])
    return torch.cat(logits)


@torch.no_grad()
def main(checkout):
    print("torch", torch.__version__)
    sys.path.insert(1, checkout + "/eagle")  # this directory has a module of that name
    stand_in("transformers")
    stand_in("transformers.activations", ACT2FN={"silu": torch.nn.functional.silu})
    stand_in("transformers.configuration_utils", PretrainedConfig=object)
    stand_in("huggingface_hub", hf_hub_download=None)
    worst = 0.0
    for kind in MODULES:
        heads, ends, tokens, states = eagle.build(kind)
        ours, guesses = eagle.run(heads, ends, tokens, states)
        diff = (ours - their_logits(kind, heads, ends, tokens, states, guesses)).abs().max().item()
        print(f"{kind.name} largest difference of {ours.numel()} logits {diff:.2e}, rms {ours.pow(2).mean().sqrt():.2f}")
        worst = max(worst, diff)
    if worst > TOLERANCE:
        sys.exit(f"the reference and the EAGLE project's code differ by {worst:.2e}, more than {TOLERANCE:.0e}")


if __name__ == "__main__":
    main(sys.argv[1])
