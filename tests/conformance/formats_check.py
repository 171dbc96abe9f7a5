"""Checks what formats.ts wrote with real transformers, PEFT, safetensors and gguf: `python formats_check.py OUT_DIR`; a JSON line for each
check on stdout. Undoes llama.cpp's row orders by itself; refuses to read any of Finetab's own code.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from checks import check, require
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
ARCHITECTURES = {
    "gemma2": "gemma2", "gemma3_text": "gemma3", "gpt_neox": "gptneox", "gpt2": "gpt2", "granite": "granite", "llama": "llama",
    "mistral": "llama", "olmo2": "olmo2", "phi": "phi2", "phi3": "phi3", "qwen2": "qwen2", "qwen3": "qwen3", "smollm3": "smollm3",
}
PERMUTED = {"llama", "smollm3", "granite"}
logging.set_verbosity_error()


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def unpermute(rows, heads):
    """llama.cpp keeps the two halves of each head interleaved."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def as_in_torch(values, name, config, architecture, transposed):
    heads = config.get("num_attention_heads", config.get("n_head"))
    if architecture in PERMUTED and ("q_proj" in name or "k_proj" in name):
        values = unpermute(values, heads if "q_proj" in name else config.get("num_key_value_heads", heads))
    if architecture == "gptneox" and "query_key_value" in name:
        size = values.shape[0] // heads // 3
        values = values.reshape(3, heads, size, *values.shape[1:]).swapaxes(0, 1).reshape(values.shape)
    if architecture == "gpt2" and transposed and values.ndim == 2 and ".h." in name:
        values = values.T
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        values = values - 1
    return values


def tensors_of(path):
    reader = gguf.GGUFReader(path)
    return reader, {t.name: (t, gguf.quants.dequantize(t.data, t.tensor_type).reshape(tuple(int(n) for n in reversed(t.shape)))) for t in reader.tensors}


