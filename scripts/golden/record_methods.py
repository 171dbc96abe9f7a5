"""Records tests/golden/methods/: training runs of LoRA's variants with PEFT on the tiny checkpoints that record.py made.

Run it after record.py, as `python scripts/golden/record_methods.py [NAME ...]`. It refuses to make checkpoints of its own.
"""

import copy

import peft
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import load_file

from cases import LLAMA_TARGETS
from record import adam_options, adapter_parameters, randomise_adapter, row_losses, train
from recording import GOLDEN, empty_folder, float64_difference, load, record_all, rows_of, write_run

OUT = GOLDEN / "methods"
STEPS = 10

# name -> (case, options of LoraConfig, LoRA+ ratio)
VARIANTS = {
    "dora": ("llama-gqa-tied", dict(use_dora=True), 1),
    "dora-gpt2": ("gpt2", dict(use_dora=True, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True), 1),
    "rslora-patterns": (
        "llama-gqa-tied",
        dict(use_rslora=True, rank_pattern={"q_proj": 2, "layers.1.mlp.up_proj": 6}, alpha_pattern={"v_proj": 16}),
        1,
    ),
    "loraplus": ("llama-gqa-tied", dict(), 4),
    "last-layer": ("llama-gqa-tied", dict(layers_to_transform=[1]), 1),
    "pissa": ("llama-gqa-tied", dict(init_lora_weights="pissa"), 1),
}


def optimiser_of(model, ratio):
    common = adam_options()
    if ratio == 1:
        return torch.optim.AdamW(adapter_parameters(model).values(), **common)
    decay = common.pop("weight_decay")
    optimiser = create_loraplus_optimizer(
        model, torch.optim.AdamW, loraplus_lr_ratio=ratio, loraplus_weight_decay=decay, weight_decay=decay, **common
    )
    assert {common["lr"], ratio * common["lr"]} <= {group["lr"] for group in optimiser.param_groups}
    return optimiser


def train_variant(model, rows, ratio):
    """Steps and first gradients of record.train, in the optimiser of a variant."""
    steps, gradients, _ = train(model, rows, optimiser_of(model, ratio), STEPS)
    return [{key: step[key] for key in ("step", "loss", "grad_norm")} for step in steps], gradients


def key_in_file(key):
    """PEFT leaves `.weight` out of the names of magnitude vectors."""
    return key.removesuffix(".weight") if "lora_magnitude_vector" in key else key


def record(name):
    case, options, ratio = VARIANTS[name]
    folder, rows = empty_folder(OUT / name), rows_of(case)
    torch.manual_seed(5)
    config = LoraConfig(
        **{"r": 3, "lora_alpha": 6, "target_modules": LLAMA_TARGETS, "task_type": "CAUSAL_LM", **options}
    )
    model = get_peft_model(load(case), config)
    pissa = options.get("init_lora_weights") == "pissa"
    if not pissa:
        randomise_adapter(model, 77, False)
        # DoRA's lengths were taken while B was zero; take them again for this B, as a run under way has them, and off by some.
        for parameter_name, parameter in model.named_parameters():
            if "lora_magnitude_vector" in parameter_name:
                parameter.data *= 1.1
        model.peft_config["default"].base_model_name_or_path = case
        model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)
        model = PeftModel.from_pretrained(load(case), folder, is_trainable=True).eval()
    golden = {
        "case": case,
        "versions": {"torch": torch.__version__, "peft": peft.__version__},
        "ratio": ratio,
        "row_losses": row_losses(model, rows),
    }
    double = copy.deepcopy(model).double()
    golden["steps"], gradients = train_variant(model, rows, ratio)
    again, _ = train_variant(double, rows, ratio)
    difference = float64_difference(name, golden["steps"], again)
    golden["row_losses_after"] = row_losses(model, rows)
    gradients = {} if pissa else {key_in_file(key): value for key, value in gradients.items()}  # there each sign is free
    assert pissa or set(gradients) == set(load_file(folder / "adapter_model.safetensors"))
    write_run(folder, golden, gradients, difference)


if __name__ == "__main__":
    record_all(VARIANTS, record)
