"""Tries learning rates and ranks on some samples with PyTorch and PEFT, and writes the tables into docs/samples.md; refuses to judge by anything but held-out loss.

python sweep.py --model DIR [--write] [--samples a,b] [--rates 1e-3,5e-3] [--ranks 16] [--steps 200] [--keep]

What was measured is kept in results/sweep.json; --keep adds to it instead of starting anew.
"""
import argparse
import json
import re
from pathlib import Path

import torch

from tune import tune

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "sweep.json"
PAGE = HERE.parents[1] / "docs" / "samples.md"


def grid(rows, column):
    """A table of held-out losses, one line a sample and one column a value; the best of a line is bold."""
    values = sorted({row[column] for row in rows})
    lines = [f"| sample | base | {' | '.join(f'{v:g}' for v in values)} |", "|---|---:|" + "---:|" * len(values)]
    for name in dict.fromkeys(row["sample"] for row in rows):
        mine = {row[column]: row for row in rows if row["sample"] == name}
        best = min(row["tunedLoss"] for row in mine.values())
        cells = ["" if v not in mine else (f"**{mine[v]['tunedLoss']:.3f}**" if mine[v]["tunedLoss"] == best else f"{mine[v]['tunedLoss']:.3f}") for v in values]
        lines.append(f"| {name} | {next(iter(mine.values()))['baseLoss']:.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_page(done):
    blocks = []
    for steps in sorted({row["steps"] for row in done}):
        rates = [row for row in done if row["rank"] == 16 and row["steps"] == steps]
        if len({row["learningRate"] for row in rates}) > 1:
            blocks += [f"Learning rate, rank 16, {steps} steps:", grid(rates, "learningRate")]
    ranks = {}
    for row in done:
        ranks.setdefault((row["sample"], row["learningRate"], row["steps"]), []).append(row)
    several = [row for group in ranks.values() if len({r["rank"] for r in group}) > 1 for row in group]
    if several:
        blocks += [f"Rank, learning rate {several[0]['learningRate']:g}, {several[0]['steps']} steps:", grid(several, "rank")]
    blocks.append("Measured by `scripts/samples/sweep.py` with PyTorch and PEFT, one seed.")
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(r"(<!-- sweep -->\n).*?(<!-- /sweep -->)", lambda m: m[1] + "\n" + "\n\n".join(blocks) + "\n\n" + m[2], text, flags=re.S), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--samples", default="ships-computer,order-json")
    parser.add_argument("--rates", default="2e-4,1e-3,2e-3,5e-3,1e-2,2e-2")
    parser.add_argument("--ranks", default="16")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--write", action="store_true")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    RESULTS.parent.mkdir(exist_ok=True)
    done = json.loads(RESULTS.read_text()) if o.keep and RESULTS.exists() else []
    for name in o.samples.split(","):
        for rank in map(int, o.ranks.split(",")):
            for rate in map(float, o.rates.split(",")):
                found = tune(name, o.model, learningRate=rate, rank=rank, alpha=2 * rank, steps=o.steps, own_score=False)
                found.pop("prompts", None)
                done.append(found)
                print(f"{name:15} rank {rank:3} lr {rate:<7g} held-out loss {found['baseLoss']:.3f} -> {found['tunedLoss']:.3f}  {found['seconds']} s", flush=True)
                RESULTS.write_text(json.dumps(done, indent=1) + "\n")
    if o.write:
        write_page(done)


if __name__ == "__main__":
    main()
