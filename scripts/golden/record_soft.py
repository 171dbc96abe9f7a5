"""Records tests/golden/soft/: gradients and ten steps of (IA)3, prompt tuning, prefix tuning, bottleneck adapters and of a
classification head, on the tiny checkpoints that record.py made.

Run it after record.py, as `python scripts/golden/record_soft.py [NAME ...]`. PEFT and transformers give the numbers; bottleneck adapters,
which PEFT lacks, are the few lines of PyTorch below. It refuses to make checkpoints of its own.
"""

import copy
import math

import peft
import torch
import transformers
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from cases import LLAMA_TARGETS
from record import train
from recording import GOLDEN, empty_folder, float64_difference, load, record_all, rows_of, write_json, write_run

OUT = GOLDEN / "soft"
STEPS = 10
VIRTUAL = 3
WIDTH = 5
CLASSES = 3

IA3 = {
    "llama-gqa-tied": (["k_proj", "v_proj", "down_proj"], ["down_proj"]),
    "phi": (["k_proj", "v_proj", "fc2"], ["fc2"]),
    "gpt2": (["c_attn", "mlp.c_proj"], ["mlp.c_proj"]),
}
SUBLAYERS = {
    "llama-gqa-tied": ["self_attn.o_proj", "mlp.down_proj"],
    "gpt2": ["attn.c_proj", "mlp.c_proj"],
}
LORA = {"llama-gqa-tied": LLAMA_TARGETS, "gpt2": ["c_attn", "c_proj", "c_fc"]}

# name -> (case, method)
VARIANTS = {
    "ia3": ("llama-gqa-tied", "ia3"),
    "ia3-gpt2": ("gpt2", "ia3"),
    "ia3-phi": ("phi", "ia3"),
    "prompt": ("llama-gqa-tied", "prompt"),
    "prompt-gpt2": ("gpt2", "prompt"),
    "prompt-granite": ("granite", "prompt"),
    "prefix": ("llama-gqa-tied", "prefix"),
    "prefix-gpt2": ("gpt2", "prefix"),
    "prefix-mistral": ("mistral", "prefix"),
    "bottleneck": ("llama-gqa-tied", "bottleneck"),
    "bottleneck-gpt2": ("gpt2", "bottleneck"),
    "classify": ("llama-gqa-tied", "classify"),
    "classify-gpt2": ("gpt2", "classify"),
}


class Bottleneck(torch.nn.Module):
    """Houlsby et al. 2019: what a sublayer gives, and a narrow network's change of it, before it is added to the stream."""

    def __init__(self, base, hidden, width):
        super().__init__()
        self.base = base
        self.adapter_down = torch.nn.Linear(hidden, width)
        self.adapter_up = torch.nn.Linear(width, hidden)

    def forward(self, x):
        y = self.base(x)
        return y + self.adapter_up(torch.nn.functional.gelu(self.adapter_down(y)))


def load_classifier(case):
    model = AutoModelForSequenceClassification.from_pretrained(
        GOLDEN / case, attn_implementation="eager", dtype=torch.float32, num_labels=CLASSES
    ).eval()
    torch.nn.init.normal_(model.score.weight, std=0.1, generator=torch.Generator().manual_seed(3))
    return model


def config_of(case, method):
    if method == "ia3":
        targets, feedforward = IA3[case]
        return IA3Config(
            task_type="CAUSAL_LM", target_modules=targets, feedforward_modules=feedforward, fan_in_fan_out=case == "gpt2"
        )
    if method == "prompt":
        return PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL)
    if method == "prefix":
        return PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL)
    return LoraConfig(
        task_type="SEQ_CLS",
        r=3,
        lora_alpha=6,
        target_modules=LORA[case],
        modules_to_save=["score"],
        fan_in_fan_out=case == "gpt2",
    )


def trainable(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(trainable(model).items()):
            noise = torch.randn(parameter.shape, generator=generator)
            if "ia3" in name:
                parameter.copy_(1 + 0.3 * noise)
            elif "prompt_encoder" in name:
                parameter.copy_(0.5 * noise)
            elif "score" in name:
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(0.5 * noise / math.sqrt(parameter.shape[-1]))


def key_in_file(name):
    """A parameter's key in adapter_model.safetensors."""
    if "prompt_encoder" in name:
        return "prompt_embeddings"
    return name.replace(".modules_to_save", "").replace(".default", "")


def padded(rows):
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
    return ids


def token_loss(model, rows):
    """Sum of token losses and number of labels, as in record.py; what stands for virtual tokens is cut off in front."""
    ids = padded(rows)
    labels = torch.full(ids.shape, -100)
    for i, row in enumerate(rows):
        labels[i, : len(row["labels"])] = torch.tensor(row["labels"])
    logits = model(input_ids=ids, use_cache=False).logits[:, -ids.shape[1] :][:, :-1]
    targets = labels[:, 1:]
    loss = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-100, reduction="sum"
    )
    return loss, int((targets != -100).sum())


