"""Records tests/golden/ with PyTorch, transformers and PEFT: tiny random checkpoints and the numbers they give.

Run it as `python scripts/golden/record.py [CASE ...]` in a venv with scripts/golden/requirements.txt. It refuses to write
numbers that would not be stable: training must agree with float64, and greedy choices must be clear.
The format is described in tests/golden/README.md.
"""

import copy
import json
import math
import os
import random
import sys

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here is looked up anywhere

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from cases import CASES, ROPES, VOCABULARY
from recording import GOLDEN, empty_folder, float64_difference, load, set_up, write_json

RANK, ALPHA = 4, 8
SETTINGS = dict(
    steps=20,
    batch_size=2,
    grad_accum=2,
    lr=5e-3,
    warmup_steps=3,
    schedule="cosine",
    weight_decay=0.01,
    betas=[0.9, 0.999],
    eps=1e-8,
    clip=1.0,
)
GREEDY_TOKENS = 24


def write_tokenizer(folder):
    """A byte-level BPE of 101 tokens: <unk> <s> </s>, newline and printable ASCII, and two merges."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "Ċ": 3, "Ġ": 4}
    for code in range(33, 127):
        vocabulary[chr(code)] = len(vocabulary)
    for merged in ("Ġt", "he"):
        vocabulary[merged] = len(vocabulary)
    assert len(vocabulary) == VOCABULARY
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", "t"), ("h", "e")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<unk>",
            "clean_up_tokenization_spaces": False,
        },
    )


def randomise(model, seed):
    """Weights at a scale where attention, norms and biases all matter: matrices 1.5/sqrt(fan in), the rest shaken.

    Embeddings are such that a layer's input has a standard deviation of 0.3 also where the model scales it.
    """
    generator = torch.Generator().manual_seed(seed)
    scaled = {"gemma2": model.config.hidden_size**0.5, "gemma3_text": model.config.hidden_size**0.5}
    multiplier = scaled.get(model.config.model_type, getattr(model.config, "embedding_multiplier", 1.0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "embed" in name or "wte" in name or "wpe" in name:
                parameter.copy_(0.3 * noise / multiplier)
            elif parameter.ndim == 1:
                parameter.add_(0.2 * noise)
            else:
                conv1d = model.config.model_type == "gpt2"  # Conv1D keeps [in, out]
                parameter.copy_(1.5 * noise / math.sqrt(parameter.shape[0 if conv1d else 1]))


def randomise_adapter(model, seed, zero_b):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" not in name and "lora_B" not in name:
                continue
            noise = torch.randn(parameter.shape, generator=generator)
            scale = 0.0 if zero_b and "lora_B" in name else 0.5 / math.sqrt(parameter.shape[1])
            parameter.copy_(scale * noise)


def make_rows(seed):
    """Seven rows: prompt masked, all trained, masked in the middle, and one whose only label is the end token."""
    generator = random.Random(seed)
    rows = []
    for length, masked in ((7, 3), (19, 8), (12, 0), (5, 4), (16, 5), (9, 2), (23, 11)):
        ids = [1] + [generator.randrange(3, VOCABULARY) for _ in range(length - 2)] + [2]
        labels = [-100] * masked + ids[masked:]
        rows.append({"input_ids": ids, "labels": labels})
    rows[4]["labels"][9:12] = [-100] * 3
    return rows


def summed_loss(model, rows):
    """Sum of token losses of right-padded rows and the number of label tokens (labels shifted by one).

    No attention mask: attention is causal and padding stands on the right, so that no label token ever sees it.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), -100)
    for i, row in enumerate(rows):
        n = len(row["input_ids"])
        ids[i, :n] = torch.tensor(row["input_ids"])
        labels[i, :n] = torch.tensor(row["labels"])
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    targets = labels[:, 1:]
    loss = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-100, reduction="sum"
    )
    return loss, int((targets != -100).sum())


def row_losses(model, rows):
    result = []
    with torch.no_grad():
        for row in rows:
            loss, tokens = summed_loss(model, [row])
            result.append({"loss": loss.item() / tokens, "tokens": tokens})
    return result


