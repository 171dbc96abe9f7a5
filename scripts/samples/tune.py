"""One LoRA run of a sample with PyTorch and PEFT: base and tuned held-out loss and the sample's own measure; refuses to score rows it trained on.

python tune.py SAMPLE --model DIR [--lr X] [--steps N] [--answers]
"""
import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from cards import CARDS, SETTINGS

logging.set_verbosity_error()
logging.disable_progress_bar()
FOLDER = Path(__file__).resolve().parents[2] / "public" / "datasets"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def rows_of(name):
    return [json.loads(line) for line in open(FOLDER / f"{name}.jsonl", encoding="utf-8")]


def turns(row, side="chosen"):
    """A row as (turns given, answer); ([], text) where the whole row is text."""
    if "messages" in row:
        return row["messages"][:-1], row["messages"][-1]["content"]
    if "chosen" in row:
        return row["prompt"], row[side][-1]["content"]
    if "label" in row:
        return [{"role": "user", "content": row["text"]}], row["label"]
    return [], row["text"]


def encode(tokenizer, row, limit, side="chosen"):
    """(ids, labels); the loss looks at the answer and its end token, in plain text at everything."""
    given, answer = turns(row, side)
    start = tokenizer.apply_chat_template(given, add_generation_prompt=True, tokenize=False) if given else "<|begin|>"
    prompt = tokenizer(start, add_special_tokens=False).input_ids
    ids = (prompt + tokenizer(answer, add_special_tokens=False).input_ids + [tokenizer.eos_token_id])[:limit]
    return ids, [-100] * len(prompt) + ids[len(prompt):]


def batch(rows):
    width = max(len(ids) for ids, _ in rows)
    return (torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows]),
            torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows]))


@torch.no_grad()
def losses(model, rows):
    """Summed loss and token count of each row."""
    found = []
    for start in range(0, len(rows), 16):
        ids, labels = batch(rows[start:start + 16])
        logits = model(ids).logits[:, :-1].float()
        each = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="none").view(len(ids), -1)
        found += list(zip(each.sum(1).tolist(), (labels[:, 1:] != -100).sum(1).tolist()))
    return found


def mean_loss(found):
    return sum(loss for loss, _ in found) / sum(count for _, count in found)


@torch.no_grad()
def answers(model, tokenizer, rows, tokens):
    """Greedy answers, by batches padded on the left."""
    texts = [tokenizer.apply_chat_template(turns(row)[0], add_generation_prompt=True, tokenize=False) for row in rows]
    tokenizer.padding_side, out = "left", []
    for start in range(0, len(texts), 32):
        given = tokenizer(texts[start:start + 32], add_special_tokens=False, padding=True, return_tensors="pt")
        made = model.generate(input_ids=given.input_ids, attention_mask=given.attention_mask, max_new_tokens=tokens, do_sample=False, temperature=None, top_p=None)
        out += [text.strip() for text in tokenizer.batch_decode(made[:, given.input_ids.shape[1]:], skip_special_tokens=True)]
    return out


def score(model, tokenizer, name, rows, limit):
    """The sample's own measure between 0 and 1, and the answers it was read from; None where the held-out loss is the measure."""
    if name == "night-train":
        return None, []
    if name == "kinder-answers":
        kind, harsh = (losses(model, [encode(tokenizer, row, limit, side) for row in rows]) for side in ("chosen", "rejected"))
        better = sum(a / n < b / m for (a, n), (b, m) in zip(kind, harsh))
        return better / len(rows), []
    said = answers(model, tokenizer, rows, 8 if name == "feelings" else 60)
    if name == "ships-computer":
        return sum("Captain" in text or "Vesper" in text or "Marigold" in text for text in said) / len(said), said
    return sum(text == turns(row)[1] for text, row in zip(said, rows)) / len(said), said


def split(rows, seed=42, share=0.1):
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    held = max(20, round(len(rows) * share))
    return [rows[i] for i in order[held:]], [rows[i] for i in order[:held]]


def tune(name, folder, seed=42, own_score=True, **change):
    """Trains once and returns what was measured before and after."""
    card = next(card for card in CARDS if card["id"] == name)
    s = {**SETTINGS, **card.get("suggested", {}), **{k: v for k, v in change.items() if v is not None}}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    train, held = split(rows_of(name), seed)
    rows, tests = ([encode(tokenizer, row, s["maxLength"]) for row in part] for part in (train, held))
    result = {"sample": name, **s, "trainRows": len(rows), "heldOutRows": len(tests), "baseLoss": mean_loss(losses(model.eval(), tests))}
    if own_score:
        result["baseScore"], said = score(model, tokenizer, name, held, s["maxLength"])
    torch.manual_seed(seed)
    model = get_peft_model(model, LoraConfig(r=s["rank"], lora_alpha=s["alpha"], target_modules=TARGETS, task_type="CAUSAL_LM")).train()
    params = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=s["learningRate"], betas=(0.9, 0.999), weight_decay=0.01)
    rng, order, began = random.Random(seed), [], time.time()
    for step in range(s["steps"]):
        while len(order) < s["batchSize"]:
            order += rng.sample(range(len(rows)), len(rows))
        ids, labels = batch([rows[order.pop(0)] for _ in range(s["batchSize"])])
        rise = min(1.0, (step + 1) / max(1, s["warmupSteps"]))
        through = max(0.0, (step - s["warmupSteps"]) / max(1, s["steps"] - s["warmupSteps"]))
        fall = {"cosine": 0.5 * (1 + math.cos(math.pi * through)), "linear": 1 - through, "constant": 1.0}[s["schedule"]]
        optimiser.param_groups[0]["lr"] = s["learningRate"] * rise * fall
        loss = F.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimiser.step()
        optimiser.zero_grad()
    result["seconds"] = round(time.time() - began, 1)
    model = model.merge_and_unload().eval()
    result["tunedLoss"] = mean_loss(losses(model, tests))
    if own_score:
        result["tunedScore"], said = score(model, tokenizer, name, held, s["maxLength"])
        result["examples"] = [[turns(row)[0][-1]["content"], text] for row, text in zip(held, said)][:6]
    prompts = [{"messages": [{"role": "user", "content": p}, {"role": "assistant", "content": ""}]} for p in [card["samplePrompt"], *card["more"]]]
    if name != "night-train":
        result["prompts"] = [[row["messages"][0]["content"], text] for row, text in zip(prompts, answers(model, tokenizer, prompts, 60))]
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sample", choices=[card["id"] for card in CARDS])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=2)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    print(json.dumps(tune(o.sample, o.model, learningRate=o.lr, steps=o.steps), indent=1, ensure_ascii=False))