def one(folder):
    name = folder.name
    config = json.loads((GOLDEN / name / "config.json").read_text())
    architecture = ARCHITECTURES[config["model_type"]]
    base = load(GOLDEN / name)
    tuned = PeftModel.from_pretrained(load(GOLDEN / name), GOLDEN / name / "adapter_init").eval()
    deltas = {}
    for module_name, module in tuned.base_model.model.named_modules():
        if hasattr(module, "lora_A"):
            deltas[module_name] = module.get_delta_weight("default").detach().numpy()
    ids = torch.tensor([[1, 5, 17, 40, 90, 3, 8, 60, 77, 2]])
    with torch.no_grad():
        wanted = tuned(ids).logits
    stored = {key: value.float().numpy() for key, value in load_file(GOLDEN / name / "model.safetensors").items()}
    merged = {key: value + deltas.get(key.removesuffix(".weight"), 0) if key.endswith(".weight") else value for key, value in stored.items()}

    @check(f"{name}: PEFT folder, logits as those of the adapter it was read from")
    def _():
        with torch.no_grad():
            written = PeftModel.from_pretrained(load(GOLDEN / name), folder / "peft").eval()
            difference = (written(ids).logits - wanted).abs().max().item()
        require(difference == 0, f"differs by {difference}")
        return "equal"

    @check(f"{name}: merged folder, logits as PEFT's")
    def _():
        with torch.no_grad():
            difference = (load(folder / "merged")(ids).logits - wanted).abs().max().item()
            effect = (base(ids).logits - wanted).abs().max().item()
        require(difference < 1e-4 and effect > 1e-2, f"differs by {difference}; the adapter itself changes {effect}")
        return f"largest difference {difference:.1e}, the adapter changes up to {effect:.2f}"

    @check(f"{name}: merged bfloat16 shards")
    def _():
        index = json.loads((folder / "merged-bf16" / "model.safetensors.index.json").read_text())
        found = {}
        for shard in sorted(set(index["weight_map"].values())):
            for key, value in load_file(folder / "merged-bf16" / shard).items():
                require(index["weight_map"][key] == shard, f"{key} is not where the index says")
                found[key] = value
        require(found.keys() == merged.keys(), f"tensors differ: {found.keys() ^ merged.keys()}")
        require(index["metadata"]["total_size"] == sum(v.numel() * 2 for v in found.values()), "total_size is wrong")
        off = max((found[k].float() - torch.tensor(v)).abs().max().item() / (abs(v).max() + 1e-9) for k, v in merged.items())
        require(off <= 2**-8 and all(v.dtype == torch.bfloat16 for v in found.values()), f"differs by {off}")
        loaded = load(folder / "merged-bf16")
        with torch.no_grad():
            return f"{len(set(index['weight_map'].values()))} shards, logits within {(loaded(ids).logits - wanted).abs().max().item():.3f}"

    names = gguf.get_tensor_name_map({v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[architecture], config.get("num_hidden_layers", config.get("n_layer")))
    place = lambda key: names.get_name(key, (".weight", ".bias"))
    for kind, tolerance in (("f32", 1e-6), ("f16", 2**-10), ("bf16", 2**-8), ("q8_0", 0.006)):

        @check(f"{name}: GGUF {kind}")
        def _():
            reader, found = tensors_of(folder / f"model-{kind}.gguf")
            expected = {place(key): key for key in merged}
            extra = {n for n in found if n not in expected and not n.startswith("rope_f")}
            require(not extra and expected.keys() <= found.keys(), f"tensors differ: {extra or expected.keys() - found.keys()}")
            worst = 0.0
            for target, key in expected.items():
                values = as_in_torch(found[target][1], key, config, architecture, True)
                require(values.shape == merged[key].shape, f"{target} is {values.shape}")
                worst = max(worst, float(abs(values - merged[key]).max() / (abs(merged[key]).max() + 1e-9)))
            require(worst <= tolerance, f"relative difference {worst}")
            field = lambda key: reader.fields[key].contents()
            require(field("general.architecture") == architecture, "architecture")
            require(field(f"{architecture}.block_count") == 2 and field(f"{architecture}.embedding_length") == config.get("hidden_size", config.get("n_embd")), "sizes")
            require(len(field("tokenizer.ggml.tokens")) == config["vocab_size"] == len(field("tokenizer.ggml.token_type")), "vocabulary")
            require(field("tokenizer.ggml.model") == "gpt2" and field("tokenizer.chat_template") == "template", "tokenizer")
            if kind == "f16":
                same = all(np.array_equal(t.data.reshape(v.shape), v.astype(np.float16)) for t, v in found.values() if t.data.dtype == np.float16)
                require(same, "not half precision")
            return f"{len(found)} tensors, relative difference up to {worst:.1e}"

    # transformers' own GGUF loader knows these three as they are here (no rope factors, default head sizes).
    if name in ("llama-gqa-tied", "qwen2", "phi3"):

        @check(f"{name}: GGUF f32, logits as PEFT's")
        def _():
            loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model-f32.gguf", dtype=torch.float32, attn_implementation="eager").eval()
            with torch.no_grad():
                difference = (loaded(ids).logits - wanted).abs().max().item()
            require(difference < 1e-4, f"differs by {difference}")
            return f"largest difference {difference:.1e}"

    @check(f"{name}: GGUF LoRA")
    def _():
        reader, found = tensors_of(folder / "adapter.gguf")
        alpha = reader.fields["adapter.lora.alpha"].contents()
        require(reader.fields["general.type"].contents() == "adapter" and reader.fields["adapter.type"].contents() == "lora", "type")
        require(len(found) == 2 * len(deltas), f"{len(found)} tensors")
        worst = 0.0
        for module, delta in deltas.items():
            target = place(f"{module}.weight")
            a, b = found[f"{target}.lora_a"][1], found[f"{target}.lora_b"][1]
            product = (b @ a) * (alpha / b.shape[1])
            product = as_in_torch(product, module, config, architecture, True)
            worst = max(worst, float(abs(product - delta).max()))
        require(worst < 1e-5, f"differs by {worst}")
        return f"{len(deltas)} layers, largest difference {worst:.1e}"

    if (folder / "mlx").exists():

        @check(f"{name}: mlx-lm adapter")
        def _():
            settings = json.loads((folder / "mlx" / "adapter_config.json").read_text())
            require(settings["fine_tune_type"] == "lora" and settings["num_layers"] == 2, "settings")
            found = load_file(folder / "mlx" / "adapters.safetensors")
            require(len(found) == 2 * len(deltas), f"{len(found)} tensors")
            scale = settings["lora_parameters"]["scale"]
            worst = 0.0
            for module, delta in deltas.items():
                a, b = found[f"{module}.lora_a"].numpy(), found[f"{module}.lora_b"].numpy()
                require(any(module.endswith(f".{key}") for key in settings["lora_parameters"]["keys"]), f"{module} is not among the keys")
                worst = max(worst, float(abs((scale * (a @ b)).T - delta).max()))
            require(worst < 1e-5, f"differs by {worst}")
            return f"{len(deltas)} layers, largest difference {worst:.1e}"


for path in sorted(Path(sys.argv[1]).iterdir()):
    if path.is_dir():
        try:
            one(path)
        except Exception as error:
            print(json.dumps({"name": path.name, "status": "failed", "detail": f"{type(error).__name__}: {error}"}), flush=True)
