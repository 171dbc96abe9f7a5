"""Records tests/golden/full/: training runs of the weights themselves with PyTorch on the tiny checkpoints that record.py made.

Run it after record.py, as `python scripts/golden/record_full.py [NAME ...]`. It refuses to make checkpoints of its own.
"""

import copy
import json
import re
import shutil
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from record import OUT as GOLDEN
from record import adam_options, adapter_parameters, row_losses, train, write_json

OUT = GOLDEN / "full"
STEPS = 10
RATE = 1e-3

# name -> (case, which parameters are trained, by their names; the first optimiser step at which each is)
EVERYTHING = lambda name: 0
VARIANTS = {
    "llama-tied": ("llama-gqa-tied", EVERYTHING),
    "llama-untied": ("llama-untied-llama3-rope", EVERYTHING),
    "gpt2": ("gpt2", EVERYTHING),
    "gemma2": ("gemma2", EVERYTHING),
    "qwen2": ("qwen2", EVERYTHING),
    "phi": ("phi", EVERYTHING),
}


def load(case):
    return AutoModelForCausalLM.from_pretrained(GOLDEN / case, attn_implementation="eager", dtype=torch.float32).eval()


def freeze(model, starts):
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(starts(name) is not None)


def optimiser_of(model):
    """AdamW as transformers' Trainer sets it up: vectors (norms, biases) do not decay."""
    options = {**adam_options(), "lr": RATE}
    trained = list(adapter_parameters(model).values())
    matrices = [p for p in trained if p.ndim > 1]
    vectors = [p for p in trained if p.ndim == 1]
    return torch.optim.AdamW([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}], **options)


def record(name):
    case, starts = VARIANTS[name]
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = json.loads((GOLDEN / case / "golden.json").read_text())["rows"]
    model = load(case)
    freeze(model, starts)
    golden = {
        "case": case,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "rate": RATE,
        "parameters": sum(p.numel() for p in adapter_parameters(model).values()),
    }
    double = copy.deepcopy(model).double()
    steps, gradients, after = train(model, rows, optimiser_of(model), STEPS)
    again, _, _ = train(double, rows, optimiser_of(double), STEPS)
    worst = max(abs(a["loss"] / b["loss"] - 1) for a, b in zip(steps, again))
    if worst > 1e-4:
        raise SystemExit(f"{name}: training is not stable: {worst} away from float64")
    golden["steps"] = [{key: step[key] for key in ("step", "loss", "grad_norm")} for step in steps]
    golden["row_losses_after"] = row_losses(model, rows)
    tensors = {f"grad/{key}": value.contiguous() for key, value in gradients.items()}
    tensors.update({f"after/{key}": value.contiguous() for key, value in after.items() if re.search("norm|ln_|bias|layers.1.self", key)})
    save_file(tensors, folder / "golden.safetensors")
    (folder / "golden.safetensors").chmod(0o644)
    write_json(folder / "golden.json", golden)
    print(f"{name:20} loss {steps[0]['loss']:.3f} -> {steps[-1]['loss']:.3f}  float64 {worst:.0e}")


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for variant in sys.argv[1:] or list(VARIANTS):
        record(variant)
