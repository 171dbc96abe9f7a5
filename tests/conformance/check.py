"""Checks what Finetab wrote with real PEFT and transformers: `python check.py WORK.json`; a JSON line for each check on stdout.

It builds rows and batches by itself, from the conventions in the README, and refuses to read any of Finetab's own code.
"""

import json
import sys
import traceback
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging

LOSS_TOLERANCE = 1e-4
LOGIT_TOLERANCE = 1e-3


def check(name):
    """Runs a function as a named check; it returns a sentence, or raises."""

    def decorate(function):
        try:
            result = {"name": name, "status": "passed", "detail": function()}
        except Exception as error:  # one check's failure must not hide the others'
            detail = str(error) or traceback.format_exc()
            result = {"name": name, "status": "failed", "detail": detail}
        print(json.dumps(result), flush=True)

    return decorate


def load_base(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def read_rows(path):
    text = Path(path).read_text(encoding="utf-8")
    if path.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return json.loads(text)


def prompt_and_answer(row):
    if "instruction" in row:
        given = row.get("input") or ""
        return row["instruction"] + ("\n" + given if given else ""), row["output"]
    return row["prompt"], row["completion"]


def encode(tokenizer, row, eos):
    """tokenizer(prompt, special tokens added) + tokenizer(completion, none added) + [eos]; labels -100 on the prompt."""
    prompt, answer = prompt_and_answer(row)
    first = tokenizer(prompt, add_special_tokens=True).input_ids
    second = tokenizer(answer, add_special_tokens=False).input_ids + [eos]
    return first + second, [-100] * len(first) + second


def row_loss(model, ids, labels):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(labels[1:]), ignore_index=-100).item()


def encode_chat(tokenizer, row, _eos):
    """Turns through the model's template; labels are the answers, each with the end token that follows it."""
    turns = row["messages"]

    def tokens(upto, prompt):
        text = tokenizer.apply_chat_template(turns[:upto], tokenize=False, add_generation_prompt=prompt)
        return tokenizer(text, add_special_tokens=False).input_ids

    ids = tokens(len(turns), False)
    labels = [-100] * len(ids)
    for i, turn in enumerate(turns):
        if turn["role"] == "assistant":
            start, end = len(tokens(i, True)), len(tokens(i + 1, False))
            labels[start:end] = ids[start:end]
    return ids, labels


def compare_rows(model, tokenizer, eos, data, measured, encode=encode):
    rows = read_rows(data)
    if len(measured) != len(rows):
        raise AssertionError(f"{len(measured)} rows were evaluated, the file has {len(rows)}")
    worst = 0.0
    for entry in measured:
        ids, labels = encode(tokenizer, rows[entry["index"]], eos)
        tokens = sum(label != -100 for label in labels[1:])
        if tokens != entry["tokens"]:
            raise AssertionError(f"row {entry['index']} has {tokens} label tokens, not {entry['tokens']}")
        worst = max(worst, abs(row_loss(model, ids, labels) - entry["loss"]))
    if worst > LOSS_TOLERANCE:
        raise AssertionError(f"a row's loss differs by {worst:.2e}")
    return f"{len(rows)} rows, largest difference {worst:.1e}"


def load_adapter(folder, adapter):
    """The base with an adapter; any warning of PEFT about keys is an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(load_base(folder), adapter).eval()
    about_keys = [str(w.message) for w in caught if "key" in str(w.message).lower()]
    if about_keys:
        raise AssertionError("; ".join(about_keys))
    expected = {name.replace(".default", "") for name, _ in model.named_parameters() if "lora_" in name}
    stored = set(load_file(str(Path(adapter) / "adapter_model.safetensors")))
    if expected != stored:
        raise AssertionError(f"keys differ: {sorted(expected ^ stored)[:4]}")
    return model


def greedy(model, ids, count, ends):
    ids = list(ids)
    start = len(ids)
    with torch.no_grad():
        while len(ids) - start < count:
            following = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if following in ends:
                break
            ids.append(following)
    return ids[start:]


def check_tuned(work):
    folder, adapter = work["model"], work["adapter"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(folder) / "tokenizer.json"))
    eos = json.loads((Path(folder) / "config.json").read_text())["eos_token_id"]
    base = load_base(folder)

    @check("evaluate: per-row losses of the base model equal transformers'")
    def _():
        return compare_rows(base, tokenizer, eos, work["data"], work["rows_base"])

    @check("train: PEFT loads the adapter, every key in its place")
    def _():
        model = load_adapter(folder, adapter)
        ids, _ = encode(tokenizer, read_rows(work["data"])[0], eos)
        with torch.no_grad():
            tuned = model(input_ids=torch.tensor([ids])).logits
            plain = base(input_ids=torch.tensor([ids])).logits
        change = (tuned - plain).abs().max().item()
        if change < 1e-2:
            raise AssertionError("the adapter changes nothing")
        return f"{len(load_file(adapter + '/adapter_model.safetensors'))} tensors; logits change by up to {change:.2f}"

    @check("evaluate: per-row losses with the adapter equal PEFT's")
    def _():
        return compare_rows(load_adapter(folder, adapter), tokenizer, eos, work["data"], work["rows_adapter"])

    @check("generate: greedy tokens with the adapter equal transformers'")
    def _():
        model = load_adapter(folder, adapter)
        for entry in work["generations"]:
            ids = tokenizer(entry["prompt"], add_special_tokens=True).input_ids
            expected = greedy(model, ids, entry["count"], {eos})
            if expected != entry["ids"]:
                raise AssertionError(f"{entry['prompt']!r}: {entry['ids']} instead of {expected}")
        return f"{len(work['generations'])} prompts"

    @check("export: the PEFT folder holds the same adapter")
    def _():
        a = load_file(adapter + "/adapter_model.safetensors")
        b = load_file(work["exported"] + "/adapter_model.safetensors")
        if a.keys() != b.keys() or any(not torch.equal(a[key], b[key]) for key in a):
            raise AssertionError("tensors differ")
        load_adapter(folder, work["exported"])
        return f"{len(b)} tensors equal"


def check_bundled(work):
    folder, name = work["model"], Path(work["model"]).name

    @check(f"{name}: AutoModelForCausalLM's logits equal Finetab's")
    def _():
        model = load_base(folder)
        worst = 0.0
        for ids, scores in zip(work["rows"], work["logits"], strict=True):
            with torch.no_grad():
                expected = model(input_ids=torch.tensor([ids])).logits[0]
            worst = max(worst, (expected - torch.tensor(scores)).abs().max().item())
        if worst > LOGIT_TOLERANCE:
            raise AssertionError(f"a logit differs by {worst:.2e}")
        return f"{sum(map(len, work['rows']))} positions, largest difference {worst:.1e}"

    @check(f"{name}: AutoTokenizer's ids equal Finetab's")
    def _():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for text, ids in zip(work["texts"], work["ids"], strict=True):
            expected = tokenizer(text).input_ids
            if expected != ids:
                raise AssertionError(f"{text!r}: {ids} instead of {expected}")
        return f"{len(work['texts'])} texts"

    @check(f"{name}: per-row losses of chat rows equal transformers' with its template")
    def _():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return compare_rows(load_base(folder), tokenizer, None, work["chat"], work["chat_rows"], encode_chat)


def main():
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(0)
    work = json.loads(Path(sys.argv[1]).read_text())
    if work.get("tuned"):
        check_tuned(work["tuned"])
    if work.get("bundled"):
        check_bundled(work["bundled"])


main()
