"""Reads the lab's folders back with NumPy alone, from the written layouts (lib/lab/PACKED.md and the formats' own rules).

Knows nothing of the lab's code: bits come out of numpy.unpackbits, not out of shifts. For each [folder, plain] of the JSON
list in the first argument, every linear of `folder` is dequantized in float32 and must equal the tensor of `plain`
(an ordinary folder in float32) bit by bit. Prints {folder: [format, number of linears, number of other tensors]}.
"""

import json
import os
import sys

import numpy as np
from safetensors.numpy import load_file

F32 = np.float32


def codes(words, bits, count):
    """(rows, words) int32 -> (rows, count): code i of a row is bits i*bits ... of its little-endian bit stream."""
    rows = words.shape[0]
    stream = np.unpackbits(np.ascontiguousarray(words).view(np.uint8).reshape(rows, -1), axis=1, bitorder="little")
    fields = stream[:, : count * bits].reshape(rows, count, bits).astype(np.int64)
    return (fields << np.arange(bits)).sum(axis=2)


def dequantize(q, scale, zero, group):
    """scale (out, groups) * (q (out, in) - zero (out, groups)), the group of each column given."""
    difference = (q - zero[:, group]).astype(F32)  # whole numbers: exact
    return scale.astype(F32)[:, group] * difference


def packed(folder):
    index = json.load(open(os.path.join(folder, "owq_lab.json")))
    assert index["format"] == "owq-lab-packed-1"
    files, linears = {}, {}
    for name, e in index["layers"].items():
        t = files.setdefault(e["file"], load_file(os.path.join(folder, e["file"])))
        rows, cols, bits, size = e["rows"], e["cols"], e["bits"], e["groupSize"]
        weak = t[f"{name}.weak_ids"].astype(int)
        assert weak.tolist() == e["weakIds"] == sorted(weak.tolist())
        scale = t[f"{name}.scale"]
        groups = scale.shape[1]
        zero = codes(t[f"{name}.zero"][None, :], bits, rows * groups).reshape(rows, groups)
        if f"{name}.group_of" in t:
            group = t[f"{name}.group_of"]
        else:  # counted among the columns that get codes; what stands at a weak column is never used
            kept = np.ones(cols, bool)
            kept[weak] = False
            group = (np.cumsum(kept) - 1) // size if size > 0 else np.zeros(cols, int)
            group = np.clip(group, 0, groups - 1)
        w = dequantize(codes(t[f"{name}.codes"], bits, cols), scale, zero, group)
        w[:, weak] = t[f"{name}.weak"].astype(F32)
        linears[f"{name}.weight"] = w
    return linears, load_file(os.path.join(folder, "rest.safetensors"))


def gptq(config, tensors):
    linears, rest = {}, dict(tensors)
    bits = config["bits"]
    assert config["checkpoint_format"] in ("gptq", "gptq_v2")
    one = 1 if config["checkpoint_format"] == "gptq" else 0
    for key in [k for k in tensors if k.endswith(".qweight")]:
        name = key[: -len(".qweight")]
        words, zeros, scales, group = (rest.pop(f"{name}.{p}") for p in ("qweight", "qzeros", "scales", "g_idx"))
        size = len(group) if config["group_size"] == -1 else config["group_size"]
        if not config["desc_act"]:
            assert np.array_equal(group, np.arange(len(group)) // size)
        assert np.bincount(group).tolist() == [size] * (len(group) // size)
        zero = codes(zeros, bits, scales.shape[1]).T + one
        assert not config["sym"] or (zero == 1 << (bits - 1)).all()
        linears[f"{name}.weight"] = dequantize(codes(words.T, bits, len(group)), scales.T, zero, group)
    return linears, rest


def compressed(config, tensors):
    linears, rest = {}, dict(tensors)
    assert config["format"] == "pack-quantized" and config["quantization_status"] == "compressed"
    weights = config["config_groups"]["group_0"]["weights"]
    assert weights["type"] == "int" and weights["strategy"] == ("group" if weights["group_size"] else "channel")
    bits = weights["num_bits"]
    offset = 1 << (bits - 1)
    for key in [k for k in tensors if k.endswith(".weight_packed")]:
        name = key[: -len(".weight_packed")]
        words, scale, shape = (rest.pop(f"{name}.weight_{p}") for p in ("packed", "scale", "shape"))
        rows, cols = shape.tolist()
        signed = codes(words, bits, cols) - offset
        zero = np.zeros(scale.shape, int)
        if not weights["symmetric"]:
            zero = codes(rest.pop(f"{name}.weight_zero_point").T, bits, rows).T - offset
        group = np.arange(cols) // (weights["group_size"] or cols)
        if weights.get("actorder") == "group":
            group = rest.pop(f"{name}.weight_g_idx")
        assert words.shape == (rows, -(-cols * bits // 32))
        linears[f"{name}.weight"] = dequantize(signed, scale, zero, group)
    return linears, rest


def read(folder):
    if os.path.exists(os.path.join(folder, "owq_lab.json")):
        return ("packed", *packed(folder))
    config = json.load(open(os.path.join(folder, "config.json")))["quantization_config"]
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    if config["quant_method"] == "gptq":
        older = json.load(open(os.path.join(folder, "quantize_config.json")))
        assert all(config[k] == v for k, v in older.items())
        return (config["checkpoint_format"], *gptq(config, tensors))
    return (config["quant_method"], *compressed(config, tensors))


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


answers = {}
for folder, plain in json.loads(sys.argv[1]):
    kind, linears, rest = read(folder)
    expected = load_file(os.path.join(plain, "model.safetensors"))
    assert sorted([*linears, *rest]) == sorted(expected), folder
    for name, w in linears.items():
        assert np.isfinite(w).all() and same_bits(w, expected[name]), f"{folder}: {name} differs"
    for name, w in rest.items():
        assert same_bits(w, expected[name]), f"{folder}: {name} differs"
    answers[folder] = [kind, len(linears), len(rest)]
print(json.dumps(answers))
