"""Records tests/golden/full/: training runs of the weights themselves with PyTorch on the tiny checkpoints that record.py made.

Run it after record.py, as `python scripts/golden/record_full.py [NAME ...]`. It refuses to make checkpoints of its own.
"""

import copy
import re

import torch
import transformers

from record import SETTINGS, adam_options, row_losses, summed_loss
from recording import GOLDEN, empty_folder, float64_difference, load, record_all, rows_of, write_run

OUT = GOLDEN / "full"
STEPS = 10
RATE = 1e-3


def everything(name, layers):
    return 0


def layer_of(name):
    found = re.search(r"\.(\d+)\.", name)
    return int(found[1]) if found else None


def last(name, layers):
    layer = layer_of(name)
    return None if "embed" in name or (layer is not None and layer < layers - 1) else 0


def first(name, layers):
    return 0 if "embed" in name or layer_of(name) == 0 else None


def norms(name, layers):
    return 0 if "norm" in name or "ln_" in name else None


def head(name, layers):
    return 0 if name == "lm_head.weight" else None


def named(name, layers):
    return 0 if "self_attn.q_proj" in name or "layers.1.mlp" in name else None


def gradual(name, layers):
    """One layer more each epoch, from the top; the embedding last."""
    layer = layer_of(name)
    return layers if "embed" in name else 0 if layer is None else layers - 1 - layer


# name -> (case, the epoch from which each parameter is trained, by its name: None is never)
VARIANTS = {
    "llama-tied": ("llama-gqa-tied", everything),
    "llama-untied": ("llama-untied-llama3-rope", everything),
    "gpt2": ("gpt2", everything),
    "gemma2": ("gemma2", everything),
    "qwen2": ("qwen2", everything),
    "phi": ("phi", everything),
    "last": ("llama-gqa-tied", last),
    "first": ("llama-gqa-tied", first),
    "norms": ("gpt2", norms),
    "head": ("llama-untied-llama3-rope", head),
    "named": ("qwen2", named),
    "gradual": ("llama-gqa-tied", gradual),
}


def freeze(model, starts, epoch):
    """Whether anything new is trained from this epoch on."""
    layers = model.config.num_hidden_layers
    changed = False
    for name, parameter in model.named_parameters():
        start = starts(name, layers)
        trained = start is not None and start <= epoch
        changed = changed or trained != parameter.requires_grad
        parameter.requires_grad_(trained)
    return changed


def optimiser_of(model):
    """AdamW as transformers' Trainer sets it up: vectors (norms, biases) do not decay."""
    options = {**adam_options(), "lr": RATE}
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    return torch.optim.AdamW([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}], **options)


def train(model, rows, starts):
    """As record.train; what is frozen has no gradient, so that the optimiser passes it over, its count of steps included."""
    s = SETTINGS
    optimiser = optimiser_of(model)
    schedule = transformers.get_scheduler(s["schedule"], optimiser, s["warmup_steps"], STEPS)
    steps, gradients, position = [], {}, 0
    for step in range(1, STEPS + 1):
        freeze(model, starts, position // len(rows))
        batches = []
        for _ in range(s["grad_accum"]):
            batches.append([rows[(position + i) % len(rows)] for i in range(s["batch_size"])])
            position += s["batch_size"]
        optimiser.zero_grad()
        sums = [summed_loss(model, batch) for batch in batches]
        loss = sum(value for value, _ in sums) / sum(count for _, count in sums)
        loss.backward()
        if step == 1:
            gradients = {key: p.grad.detach().clone() for key, p in model.named_parameters() if p.grad is not None}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), s["clip"])
        optimiser.step()
        schedule.step()
        steps.append({"step": step, "loss": loss.item(), "grad_norm": norm.item()})
    return steps, gradients


def record(name):
    case, starts = VARIANTS[name]
    folder, rows = empty_folder(OUT / name), rows_of(case)
    model = load(case)
    layers = model.config.num_hidden_layers
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    trained = [key for key in before if starts(key, layers) is not None]
    double = copy.deepcopy(model).double()
    steps, gradients = train(model, rows, starts)
    again, _ = train(double, rows, starts)
    difference = float64_difference(name, steps, again)
    after = {key: p.detach() for key, p in model.named_parameters()}
    assert all(torch.equal(before[key], after[key]) != (key in trained) for key in before)
    golden = {
        "case": case,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "rate": RATE,
        "parameters": sum(before[key].numel() for key in trained),
        "trained": trained,
        "steps": steps,
        "row_losses_after": row_losses(model, rows),
    }
    kept = {f"grad/{key}": value for key, value in gradients.items()}
    some = [key for key in trained if starts in (gradual, head) or re.search("norm|ln_|bias|layers.1.self", key)]
    kept.update({f"after/{key}": after[key] for key in some})
    write_run(folder, golden, kept, difference)


if __name__ == "__main__":
    record_all(VARIANTS, record)
