"""Make dequant.json: random blocks of every type and the float32 bits they decode to.

The decoder is not weir's: it is the reference one in the Python package
"gguf" (gguf-py in the llama.cpp repository), read from the folder given.
Needs numpy.

    python3 goldens.py path/to/gguf-py > dequant.json
"""

import json
import os
import random
import struct
import sys
import types

import numpy as np

# The package's own __init__ asks for tokenisers that are not needed here.
pkg = types.ModuleType("gguf")
pkg.__path__ = [os.path.join(sys.argv[1], "gguf")]
sys.modules["gguf"] = pkg
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

# Byte offsets of the half-precision scales of a block: they are drawn as
# sensible numbers, the rest of a block is any bytes.
HALVES = {
    "F32": [], "F16": [], "BF16": [],
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0],
}
PLAIN = {"F32": "<f", "F16": "<e"}


def block(rng, name, size, scale):
    if name in PLAIN:
        return b"".join(struct.pack(PLAIN[name], rng.gauss(0, scale)) for _ in range(32))
    if name == "BF16":
        return b"".join(struct.pack("<f", rng.gauss(0, scale))[2:] for _ in range(32))
    b = bytearray(rng.randbytes(size))
    for at in HALVES[name]:
        struct.pack_into("<e", b, at, rng.uniform(-scale, scale))
    return bytes(b)


def main():
    rng = random.Random(20)
    out = []
    for name in HALVES:
        size = GGML_QUANT_SIZES[T[name]][1]
        # The last scale makes the halves subnormal.
        for scale in (0.1, 30.0, 2e-5):
            b = block(rng, name, size, scale)
            x = dequantize(np.frombuffer(b, dtype=np.uint8), T[name])
            bits = np.ascontiguousarray(x, dtype="<f4").tobytes()
            out.append({"type": name, "block": b.hex(), "float32": bits.hex()})
    print("[\n" + ",\n".join(json.dumps(c) for c in out) + "\n]")


main()
