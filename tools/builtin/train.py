"""Makes the built-in model from nothing but a seed: corpus, tokeniser, model, draft model, Medusa heads.

    python3 train.py --out build                      # the committed files, on one GPU
    python3 train.py --out build --device cpu --documents 2000 --steps 20   # a quick look at the machinery

Writes into --out: weir-mini.gguf, weir-mini-draft.gguf, weir-mini-medusa.safetensors, medusa_config.json,
golden.json, manifest.json, tokenizer.json (merges), samples.txt, log.txt.
"""

import argparse
import hashlib
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

import bpe
import data
import export
from corpus import assemble
from model import DRAFT, MAIN, Llama, MedusaHeads


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--out", default="build")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--seed", type=int, default=20261123)
    p.add_argument("--documents", type=int, default=300_000, help="training documents to generate")
    p.add_argument("--steps", type=int, default=7_500, help="steps of the main model")
    p.add_argument("--draft-steps", type=int)
    p.add_argument("--medusa-steps", type=int)
    p.add_argument("--batch", type=int, default=65_536, help="tokens a step")
    p.add_argument("--rate", type=float, default=3e-3)
    p.add_argument("--dropout", type=float, default=0.0)
    p.add_argument("--max-seconds", type=float, default=1e9, help="stop the main model early, cooling down at once")
    p.add_argument("--stop-after", type=int, default=1 << 40, help="end after so many steps of the main model, to compare runs")
    p.add_argument("--workers", type=int, default=os.cpu_count())
    p.add_argument("--heldout", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "heldout.json"))
    return p.parse_args()


class Log:
    def __init__(self, path):
        self.file, self.start = open(path, "w"), time.time()

    def __call__(self, *parts):
        line = f"[{time.time() - self.start:7.1f}s] " + " ".join(map(str, parts))
        print(line, flush=True)
        print(line, file=self.file, flush=True)


class Batches:
    """Packed rows on the device, served in an order fixed by the seed, epoch after epoch."""

    def __init__(self, docs, length, tokens, seed, device):
        rng = np.random.default_rng(seed)
        packed = data.pack(docs, length, rng)
        self.used = float((packed[2] > 0).mean())
        self.rows = [torch.from_numpy(a).to(device) for a in packed]
        self.size = max(1, tokens // length)
        self.rng, self.order, self.device = rng, [], device

    def next(self):
        if len(self.order) < self.size:
            self.order = list(self.rng.permutation(len(self.rows[0])))
        pick = [self.order.pop() for _ in range(min(self.size, len(self.order)))]
        pick = torch.tensor(pick).to(self.device)
        ids, weights, number = (r[pick] for r in self.rows)
        return ids.long(), weights.float() / 10, number


def document_mask(number):
    """[b, t] document numbers -> [b, 1, t, t]: a token reads earlier tokens of its own document."""
    t = number.shape[1]
    same = number[:, :, None] == number[:, None, :]
    return (same & torch.ones(t, t, dtype=torch.bool, device=number.device).tril())[:, None]


def weighted_loss(logits, ids, weights, number, ahead=1):
    """Mean cross entropy, by loss weight, of the token `ahead` places on in the same document."""
    loss = F.cross_entropy(logits[:, :-ahead].flatten(0, 1).float(), ids[:, ahead:].flatten(), reduction="none")
    w = (weights[:, ahead:] * (number[:, ahead:] == number[:, :-ahead])).flatten()
    return (loss * w).sum() / w.sum().clamp(min=1e-6)


def optimizer(model, rate, device):
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    fused = {"fused": True} if device == "cuda" else {}
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), **fused)


def schedule(step, steps, warmup):
    """Warm-up, a plateau, then a linear fall to zero over the last 40 %."""
    fall = 0.4 * steps
    return min(1.0, (step + 1) / warmup, (steps - step) / fall)


