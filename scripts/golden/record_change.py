"""Records what numpy makes of ‖ΔW‖ and ‖W‖, for tests/golden/change.json: of the golden LLaMA with its adapter from ΔW = s·B·A, and of
DoRA and (IA)³ adapters on it and on GPT-2 from the weights that PEFT merges.

    .venv/bin/python scripts/golden/record_change.py
"""

import json

import numpy as np
from peft import PeftModel
from safetensors.numpy import load_file

from recording import GOLDEN, load, write_json

CASE = GOLDEN / "llama-gqa-tied"

base = load_file(CASE / "model.safetensors")
adapter = load_file(CASE / "adapter_init" / "adapter_model.safetensors")
config = json.loads((CASE / "adapter_init" / "adapter_config.json").read_text())
scale = config["lora_alpha"] / config["r"]
rows = {}
for key, a in adapter.items():
    if ".lora_A." not in key:
        continue
    module = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
    b = adapter[key.replace(".lora_A.", ".lora_B.")].astype(np.float64)
    weight = base[f"{module}.weight"].astype(np.float64)
    rows[module] = {
        "change": float(np.linalg.norm(scale * (b @ a.astype(np.float64)))),
        "weight": float(np.linalg.norm(weight)),
    }


def merged_change(case, adapter):
    """Module → norms of PEFT's merged weight less the base's, and of the base's."""
    base = {name: value.detach().double().numpy() for name, value in load(case).named_parameters()}
    merged = PeftModel.from_pretrained(load(case), GOLDEN / adapter).merge_and_unload()
    modules = {}
    for name, value in merged.named_parameters():
        change = float(np.linalg.norm(value.detach().double().numpy() - base[name]))
        if change > 0 and name.endswith(".weight"):
            modules[name.removesuffix(".weight")] = {"change": change, "weight": float(np.linalg.norm(base[name]))}
    return modules


CASES = {"methods/dora": "llama-gqa-tied", "methods/dora-gpt2": "gpt2", "soft/ia3": "llama-gqa-tied", "soft/ia3-gpt2": "gpt2"}
merged = {name: {"case": case, "modules": merged_change(case, name)} for name, case in CASES.items()}
golden = {"numpy": np.__version__, "modules": rows, "merged": merged}
write_json(GOLDEN / "change.json", golden)
