"""Checks methods beside LoRA with PEFT and transformers: `python methods_check.py METHODS.json`; a JSON line for each check on stdout."""

import json
import sys
import warnings
from pathlib import Path

import torch
from checks import check, require
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast
from transformers.utils import logging

TOLERANCE = 1e-4


def load(base, adapter):
    """A base with an adapter; any warning of PEFT about keys is an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(base.eval(), adapter).eval()
    about = [str(w.message) for w in caught if "key" in str(w.message).lower()]
    require(not about, "; ".join(about))
    return model


def row_loss(model, tokenizer, row, eos):
    first = tokenizer(row["prompt"]).input_ids
    second = tokenizer(row["completion"], add_special_tokens=False).input_ids + [eos]
    ids = torch.tensor([first + second])
    with torch.no_grad():
        # Virtual tokens have scores of their own, in front.
        logits = model(input_ids=ids, use_cache=False).logits[0, -ids.shape[1] :][:-1]
    labels = torch.tensor([-100] * len(first) + second)[1:]
    return torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100).item()


def main():
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    work = json.loads(Path(sys.argv[1]).read_text())
    folder = work["model"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(folder) / "tokenizer.json"))
    eos = json.loads((Path(folder) / "config.json").read_text())["eos_token_id"]
    rows = [json.loads(line) for line in Path(work["data"]).read_text().splitlines()]
    kept = dict(dtype=torch.float32, attn_implementation="eager")

    for entry in work["methods"]:

        @check(f"{entry['method']}: PEFT loads what was trained, and every row has the same loss")
        def _(entry=entry):
            model = load(AutoModelForCausalLM.from_pretrained(folder, **kept), entry["adapter"])
            require(len(entry["rows"]) == len(rows), f"{len(entry['rows'])} of {len(rows)} rows")
            worst = max(abs(row_loss(model, tokenizer, rows[r["index"]], eos) - r["loss"]) for r in entry["rows"])
            require(worst < TOLERANCE, f"a row's loss differs by {worst:.1e}")
            return f"{len(rows)} rows, largest difference {worst:.1e}"

    @check("classification: transformers with PEFT gives the same probabilities")
    def _():
        head = work["head"]
        classes = json.loads((Path(head["adapter"]) / "classes.json").read_text())["classes"]
        base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(classes), **kept)
        model = load(base, head["adapter"])
        worst = 0.0
        for text, asked in zip(head["texts"], head["asked"], strict=True):
            with torch.no_grad():
                scores = model(input_ids=torch.tensor([tokenizer(text).input_ids])).logits[0]
            wanted = dict(zip(classes, torch.softmax(scores, -1).tolist()))
            worst = max(worst, *(abs(wanted[one["name"]] - one["probability"]) for one in asked["classes"]))
        require(worst < TOLERANCE, f"a probability differs by {worst:.1e}")
        return f"{len(head['texts'])} texts, largest difference {worst:.1e}"


main()