def fit(loss_of, model, batches, steps, rate, device, log, name, max_seconds=1e9, stop_after=1 << 40):
    """Trains model in place; batches is a list of (share of the steps, Batches)."""
    opt = optimizer(model, rate, device)
    compiled = torch.compile(loss_of, dynamic=False) if device == "cuda" else loss_of
    warmup, start, total, count = max(1, min(300, steps // 10)), time.time(), 0.0, 0
    ends = np.cumsum([share for share, _ in batches]) * steps
    step = 0
    while step < min(steps, stop_after):
        stage = int(np.searchsorted(ends, step, side="right"))
        batch = batches[min(stage, len(batches) - 1)][1].next()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = compiled(*batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for g in opt.param_groups:
            g["lr"] = rate * schedule(step, steps, warmup)
        opt.step()
        opt.zero_grad(set_to_none=True)
        total, count, step = total + loss.detach(), count + 1, step + 1
        if step == 40:
            log(f"{name} after 40 steps: weights {digest(model)}")
        if step % max(1, steps // 25) == 0:
            log(f"{name} step {step}/{steps} loss {float(total) / count:.4f} ({time.time() - start:.0f} s)")
            total, count = 0.0, 0
        if time.time() - start > max_seconds * 0.62 and step < 0.6 * steps:
            steps = max(step + 1, int(step / 0.6))  # cool down within what time is left
            log(f"{name}: out of time, {steps} steps in all")
    return steps


def digest(model):
    """Hash of all weights: two runs of one seed are compared by it."""
    h = hashlib.sha256()
    for p in model.parameters():
        h.update(p.detach().cpu().numpy().tobytes())
    return h.hexdigest()[:16]


@torch.no_grad()
def mean_loss(model, batches, device, rounds):
    """Loss and top-1 accuracy on what the assistant says, over a few batches."""
    model.eval()
    loss, right, weight = 0.0, 0.0, 0.0
    for _ in range(rounds):
        ids, weights, number = batches.next()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = model(ids, document_mask(number))[:, :-1].float()
        w = (weights[:, 1:] == 1).float()
        target = ids[:, 1:]
        each = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view_as(w)
        loss += float((each * w).sum())
        right += float(((logits.argmax(-1) == target) * w).sum())
        weight += float(w.sum())
    model.train()
    return loss / weight, right / weight


def train_main(args, sets, log):
    torch.manual_seed(args.seed)
    model = Llama(MAIN).to(args.device)
    loss_of = lambda ids, w, n: weighted_loss(model(ids, document_mask(n), args.dropout), ids, w, n)
    plan = [(0.8, sets["short"]), (0.2, sets["long"])]
    steps = fit(loss_of, model, plan, args.steps, args.rate, args.device, log, "main", args.max_seconds, args.stop_after)
    return export.rounded(model).eval(), steps


def train_draft(args, sets, main, log):
    """Cross entropy plus the main model's own distribution."""
    torch.manual_seed(args.seed + 1)
    model = Llama(DRAFT).to(args.device)

    def loss_of(ids, w, n):
        mask = document_mask(n)
        with torch.no_grad():
            want = main(ids, mask)[:, :-1].float().softmax(-1)
        got = model(ids, mask)
        distill = -(want * got[:, :-1].float().log_softmax(-1)).sum(-1)
        wide = w[:, 1:]
        return 0.5 * weighted_loss(got, ids, w, n) + 0.5 * (distill * wide).sum() / wide.sum().clamp(min=1e-6)

    steps = args.draft_steps or args.steps // 5
    fit(loss_of, model, [(1.0, sets["short"])], steps, args.rate, args.device, log, "draft")
    return export.rounded(model).eval(), steps


def train_medusa(args, sets, main, log):
    """Medusa-1: the model stays as it is, the heads learn."""
    torch.manual_seed(args.seed + 2)
    heads = MedusaHeads(3, MAIN.width, MAIN.vocab).to(args.device)
    heads.start_from(main)

    def loss_of(ids, w, n):
        with torch.no_grad():
            h = main.hidden(ids, document_mask(n))
        return sum(0.8**k * weighted_loss(y, ids, w, n, k + 2) for k, y in enumerate(heads(h)))

    steps = args.medusa_steps or args.steps // 8
    fit(loss_of, heads, [(1.0, sets["short"])], steps, args.rate / 3, args.device, log, "medusa")
    return export.half(heads).eval(), steps


def prepare(args, log):
    """Corpus, tokeniser and packed batches."""
    corpus = assemble.build(args.seed, args.documents, args.workers)
    log(f"corpus: {corpus.summary()}")
    merges = bpe.train(corpus.words, MAIN.vocab)
    tok = bpe.Tokenizer(merges)
    train = assemble.encode(corpus.train, tok, args.workers)
    dev = assemble.encode(corpus.dev, tok, args.workers)
    tokens = sum(len(d[0]) for d in train)
    log(f"tokens: {tokens} in {len(train)} training documents, {len(dev)} held-back documents")
    make = lambda docs, length, seed: Batches(docs, length, args.batch, args.seed + seed, args.device)
    sets = {"short": make(train, 512, 10), "long": make(train, 2048, 11), "dev": make(dev, 512, 12)}
    log(f"packed: {len(sets['short'].rows[0])} rows of 512, {sets['short'].used:.1%} used")
    return corpus, tok, sets, tokens


def repeatable():
    """Asks PyTorch for kernels that give the same bits on every run."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("high")
    if torch.cuda.is_available():
        import torch._inductor.config as inductor  # older PyTorch has none

        if hasattr(inductor, "deterministic"):
            inductor.deterministic = True  # no choice of kernels by timing


def main():
    args = arguments()
    os.makedirs(args.out, exist_ok=True)
    log = Log(os.path.join(args.out, "log.txt"))
    repeatable()
    corpus, tok, sets, tokens = prepare(args, log)
    rounds = max(1, min(20, len(sets["dev"].rows[0]) // sets["dev"].size))
    main_model, steps = train_main(args, sets, log)
    if args.stop_after < args.steps:
        return
    export.save_main(args.out, main_model, tok)
    report = {"seed": args.seed, "corpus": corpus.facts(), "tokens": tokens, "steps": steps, "batch": args.batch}
    report["train_loss"], report["train_accuracy"] = mean_loss(main_model, sets["short"], args.device, rounds)
    report["dev_loss"], report["dev_accuracy"] = mean_loss(main_model, sets["dev"], args.device, rounds)
    log(f"main: {json.dumps(report)}")
    draft, report["draft_steps"] = train_draft(args, sets, main_model, log)
    heads, report["medusa_steps"] = train_medusa(args, sets, main_model, log)
    report["seconds"] = round(time.time() - log.start)
    report["made_on"] = f"{torch.cuda.get_device_name()}" if args.device == "cuda" else "cpu"
    report["torch"] = torch.__version__
    export.finish(args, report, main_model, draft, heads, tok, corpus, sets["dev"], log)


if __name__ == "__main__":
    main()
