"""The torch side of `deno task bench`: one process, one request a line of standard input, one answer a line of output.

Written from the formulas of the papers: the grid search of OWQ (arXiv 2306.02272, section 3.3), OPTQ's algorithm 1
(arXiv 2210.17323). Only the arithmetic is timed, not the files through which matrices come and go.
"""
import json
import platform
import sys
import time

import numpy
import torch

kept = {}


def load(name, path, shape, dtype="float32"):
    kept[name] = torch.from_numpy(numpy.fromfile(path, dtype=dtype).reshape(shape).copy())
    return {}


def save(name, path):
    kept[name].contiguous().numpy().tofile(path)
    return {}


def drop(names):
    for name in names:
        kept.pop(name, None)
    return {}


def search(weight, bits, steps, out=None):
    """For each row the range and zero point with the least mean |w - w^|^2.4: every range, every zero point."""
    w = kept[weight]
    top = 2**bits - 1
    begun = time.perf_counter()
    low = w.amin(1, keepdim=True).clamp(max=0)
    spread = w.amax(1, keepdim=True).clamp(min=0) - low
    best = torch.full((w.shape[0], 1), float("inf"))
    scale = torch.zeros_like(best)
    zero = torch.zeros_like(best)
    for i in range(1, steps + 1):
        s = spread * (i / steps) / top
        rounded = torch.round(w / s)
        for z in range(top + 1):
            error = (rounded + z).clamp_(0, top).sub_(z).mul_(s).sub_(w).abs_().pow_(2.4).mean(1, keepdim=True)
            better = error < best
            best = torch.where(better, error, best)
            scale = torch.where(better, s, scale)
            zero = torch.where(better, torch.full_like(zero, z), zero)
    seconds = time.perf_counter() - begun
    if out:
        kept[out + ".scale"], kept[out + ".zero"] = scale.flatten(), zero.flatten()
    return {"seconds": seconds}


def optq(weight, hessian, scale, zero, bits, damp, block, out=None):
    """Cholesky, inverse, Cholesky; then column after column, updates of the rest a block at a time."""
    w = kept[weight].clone()
    h = kept[hessian].clone()
    s, z = kept[scale], kept[zero]
    n, top = h.shape[0], 2**bits - 1
    begun = time.perf_counter()
    h.diagonal().add_(damp * h.diagonal().mean())
    u = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    factored = time.perf_counter()
    codes = torch.empty_like(w)
    for start in range(0, n, block):
        end = min(start + block, n)
        part = w[:, start:end]
        own = u[start:end, start:end]
        errors = torch.empty_like(part)
        for j in range(end - start):
            column = part[:, j]
            q = (torch.round(column / s) + z).clamp_(0, top)
            codes[:, start + j] = q
            error = (column - s * (q - z)) / own[j, j]
            part[:, j + 1:].sub_(torch.outer(error, own[j, j + 1:]))
            errors[:, j] = error
        w[:, end:].addmm_(errors, u[start:end, end:], alpha=-1)
    done = time.perf_counter()
    if out:
        kept[out] = codes.to(torch.uint8)
    return {"seconds": done - begun, "factor": factored - begun, "loop": done - factored}


def matmul(x, weight, repeats, out=None):
    """y = x w^T."""
    a, b = kept[x], kept[weight]
    begun = time.perf_counter()
    for _ in range(repeats):
        y = a @ b.T
    seconds = time.perf_counter() - begun
    if out:
        kept[out] = y
    return {"seconds": seconds / repeats}


def gram(x, repeats, out=None):
    """x^T x."""
    a = kept[x]
    begun = time.perf_counter()
    for _ in range(repeats):
        y = a.T @ a
    seconds = time.perf_counter() - begun
    if out:
        kept[out] = y
    return {"seconds": seconds / repeats}


def hello(threads):
    torch.set_num_threads(threads)
    return {"torch": torch.__version__, "python": platform.python_version(), "threads": torch.get_num_threads()}


with torch.inference_mode():
    for line in sys.stdin:
        request = json.loads(line)
        work = {f.__name__: f for f in (hello, load, save, drop, search, optq, matmul, gram)}[request.pop("do")]
        try:
            answer = work(**request)
        except Exception as error:  # the other side turns it into its own sentence
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
