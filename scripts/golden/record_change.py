"""Records what numpy makes of ‖s·B·A‖ and ‖W‖ for the golden LLaMA with its adapter, for tests/golden/change.json.

    .venv/bin/python scripts/golden/record_change.py
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
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
(GOLDEN / "change.json").write_text(json.dumps({"numpy": np.__version__, "modules": rows}, indent=1) + "\n")
