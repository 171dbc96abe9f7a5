"""Records tests/golden/quantised-runs.json: losses, gradients and twenty steps of training over quantised base weights.

Takes the tiny models of tests/golden, replaces their matrices by what each precision makes of them (rounded, then widened again)
and trains the same adapters as record.py. Tables (embeddings, positions, heads) are held in int8 where linear layers are NF4.
Run: python scripts/golden/record_quantised_runs.py [--add], which keeps what is there and records what is not.
"""

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from peft import PeftModel
from transformers.pytorch_utils import Conv1D

from record import adapter_parameters, row_losses, train
from record_quantised import nf4
from recording import GOLDEN, load, rows_of

MODES = ["f16", "int8", "nf4"]
# One family with each layout of its weights in every precision, all others in NF4.
CASES = {case: MODES for case in ["llama-gqa-tied", "gpt2"]} | {
    case: ["nf4"]
    for case in [
        *["gemma2", "gemma3-text", "gpt-neox", "granite", "mistral", "olmo2"],
        *["phi", "phi3", "qwen2", "qwen3", "smollm3"],
    ]
}


def int8(x: torch.Tensor) -> torch.Tensor:
    """Symmetric bytes, one scale for a group of neighbours in a row."""
    group = next(size for size in (64, 32, 16, 8, 4, 2, 1) if x.shape[1] % size == 0)
    blocks = x.double().reshape(-1, group)
    most = blocks.abs().amax(1, keepdim=True)
    inverse = torch.where(most > 0, 127 / most, 0)
    scale = (most / 127).float()
    return (torch.floor(blocks * inverse + 0.5).float() * scale).reshape(x.shape)


def rounded(x: torch.Tensor, mode: str, table: bool) -> torch.Tensor:
    if mode == "f16":
        return x.half().float()
    return int8(x) if table or mode == "int8" else nf4(x)[1]


def quantise(model: torch.nn.Module, mode: str) -> None:
    done = set()
    with torch.no_grad():
        for name, module in model.named_modules():
            weight = getattr(module, "weight", None)
            if weight is None or weight.dim() != 2 or weight.data_ptr() in done:
                continue
            done.add(weight.data_ptr())
            if name.endswith("lm_head") and module.bias is not None:
                continue  # with its bias it is a column wider, and rows of odd width stay as they are
            table = isinstance(module, torch.nn.Embedding) or name.endswith("lm_head")
            turned = isinstance(module, Conv1D)
            new = rounded((weight.T if turned else weight).contiguous(), mode, table)
            weight.copy_(new.T if turned else new)


def main() -> None:
    path = GOLDEN / "quantised-runs.json"
    out = json.loads(path.read_text()) if "--add" in sys.argv else []
    there = {(run["case"], run["mode"]) for run in out}
    for case, modes in CASES.items():
        rows = rows_of(case)
        for mode in modes:
            if (case, mode) in there:
                continue
            base = load(case)
            quantise(base, mode)
            losses = row_losses(base, rows)
            model = PeftModel.from_pretrained(base, GOLDEN / case / "adapter_init", is_trainable=True).eval()
            assert adapter_parameters(model)
            steps, gradients, _ = train(model, rows)
            out.append(
                {
                    "case": case,
                    "mode": mode,
                    "row_losses": losses,
                    "gradients": {key: [round(v, 9) for v in g.reshape(-1).tolist()] for key, g in gradients.items() if ".1." in key},
                    "steps": steps,
                    "row_losses_after": row_losses(model, rows),
                }
            )
            print(case, mode, losses[0]["loss"], steps[0]["loss"], steps[-1]["loss"])
            path.write_text(json.dumps(out))
    print(path.stat().st_size)


if __name__ == "__main__":
    main()