def adapter_parameters(model):
    """Trainable parameters by their key in adapter_model.safetensors."""
    return {name.replace(".default", ""): p for name, p in model.named_parameters() if p.requires_grad}


def adam_options():
    """The optimiser of SETTINGS, as torch.optim.AdamW takes it."""
    s = SETTINGS
    return dict(lr=s["lr"], betas=tuple(s["betas"]), eps=s["eps"], weight_decay=s["weight_decay"])


def train(model, rows, optimiser=None, count=SETTINGS["steps"], loss_of=summed_loss):
    """Steps under the conventions of the project, by AdamW unless told otherwise; the gradients are those of step 1, before clipping."""
    parameters = adapter_parameters(model)
    s = SETTINGS
    optimiser = optimiser or torch.optim.AdamW(parameters.values(), **adam_options())
    schedule = transformers.get_scheduler(s["schedule"], optimiser, s["warmup_steps"], count)
    steps, gradients, position = [], {}, 0
    for step in range(1, count + 1):
        batches = []
        for _ in range(s["grad_accum"]):
            batches.append([rows[(position + i) % len(rows)] for i in range(s["batch_size"])])
            position += s["batch_size"]
        optimiser.zero_grad()
        sums = [loss_of(model, batch) for batch in batches]
        tokens = sum(count for _, count in sums)
        loss = sum(value for value, _ in sums) / tokens
        loss.backward()
        if step == 1:
            gradients = {key: p.grad.detach().clone() for key, p in parameters.items()}
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), s["clip"])
        rate = schedule.get_last_lr()[0]
        optimiser.step()
        schedule.step()
        steps.append({"step": step, "loss": loss.item(), "grad_norm": norm.item(), "lr": rate, "tokens": tokens})
    return steps, gradients, {key: p.detach().clone() for key, p in parameters.items()}


def greedy(model, prompt):
    """The greedy continuation without a cache, and the smallest gap between first and second choice."""
    ids, margin = list(prompt), math.inf
    with torch.no_grad():
        for _ in range(GREEDY_TOKENS):
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            first, second = torch.topk(logits, 2).values.tolist()
            margin = min(margin, first - second)
            ids.append(int(logits.argmax()))
    return ids[len(prompt) :], margin


def clear_greedy(model, seed):
    """A prompt whose greedy continuation is clear at every step, varied, and holds no special token."""
    generator = random.Random(seed)
    for _ in range(2000):
        prompt = [1] + [generator.randrange(3, VOCABULARY) for _ in range(5)]
        ids, margin = greedy(model, prompt)
        if margin > 2e-3 and min(ids) > 2 and len(set(ids)) >= 8:
            return {"prompt": prompt, "ids": ids, "smallest_margin": margin}
    raise SystemExit("no clear greedy continuation found; change the seed")


def old_style(config):
    """config.json as transformers 4 wrote it: rope_theta and rope_scaling instead of rope_parameters."""
    rope = dict(config.pop("rope_parameters"))
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope.get("rope_type") == "default" else rope
    config["torch_dtype"] = config.pop("dtype", "float32")
    config["transformers_version"] = "4.41.2"
    return config


