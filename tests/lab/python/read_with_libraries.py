"""Reads the lab's exports with the formats' own libraries: compressed-tensors, GPTQModel, AutoGPTQ, transformers.

These need PyTorch and are no part of the kit: name a Python that has some of them in OWQ_REFERENCE_PYTHON, and the test runs
it. For each [folder, plain] of the JSON list in the first argument every reader that is installed and knows the format
dequantizes every linear, in float32, and must give the tensor of `plain` bit by bit; compressed-tensors and GPTQModel
must also write our tensors byte by byte when they pack those weights themselves. Prints {reader: [folders read, linears, refusals]}.
"""

import importlib.util
import json
import logging
import os
import sys
import warnings

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling a forward pass takes longer than running it here

import torch
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
torch.set_num_threads(2)
standard_output, sys.stdout = sys.stdout, sys.stderr  # some of them print banners


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.contiguous().view(torch.int32), b.contiguous().view(torch.int32))


def linears_of(tensors, ending):
    names = [k[: -len(ending) - 1] for k in tensors if k.endswith(f".{ending}")]
    return {n: {k[len(n) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{n}.")} for n in names}


def compressed_tensors_reader(config, tensors):
    from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor as Packed
    from compressed_tensors.quantization import QuantizationConfig

    scheme = QuantizationConfig.model_validate(config).config_groups["group_0"]
    out = {}
    for name, t in linears_of(tensors, "weight_packed").items():
        state = {**t, "weight_scale": t["weight_scale"].float()}
        read = Packed.decompress(state, scheme)
        out[name] = read["weight"]
        again = {"weight": read["weight"], "weight_scale": read["weight_scale"]}
        if "weight_zero_point" in read:
            again["weight_zero_point"] = read["weight_zero_point"]
        if "weight_g_idx" in t:
            again["weight_g_idx"] = t["weight_g_idx"]
        written = Packed.compress(again, scheme)
        for key in ("weight_packed", "weight_shape", "weight_zero_point"):
            assert (key in written) == (key in t), f"{name}.{key}"
            if key in t:
                assert written[key].dtype == t[key].dtype and torch.equal(written[key], t[key]), f"{name}.{key}"
    return out


def gptqmodel_reader(config, tensors):
    from gptqmodel.nn_modules.qlinear import PackableQuantLinear
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization import QuantizeConfig
    from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module

    understood = QuantizeConfig.from_quant_config(dict(config))
    assert (understood.bits, understood.group_size) == (config["bits"], config["group_size"])
    assert (understood.desc_act, understood.sym) == (config["desc_act"], config["sym"])
    assert str(getattr(understood.format, "value", understood.format)) == config["checkpoint_format"]
    out = {}
    for name, t in linears_of(tensors, "qweight").items():
        rows, cols = t["qweight"].shape[1], len(t["g_idx"])
        module = TorchLinear(
            bits=config["bits"], group_size=config["group_size"], sym=config["sym"], desc_act=config["desc_act"],
            in_features=cols, out_features=rows, bias=False, pack_dtype=torch.int32, register_buffers=True,
        )
        for part in ("qweight", "qzeros", "scales", "g_idx"):
            assert getattr(module, part).shape == t[part].shape and getattr(module, part).dtype == t[part].dtype, part
            setattr(module, part, t[part].clone())
        module.scales = module.scales.float()
        if config["checkpoint_format"] == "gptq":
            convert_gptq_v1_to_v2_format_module(module, bits=config["bits"], pack_dtype=torch.int32)
        out[name] = PackableQuantLinear.dequantize_weight(module).T.contiguous()
        packed_by_gptqmodel(module, out[name], t, config)
    return out


def packed_by_gptqmodel(module, weight, t, config):
    """Its packer, given the weights and their grid, must write our words."""
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    zeros = torch.zeros_like(module.scales)
    for column in range(zeros.shape[1]):  # out of the v2 words, bit by bit
        for bit in range(config["bits"]):
            at = column * config["bits"] + bit
            zeros[:, column] += ((module.qzeros[:, at // 32] >> (at % 32)) & 1) << bit
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight.data = weight.clone()
    module.pack_original(linear, module.scales.T.contiguous(), zeros.T.contiguous(), module.g_idx)
    if config["checkpoint_format"] == "gptq":
        convert_gptq_v2_to_v1_format_module(module, config_of(config))
    for part in ("qweight", "qzeros", "scales", "g_idx"):
        ours, theirs = t[part], getattr(module, part)
        assert theirs.dtype == ours.dtype and torch.equal(theirs, ours), f"GPTQModel packs {part} otherwise"


def config_of(config):
    from gptqmodel.quantization import QuantizeConfig

    return QuantizeConfig(bits=config["bits"])


def autogptq_reader(config, tensors):
    """Its plain PyTorch path, taken out of the installed package by path: the package itself wants an older transformers."""
    if config["checkpoint_format"] != "gptq":
        raise NotImplementedError("reads v1 only")
    place = importlib.util.find_spec("auto_gptq").submodule_search_locations[0]
    path = os.path.join(place, "nn_modules", "qlinear", "qlinear_cuda.py")
    spec = importlib.util.spec_from_file_location("qlinear_cuda", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = {}
    for name, t in linears_of(tensors, "qweight").items():
        rows, cols = t["qweight"].shape[1], len(t["g_idx"])
        linear = module.QuantLinear(config["bits"], config["group_size"], cols, rows, bias=False, weight_dtype=torch.float32)
        for part in ("qweight", "qzeros", "scales", "g_idx"):
            assert getattr(linear, part).shape == t[part].shape, part
            setattr(linear, part, t[part].float() if part == "scales" else t[part].clone())
        out[name] = linear(torch.eye(cols)).T.contiguous()
    return out


def transformers_reader(config, tensors, folder, plain):
    """The whole model, as a user loads it."""
    from transformers import AutoModelForCausalLM

    if config["quant_method"] == "compressed-tensors":
        from transformers import CompressedTensorsConfig

        if config["config_groups"]["group_0"]["weights"].get("actorder") == "group":
            raise NotImplementedError("transformers does not hand weight_g_idx on")

        # dequantize: without it transformers 5.23 with compressed-tensors 0.20 expects zero points that are not packed
        chosen = CompressedTensorsConfig(dequantize=True)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, quantization_config=chosen)
        expected = load_file(os.path.join(plain, "model.safetensors"))
        state, count = model.state_dict(), 0
        for name, w in expected.items():
            # it multiplies in the scales' own type: with f16 scales the product is rounded to f16
            a, b = state[name].float(), w.float()
            assert torch.isfinite(a).all() and bool(((a - b).abs() <= 2.0**-11 * b.abs() + 2.0**-25).all()), name
            count += f"{name.removesuffix('.weight')}.weight_packed" in tensors
        return count
    from transformers import GPTQConfig

    chosen = GPTQConfig(bits=config["bits"], backend="gptq_torch")  # others compile kernels first
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float16, device_map="cpu", quantization_config=chosen
    )
    reference = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32)
    ids = torch.arange(1, 41)[None]
    with torch.no_grad():
        ours, theirs = reference(ids).logits, model(ids).logits.float()
    assert torch.isfinite(theirs).all()
    worst = ((ours - theirs).abs().max() / ours.abs().max()).item()
    assert worst < 0.02, f"logits differ by {worst} of the largest"  # the model computes in f16
    return sum(1 for m in model.modules() if "qweight" in dict(m.named_buffers(recurse=False)))


answers = {}


def note(reader, count=None, refusal=None):
    entry = answers.setdefault(reader, [0, 0, []])
    if refusal is None:
        entry[0] += 1
        entry[1] += count
    else:
        entry[2].append(refusal)


def installed(name):
    return importlib.util.find_spec(name) is not None


for folder, plain in json.loads(sys.argv[1]):
    if os.path.exists(os.path.join(folder, "owq_lab.json")):
        continue
    config = json.load(open(os.path.join(folder, "config.json")))["quantization_config"]
    tensors, expected = (load_file(os.path.join(d, "model.safetensors")) for d in (folder, plain))
    readers = {}
    if config["quant_method"] == "compressed-tensors":
        if installed("compressed_tensors"):
            readers["compressed-tensors"] = lambda: compressed_tensors_reader(config, tensors)
    else:
        if installed("gptqmodel"):
            readers["gptqmodel"] = lambda: gptqmodel_reader(config, tensors)
        if installed("auto_gptq"):
            readers["auto-gptq"] = lambda: autogptq_reader(config, tensors)
    for reader, read in readers.items():
        try:
            weights = read()
        except (NotImplementedError, ValueError, RuntimeError) as e:
            note(reader, refusal=f"{os.path.basename(folder)}: {str(e)[:200]}")
            continue
        for name, w in weights.items():
            assert same_bits(w, expected[f"{name}.weight"]), f"{reader}: {folder}: {name} differs"
        note(reader, len(weights))
    whole = installed("transformers") and (
        installed("compressed_tensors") if config["quant_method"] == "compressed-tensors"
        else installed("gptqmodel") and installed("optimum")
    )
    if whole:
        try:
            note("transformers", transformers_reader(config, tensors, folder, plain))
        except (NotImplementedError, ValueError, RuntimeError, ImportError) as e:
            note("transformers", refusal=f"{os.path.basename(folder)}: {type(e).__name__} {str(e)[:300]}")

print(json.dumps(answers), file=standard_output)
