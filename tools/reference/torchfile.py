"""Write a small PyTorch checkpoint as torch.save does, without PyTorch.

The pickle comes from Python's own pickler, with classes that stand in for
torch's, so that the instructions are those of real files. It makes
internal/weights/testdata/tiny.pt:

    python3 tools/reference/torchfile.py internal/weights/testdata/tiny.pt
"""

import collections
import io
import pickle
import struct
import sys
import types
import zipfile


def module(name):
    m = types.ModuleType(name)
    sys.modules[name] = m
    return m


torch, utils = module("torch"), module("torch._utils")
torch._utils = utils


def storage_class(name):
    c = type(name, (), {"__module__": "torch"})
    setattr(torch, name, c)
    return c


Float, Half, BFloat16, Long = (storage_class(n + "Storage") for n in ("Float", "Half", "BFloat16", "Long"))


def _rebuild_tensor_v2(*args):
    raise NotImplementedError


_rebuild_tensor_v2.__module__ = "torch._utils"
utils._rebuild_tensor_v2 = _rebuild_tensor_v2


class Storage:
    def __init__(self, kind, key, elems):
        self.kind, self.key, self.elems = kind, key, elems


class Tensor:
    def __init__(self, storage, offset, shape):
        self.storage, self.offset, self.shape = storage, offset, shape

    def __reduce__(self):
        strides, n = [], 1
        for d in reversed(self.shape):
            strides.insert(0, n)
            n *= d
        args = (self.storage, self.offset, tuple(self.shape), tuple(strides), False, collections.OrderedDict())
        return utils._rebuild_tensor_v2, args


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return ("storage", obj.kind, obj.key, "cpu", obj.elems)
        return None


def bf16(x):
    return struct.pack("<f", x)[2:]


def main(path):
    a, b, c, d = Storage(Half, "0", 6), Storage(Float, "1", 4), Storage(BFloat16, "2", 2), Storage(Long, "3", 3)
    state = collections.OrderedDict()
    state["0.0.linear.weight"] = Tensor(a, 0, [2, 3])
    state["0.0.linear.bias"] = Tensor(b, 1, [2])  # a view into a storage
    state["0.1.weight"] = Tensor(c, 0, [1, 2])
    state["d2t"] = Tensor(d, 0, [3])
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    program = io.BytesIO()
    Pickler(program, protocol=2).dump(state)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        def put(name, data):
            z.writestr(zipfile.ZipInfo("tiny/" + name, (1980, 1, 1, 0, 0, 0)), data)
        put("data.pkl", program.getvalue())
        put("byteorder", b"little")
        put("data/0", struct.pack("<6e", *range(6)))
        put("data/1", struct.pack("<4f", 9, 0.5, -0.5, 9))
        put("data/2", bf16(1.5) + bf16(-2))
        put("data/3", struct.pack("<3q", 7, -1, 1 << 40))
        put("version", b"3\n")


main(sys.argv[1])