def record(name, number):
    model_type, settings, targets, options = CASES[name]
    folder = empty_folder(GOLDEN / name)
    seed = 1000 + number
    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **settings)
    base = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    randomise(base, seed)
    base.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if options.get("old_config"):
        write_json(folder / "config.json", old_style(json.loads((folder / "config.json").read_text())))
    write_tokenizer(folder)

    rows = make_rows(seed)
    same = torch.tensor([rows[6]["input_ids"]])
    with torch.no_grad():
        assert torch.equal(base(same).logits, load(name)(same).logits), "the written folder is another model"
    tensors, golden = {}, {
        "model_type": model_type,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
        "seed": seed,
        "rows": rows,
        "logits_row": 1,
        "row_losses": {"base": row_losses(load(name), rows)},
        "greedy": {"base": clear_greedy(load(name), seed)},
        "settings": SETTINGS,
        "adapter": {"r": RANK, "lora_alpha": ALPHA, "target_modules": targets},
        "runs": [],
    }
    logits_ids = torch.tensor([rows[golden["logits_row"]]["input_ids"]])
    with torch.no_grad():
        tensors["logits/base"] = load(name)(input_ids=logits_ids).logits[0]

    for run, zero_b in (("init", False), ("zero", True)):
        if zero_b and not options.get("zero_b"):
            continue
        adapter = LoraConfig(
            r=RANK,
            lora_alpha=ALPHA,
            target_modules=targets,
            task_type="CAUSAL_LM",
            lora_dropout=0.0,
            bias="none",
            fan_in_fan_out=model_type == "gpt2",
        )
        fresh = get_peft_model(load(name), adapter)
        fresh.base_model.model.name_or_path = name
        randomise_adapter(fresh, seed + 1, zero_b)
        fresh.peft_config["default"].base_model_name_or_path = name
        fresh.save_pretrained(folder / f"adapter_{run}", save_embedding_layers=False)
        (folder / f"adapter_{run}" / "README.md").unlink(missing_ok=True)
        tuned = PeftModel.from_pretrained(load(name), folder / f"adapter_{run}", is_trainable=True).eval()
        if run == "init":
            with torch.no_grad():
                tensors["logits/adapter"] = tuned(input_ids=logits_ids).logits[0]
            golden["row_losses"]["adapter"] = row_losses(tuned, rows)
            golden["greedy"]["adapter"] = clear_greedy(tuned, seed + 2)
        initial = copy.deepcopy(tuned)
        steps, gradients, after = train(tuned, rows)
        golden["runs"].append(
            {
                "name": run,
                "adapter": f"adapter_{run}",
                "parameters": sum(p.numel() for p in after.values()),
                "steps": steps,
                "row_losses_after": row_losses(tuned, rows),
                "float64_difference": float64_difference(name, steps, train(initial.double(), rows)[0]),
            }
        )
        tensors |= {f"{run}/grad/{key}": value for key, value in gradients.items()}
        if number < 2:
            tensors |= {f"{run}/after/{key}": value for key, value in after.items()}

    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "golden.safetensors")
    write_json(folder / "golden.json", golden)
    check_folder(folder, golden)


def check_folder(folder, golden):
    """What was written must name the same adapter keys everywhere."""
    for run in golden["runs"]:
        stored = load_file(folder / run["adapter"] / "adapter_model.safetensors")
        grads = [key for key in load_file(folder / "golden.safetensors") if key.startswith(run["name"] + "/grad/")]
        assert {key.split("/grad/")[1] for key in grads} == set(stored), folder
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    last = golden["runs"][0]["steps"]
    print(
        f"{folder.name:26} {size / 1024:5.0f} kB  loss {last[0]['loss']:.3f} -> {last[-1]['loss']:.3f}"
        f"  norm {last[0]['grad_norm']:.2f}..{last[-1]['grad_norm']:.2f}"
        f"  float64 {max(run['float64_difference'] for run in golden['runs']):.0e}"
    )


def record_ropes():
    """Inverse frequencies and attention factors of every rope type, for head_dim 16 and up to 64 positions."""
    result = {}
    for name, parameters in ROPES.items():
        config = AutoConfig.for_model(
            "llama", hidden_size=64, num_attention_heads=4, max_position_embeddings=64, rope_parameters=parameters
        )
        if name == "default":
            inverse = 1.0 / parameters["rope_theta"] ** (torch.arange(0, 16, 2).double() / 16)
            entry = [{"length": None, "inv_freq": inverse.tolist(), "attention_factor": 1.0}]
        else:
            entry = []
            for length in (None, 96) if name == "dynamic" else (None,):
                inverse, factor = ROPE_INIT_FUNCTIONS[name](config, device="cpu", seq_len=length)
                entry.append({"length": length, "inv_freq": inverse.tolist(), "attention_factor": float(factor)})
        result[name] = {"head_dim": 16, "max_position_embeddings": 64, "rope_parameters": parameters, "tables": entry}
    write_json(GOLDEN / "rope.json", result)


def main():
    set_up()
    names = sys.argv[1:] or list(CASES)
    for number, name in enumerate(CASES):
        if name in names:
            record(name, number)
    record_ropes()


if __name__ == "__main__":
    main()
