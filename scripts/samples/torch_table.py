"""Measures every sample, base and tuned, with PyTorch and PEFT, and writes the table into docs/samples.md; refuses to score rows it trained on.

python torch_table.py --model DIR [--write] [--only a,b] [--keep]

The same runs as table.mjs makes through the command line, for machines where only Python is at hand; the table says which of
the two it came from. What was measured is kept in results/torch.json.
"""
import argparse
import json
import re
from pathlib import Path

import torch

from cards import CARDS
from tune import tune

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "torch.json"
PAGE = HERE.parents[1] / "docs" / "samples.md"


def table(done):
    lines = ["| sample | held-out loss, base → tuned | its measure, base → tuned | steps | seconds | learning rate | what is measured |", "|---|---|---|---:|---:|---:|---|"]
    for card in CARDS:
        r = done.get(card["id"])
        if r:
            score = "" if r["baseScore"] is None else f"{r['baseScore']:.0%} → {r['tunedScore']:.0%}"
            lines.append(f"| {card['name']} | {r['baseLoss']:.2f} → {r['tunedLoss']:.2f} | {score} | {r['steps']} | {r['seconds']:.0f} | {r['learningRate']:g} | {card['metric']} |")
    said = ["What the tuned model answers (greedy) to the prompts of the cards:", "", "| sample | prompt | answer |", "|---|---|---|"]
    for card in CARDS:
        for prompt, text in done.get(card["id"], {}).get("prompts", []):
            said.append(f"| {card['name']} | {prompt} | {text} |".replace("\n", "<br>"))
    return "\n".join(lines) + "\n\n" + "\n".join(said)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--only")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep what other runs measured")
    parser.add_argument("--write", action="store_true")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    RESULTS.parent.mkdir(exist_ok=True)
    done = json.loads(RESULTS.read_text()) if o.keep and RESULTS.exists() else {}
    for card in CARDS:
        if not o.only or card["id"] in o.only.split(","):
            done[card["id"]] = r = tune(card["id"], o.model)
            print(card["id"], {k: r[k] for k in ("baseLoss", "tunedLoss", "baseScore", "tunedScore", "seconds")}, flush=True)
            RESULTS.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n")
    if o.write:
        done = json.loads(RESULTS.read_text())
        text = PAGE.read_text(encoding="utf-8")
        note = f"Measured by `scripts/samples/torch_table.py` ({o.threads} processor thread, on a machine that was busy with other work, so the seconds are an upper bound)."
        PAGE.write_text(re.sub(r"(<!-- torch -->\n).*?(<!-- /torch -->)", lambda m: f"{m[1]}\n{note}\n\n{table(done)}\n\n{m[2]}", text, flags=re.S), encoding="utf-8")
