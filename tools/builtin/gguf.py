"""A small GGUF v3 writer and reader, with Q8_0, for the built-in model."""

import struct

import numpy as np

ALIGN = 32
F32, F16, Q8_0 = 0, 1, 8
U32, I32, FLOAT, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


class Typed:
    """A metadata value with its GGUF type spelled out; elem is the type of an array's items."""

    def __init__(self, kind, value, elem=None):
        self.kind, self.value, self.elem = kind, value, elem


def infer(value):
    if isinstance(value, Typed):
        return value
    if isinstance(value, bool):
        return Typed(BOOL, value)
    if isinstance(value, int):
        return Typed(U32, value)
    if isinstance(value, float):
        return Typed(FLOAT, value)
    if isinstance(value, str):
        return Typed(STRING, value)
    raise TypeError(f"no GGUF type for {type(value)}")


def pack_string(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def pack_value(kind, value, elem=None):
    if kind == STRING:
        return pack_string(value)
    if kind == ARRAY:
        body = b"".join(pack_value(elem, v) for v in value)
        return struct.pack("<IQ", elem, len(value)) + body
    return struct.pack({U32: "<I", I32: "<i", FLOAT: "<f", BOOL: "<?"}[kind], value)


def quantize_q8_0(x):
    """Rows of float32 [.., n], n a multiple of 32, as ggml's Q8_0: per 32 values a half scale, 32 bytes."""
    blocks = np.ascontiguousarray(x, np.float32).reshape(-1, 32)
    scale = np.abs(blocks).max(1) / np.float32(127)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
    scaled = blocks * inverse[:, None]
    q = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
    out = np.empty(len(blocks), np.dtype([("d", "<f2"), ("q", "i1", 32)]))
    out["d"], out["q"] = scale.astype(np.float16), q
    return out.tobytes()


def dequantize_q8_0(raw, shape):
    blocks = np.frombuffer(raw, np.dtype([("d", "<f2"), ("q", "i1", 32)]))
    return (blocks["d"].astype(np.float32)[:, None] * blocks["q"]).reshape(shape)


def encode_tensor(x):
    """Matrices as Q8_0, vectors as F32; returns (type, bytes)."""
    if x.ndim == 2:
        return Q8_0, quantize_q8_0(x)
    return F32, np.ascontiguousarray(x, "<f4").tobytes()


def write(path, metadata, tensors):
    """metadata: key -> value or Typed; tensors: name -> float32 array [rows, cols] or [n]."""
    head, data = [], bytearray()
    for name, x in tensors.items():
        kind, raw = encode_tensor(x)
        dims = x.shape[::-1]  # GGUF lists the fastest dimension first
        head.append(
            pack_string(name)
            + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
            + struct.pack("<IQ", kind, len(data))
        )
        data += raw + bytes(-len(raw) % ALIGN)
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    for key, value in metadata.items():
        t = infer(value)
        out += pack_string(key) + struct.pack("<I", t.kind) + pack_value(t.kind, t.value, t.elem)
    out += b"".join(head)
    out += bytes(-len(out) % ALIGN)
    with open(path, "wb") as f:
        f.write(out + data)


class Reader:
    """Reads back what write made: metadata in .meta, dequantised arrays in .tensors."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.buf = f.read()
        if self.buf[:8] != b"GGUF" + struct.pack("<I", 3):
            raise ValueError(f"{path}: not a GGUF v3 file")
        self.at = 8
        n_tensors, n_meta = self.take("<QQ")
        self.meta = dict(self.pair() for _ in range(n_meta))
        infos = [self.info() for _ in range(n_tensors)]
        base = self.at + -self.at % ALIGN
        self.tensors = {name: self.load(base + off, kind, shape) for name, kind, shape, off in infos}

    def take(self, fmt):
        values = struct.unpack_from(fmt, self.buf, self.at)
        self.at += struct.calcsize(fmt)
        return values

    def string(self):
        (n,) = self.take("<Q")
        self.at += n
        return self.buf[self.at - n : self.at].decode()

    def pair(self):
        key = self.string()
        return key, self.value(self.take("<I")[0])

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            elem, n = self.take("<IQ")
            return [self.value(elem) for _ in range(n)]
        return self.take({U32: "<I", I32: "<i", FLOAT: "<f", BOOL: "<?"}[kind])[0]

    def info(self):
        name = self.string()
        (n,) = self.take("<I")
        dims = self.take(f"<{n}Q")
        kind, off = self.take("<IQ")
        return name, kind, dims[::-1], off

    def load(self, at, kind, shape):
        n = int(np.prod(shape))
        if kind == Q8_0:
            return dequantize_q8_0(self.buf[at : at + n // 32 * 34], shape)
        return np.frombuffer(self.buf, "<f4", n, at).reshape(shape)