def class_loss(model, rows):
    """Sum of the losses of whole rows and their number."""
    labels = torch.tensor([row["label"] for row in rows])
    loss = model(input_ids=padded(rows), labels=labels, use_cache=False).loss
    return loss * len(rows), len(rows)


def row_losses(model, rows, loss_of):
    with torch.no_grad():
        return [{"loss": (loss / count).item()} for loss, count in (loss_of(model, [row]) for row in rows)]


def bottleneck_model(case):
    model = load(case).requires_grad_(False)
    layers = model.transformer.h if case == "gpt2" else model.model.layers
    for layer in layers:
        for path in SUBLAYERS[case]:
            parent, leaf = path.split(".")
            owner = getattr(layer, parent)
            setattr(owner, leaf, Bottleneck(getattr(owner, leaf), model.config.hidden_size, WIDTH))
    randomise(model, 78)
    return model


def save_bottleneck(model, case, folder):
    """As Finetab writes them: PEFT's way of naming, around a method that PEFT lacks."""
    tensors = {f"base_model.model.{name}": p.detach().contiguous() for name, p in trainable(model).items()}
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    write_json(
        folder / "adapter_config.json",
        {
            "peft_type": "FINETAB_BOTTLENECK",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": case,
            "bottleneck_size": WIDTH,
            "non_linearity": "gelu",
            "target_modules": SUBLAYERS[case],
            "inference_mode": True,
        },
    )


def make(name, case, method, folder):
    """A model whose adapter holds random numbers, which are in the folder too."""
    if method == "bottleneck":
        model = bottleneck_model(case)
        save_bottleneck(model, case, folder)
        return model
    source = load_classifier if method == "classify" else load
    model = get_peft_model(source(case), config_of(case, method))
    randomise(model, 78)
    model.peft_config["default"].base_model_name_or_path = case
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    if method in ("prompt", "prefix"):  # PEFT trains these only where they are made
        return model.eval()
    return PeftModel.from_pretrained(source(case), folder, is_trainable=True).eval()


def record(name):
    case, method = VARIANTS[name]
    folder, rows = empty_folder(OUT / name), rows_of(case)
    loss_of = token_loss
    if method == "classify":
        loss_of = class_loss
        rows = [{"input_ids": row["input_ids"], "label": (2 * i) % CLASSES} for i, row in enumerate(rows)]
    torch.manual_seed(5)
    model = make(name, case, method, folder)
    golden = {
        "case": case,
        "method": method,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
        "row_losses": row_losses(model, rows, loss_of),
    }
    if method == "classify":
        golden["classes"] = [row["label"] for row in rows]
        with torch.no_grad():
            golden["scores"] = model(input_ids=padded(rows[1:2]), use_cache=False).logits[0].tolist()
    if method in ("prompt", "prefix"):
        again = row_losses(PeftModel.from_pretrained(load(case), folder).eval(), rows, loss_of)
        assert all(abs(a["loss"] - b["loss"]) < 1e-5 for a, b in zip(again, golden["row_losses"])), "another prompt"
    double = copy.deepcopy(model).double()
    golden["steps"], gradients, _ = train(model, rows, count=STEPS, loss_of=loss_of)
    again, _, _ = train(double, rows, count=STEPS, loss_of=loss_of)
    difference = float64_difference(name, golden["steps"], again)
    golden["row_losses_after"] = row_losses(model, rows, loss_of)
    gradients = {key_in_file(name): value for name, value in gradients.items()}
    stored = load_file(folder / "adapter_model.safetensors")
    if method == "bottleneck":
        gradients = {f"base_model.model.{key}": value for key, value in gradients.items()}
    assert {key: value.shape for key, value in gradients.items()} == {key: value.shape for key, value in stored.items()}
    write_run(folder, golden, gradients, difference)


if __name__ == "__main__":
    record_all(VARIANTS, record)
