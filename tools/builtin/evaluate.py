"""Measures the built-in model: answers to held-back questions, the draft's and the heads' agreement.

    python3 evaluate.py --dir ../../internal/builtin              # the committed model, accuracy by topic
    python3 evaluate.py --dir ../../internal/builtin --ask "..."  # one answer

heldout.json holds questions by someone who has not seen the generator: {topic, question, all, any}, where the
answer must hold every word of "all" and at least one of "any" (either may be empty), case aside.
"""

import argparse
import json
import os
from collections import defaultdict

import torch

import data
from model import causal, greedy

BATCH, LIMIT = 50, 160


def answers(model, tok, chats):
    """Greedy answers to a list of message lists."""
    out = []
    for i in range(0, len(chats), BATCH):
        prompts = [tok.encode(data.render(c)) for c in chats[i : i + BATCH]]
        out += [tok.decode(ids) for ids in greedy(model, prompts, tok.eos, LIMIT)]
    return out


def user(question):
    return [{"role": "user", "content": question}]


def passes(case, answer):
    text = answer.lower()
    every = all(w.lower() in text for w in case.get("all", []))
    some = not case.get("any") or any(w.lower() in text for w in case["any"])
    return every and some


def heldout(model, tok, path):
    """Accuracy over the file and by topic, and the answers."""
    cases = json.load(open(path))
    given = answers(model, tok, [user(c["question"]) for c in cases])
    topics = defaultdict(lambda: [0, 0])
    for case, answer in zip(cases, given):
        topics[case["topic"]][0] += passes(case, answer)
        topics[case["topic"]][1] += 1
    right = sum(a for a, _ in topics.values())
    by_topic = {t: f"{a}/{n}" for t, (a, n) in sorted(topics.items())}
    return {"right": right, "of": len(cases), "by_topic": by_topic}, given


def dev_answers(model, tok, corpus, limit=1000):
    """Share of held-back phrasings of known questions whose answer is one of the known answers, to the letter."""
    cases = [(d, d["accept"]) for d in corpus.dev if d.get("accept")][:limit]
    given = answers(model, tok, [d["messages"][: d["ask"] + 1] for d, _ in cases])
    right = sum(g in accept for g, (_, accept) in zip(given, cases))
    return {"right": right, "of": len(cases)}


@torch.no_grad()
def draft_agreement(model, draft, tok, corpus, limit=200):
    """How often the draft's top choice is the model's own greedy token, and the mean number of tokens a
    verification of four drafted ones yields, along the model's greedy answers to held-back questions."""
    device = model.token_embd.weight.device
    chats = [d["messages"][: d["ask"] + 1] for d in corpus.dev if d.get("accept")][:limit]
    prompts = [tok.encode(data.render(c)) for c in chats]
    agree, total, emitted, passes_ = 0, 0, 0, 0
    for start in range(0, len(prompts), BATCH):
        part = prompts[start : start + BATCH]
        for prompt, more in zip(part, greedy(model, part, tok.eos, LIMIT)):
            ids = torch.tensor([prompt + more + [tok.eos]], device=device)
            top = draft(ids, causal(ids.shape[1], device))[0].argmax(-1)
            hit = (top[len(prompt) - 1 : -1] == ids[0, len(prompt) :]).tolist()
            agree, total = agree + sum(hit), total + len(hit)
            at = 0
            while at < len(hit):
                run = 0
                while run < 4 and at + run < len(hit) and hit[at + run]:
                    run += 1
                emitted += min(run + 1, len(hit) - at)
                passes_ += 1
                at += run + 1
    return {"greedy_agreement": agree / total, "tokens_per_pass_depth_4": emitted / passes_}


@torch.no_grad()
def medusa_accuracy(model, heads, batches, rounds=10):
    """Top-1 and top-5 accuracy of each head on what the assistant says in held-back documents."""
    from train import document_mask

    counts = [[0.0, 0.0, 0.0] for _ in heads.linear]
    for _ in range(rounds):
        ids, weights, number = batches.next()
        h = model.hidden(ids, document_mask(number))
        for k, logits in enumerate(heads(h)):
            ahead = k + 2
            same = (number[:, ahead:] == number[:, :-ahead]) & (weights[:, ahead:] == 1)
            hit = logits[:, :-ahead].topk(5).indices == ids[:, ahead:, None]
            counts[k][0] += float((hit[..., 0] & same).sum())
            counts[k][1] += float((hit.any(-1) & same).sum())
            counts[k][2] += float(same.sum())
    return [{"top1": a / n, "top5": b / n} for a, b, n in counts]


PROBES = """Who are you?|What can you do?|hi|how do I start weir?|What is paged attention?|my port is taken
How much memory does an 8B model need at Q4_K_M?|Tell me a short story about a fox.|What is the capital of France?
Give me a JSON object for a user.|Write a Go function that adds two numbers.|What's the weather like?|What is 7 + 5?
Who won the football match yesterday?|cuda illegal instruction on my dgx spark|thanks!|Explain speculative decoding"""


def samples(model, tok):
    asked = PROBES.replace("\n", "|").split("|")
    lines = [f"Q: {q}\nA: {a}\n" for q, a in zip(asked, answers(model, tok, [user(q) for q in asked]))]
    return "\n".join(lines)


def all_measures(args, model, draft, heads, tok, corpus, dev):
    out = {"dev_answers": dev_answers(model, tok, corpus)}
    if os.path.exists(args.heldout):
        out["heldout"], _ = heldout(model, tok, args.heldout)
    out["draft"] = draft_agreement(model, draft, tok, corpus)
    out["medusa_heads"] = medusa_accuracy(model, heads, dev)
    with open(os.path.join(args.out, "samples.txt"), "w") as f:
        f.write(samples(model, tok))
    return out


def main():
    import bpe
    import export
    import gguf
    from model import MAIN

    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = os.path.dirname(os.path.abspath(__file__))
    p.add_argument("--dir", default=os.path.join(here, "../../internal/builtin"))
    p.add_argument("--heldout", default=os.path.join(here, "heldout.json"))
    p.add_argument("--ask")
    p.add_argument("--show", action="store_true", help="print every held-back question with its answer")
    args = p.parse_args()
    path = os.path.join(args.dir, export.FILES["model"])
    model, tok = export.load(path, MAIN), bpe.from_gguf(gguf.Reader(path).meta)
    if args.ask:
        print(answers(model, tok, [user(args.ask)])[0])
        return
    result, given = heldout(model, tok, args.heldout)
    print(json.dumps(result, indent=1))
    if args.show:
        for case, answer in zip(json.load(open(args.heldout)), given):
            print(f"{'ok  ' if passes(case, answer) else 'MISS'} {case['question']}\n     {answer}")


if __name__ == "__main__":
    main()
