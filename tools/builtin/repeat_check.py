"""Trains twice for a few steps from one seed and compares the weights bit for bit.

    python3 repeat_check.py --out /tmp/repeat --documents 8000 --steps 40
"""

import hashlib
import os

import torch

import train


def main():
    args = train.arguments()
    os.makedirs(args.out, exist_ok=True)
    log = train.Log(os.path.join(args.out, "log.txt"))
    train.repeatable()
    sums = []
    for _ in range(2):
        _, _, sets, _ = train.prepare(args, log)
        model, _ = train.train_main(args, sets, log)
        digest = hashlib.sha256()
        for p in model.parameters():
            digest.update(p.detach().cpu().numpy().tobytes())
        sums.append(digest.hexdigest())
    log("same weights" if sums[0] == sums[1] else "different weights", *sums, torch.__version__)


if __name__ == "__main__":
    main()
