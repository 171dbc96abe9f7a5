"""What the recorders share: a quiet and repeatable PyTorch, the tiny checkpoints of tests/golden, and how a run's numbers are kept.

Refuses numbers that would not be stable: training must agree with float64.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"


def set_up():
    """No bars and no warnings; one thread, so that sums are taken in one order."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def load(case):
    """A case's base model as record.py made it."""
    return AutoModelForCausalLM.from_pretrained(GOLDEN / case, attn_implementation="eager", dtype=torch.float32).eval()


def rows_of(case):
    return json.loads((GOLDEN / case / "golden.json").read_text())["rows"]


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def empty_folder(folder):
    """The folder without what an earlier recording left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def float64_difference(name, steps, again):
    """Largest relative difference of the losses from the same run in float64; more than 1e-4 is refused."""
    differences = [abs(a["loss"] / b["loss"] - 1) for a, b in zip(steps, again)]
    if not all(difference <= 1e-4 for difference in differences):
        raise SystemExit(f"{name}: training is not stable: {differences} away from float64")
    return max(differences)


def write_run(folder, golden, tensors, difference):
    """Keeps a run as golden.json and, where there are tensors, golden.safetensors, and says how it went."""
    if tensors:
        save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "golden.safetensors")
    write_json(folder / "golden.json", golden)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)
    first, *_, last = golden["steps"]
    print(f"{folder.name:20} loss {first['loss']:.3f} -> {last['loss']:.3f}  float64 {difference:.0e}")


def record_all(variants, record):
    """Records the variants named on the command line, or all."""
    set_up()
    for variant in sys.argv[1:] or list(variants):
        record(variant)
