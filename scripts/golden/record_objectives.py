"""Records tests/golden/objectives.json: DPO, ORPO and KTO on numbers, and as training runs on a tiny checkpoint with PEFT.

Run it after record.py, as `python scripts/golden/record_objectives.py`. The formulas are the lines of TRL 1.13 (dpo_trainer.py,
kto_trainer.py, experimental/orpo/orpo_trainer.py); where trl is installed, ORPO's is compared with its own function. It refuses samples
whose training differs between float32 and float64.
"""

import copy
import json
import random
import types

import torch
import torch.nn.functional as F
import transformers
from peft import PeftModel

from record import SETTINGS, VOCABULARY, adapter_parameters
from recording import GOLDEN, float64_difference, load, set_up, write_json

CASE = "llama-gqa-tied"
STEPS, BETA, NOISE, SFT = 8, 0.5, 0.1, 0.3


def dpo(chosen, rejected, _, labels):
    z = BETA * ((chosen[0] - chosen[1]) - (rejected[0] - rejected[1]))
    loss = -(1 - NOISE) * F.logsigmoid(z) - NOISE * F.logsigmoid(-z)
    return loss.mean() + SFT * (-chosen[0].sum() / chosen[2].sum())


def log1mexp(x):
    return torch.where(x > -0.6931471805599453, torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))


def orpo(chosen, rejected, _, labels):
    better, worse = chosen[0] / chosen[2], rejected[0] / rejected[2]
    odds = (better - worse) - (log1mexp(better) - log1mexp(worse))
    return -chosen[0].sum() / chosen[2].sum() - (BETA * F.logsigmoid(odds)).mean()


def kto(answers, _, others, labels):
    kl = (others[0] - others[1]).mean().detach().clamp(min=0)
    ratios = answers[0] - answers[1]
    return torch.where(labels, 1 - torch.sigmoid(BETA * (ratios - kl)), 1 - torch.sigmoid(BETA * (kl - ratios))).mean()


OBJECTIVES = {"dpo": dpo, "orpo": orpo, "kto": kto}


def on_numbers():
    """Losses and slopes for five rows of made-up log-probabilities."""
    generator = torch.Generator().manual_seed(3)
    n = 5
    tokens = [torch.tensor([3.0, 5, 9, 2, 7]).double(), torch.tensor([4.0, 4, 6, 3, 8]).double(), torch.ones(n).double()]
    logps = [-t * (0.2 + torch.rand(n, generator=generator).double()) for t in tokens]
    references = [logp + torch.randn(n, generator=generator).double() for logp in logps]
    labels = torch.tensor([True, False, True, True, False])
    result = {"tokens": [t.tolist() for t in tokens], "logps": [x.tolist() for x in logps]}
    result |= {"references": [x.tolist() for x in references], "labels": labels.tolist()}
    for name, objective in OBJECTIVES.items():
        xs = [x.clone().requires_grad_() for x in logps]
        loss = objective(*[(x, r, t) for x, r, t in zip(xs, references, tokens)], labels)
        loss.backward()
        result[name] = {"loss": loss.item(), "slopes": [(x.grad if x.grad is not None else torch.zeros(n)).tolist() for x in xs]}
    compare_with_trl(logps, tokens)
    return result


def compare_with_trl(logps, tokens):
    try:
        from trl.experimental.orpo.orpo_trainer import ORPOTrainer
    except ImportError:
        print("trl is not installed: ORPO was not compared with it")
        return
    double = types.SimpleNamespace(beta=BETA, accelerator=types.SimpleNamespace(device="cpu"))
    means = [x / t for x, t in zip(logps, tokens)]
    theirs = -ORPOTrainer.odds_ratio_loss(double, means[0], means[1])[0].mean()
    ours = orpo(*[(x, None, t) for x, t in zip(logps, tokens)], None) + logps[0].sum() / tokens[0].sum()
    assert abs(theirs - ours) < 1e-6, (theirs, ours)


def make_rows():
    """Six prompts with a better and a worse answer, each ending in the end token."""
    generator = random.Random(17)
    text = lambda length: [generator.randrange(3, VOCABULARY) for _ in range(length)]  # noqa: E731
    rows = []
    for prompt, better, worse in ((4, 6, 3), (7, 5, 8), (3, 9, 4), (5, 2, 6), (6, 7, 7), (2, 4, 5)):
        rows.append({"prompt": [1] + text(prompt), "chosen": text(better) + [2], "rejected": text(worse) + [2]})
    for i, row in enumerate(rows):
        row["good"] = i % 3 != 1
        row["other"] = rows[(i + 1) % len(rows)]["chosen"]
    return rows


def answer_logps(model, rows, field):
    """Summed log-probabilities and numbers of the answers' tokens."""
    sums = []
    for row in rows:
        ids = torch.tensor([row["prompt"] + row[field]])
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        taken = torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])[:, 0]
        sums.append(taken[len(row["prompt"]) - 1 :].sum())
    counts = torch.tensor([len(row[field]) for row in rows], dtype=sums[0].dtype)
    return torch.stack(sums), counts


def judged(model, rows, name):
    fields = ("chosen", "chosen", "other") if name == "kto" else ("chosen", "rejected", "other")
    sides = []
    for field in fields:
        logps, counts = answer_logps(model, rows, field)
        with torch.no_grad(), model.disable_adapter():
            reference, _ = answer_logps(model, rows, field)
        sides.append((logps, reference, counts))
    return OBJECTIVES[name](*sides, torch.tensor([row["good"] for row in rows]))


def train(model, rows, name):
    parameters = adapter_parameters(model)
    s = SETTINGS
    optimiser = torch.optim.AdamW(
        parameters.values(), lr=s["lr"], betas=tuple(s["betas"]), eps=s["eps"], weight_decay=s["weight_decay"]
    )
    schedule = transformers.get_scheduler(s["schedule"], optimiser, s["warmup_steps"], STEPS)
    steps, position = [], 0
    for _ in range(STEPS):
        optimiser.zero_grad()
        total = 0.0
        for _ in range(s["grad_accum"]):
            batch = [rows[(position + i) % len(rows)] for i in range(s["batch_size"])]
            position += s["batch_size"]
            loss = judged(model, batch, name) / s["grad_accum"]
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), s["clip"])
        optimiser.step()
        schedule.step()
        steps.append({"loss": total, "grad_norm": norm.item()})
    return steps


def run(rows, name):
    def start():
        return PeftModel.from_pretrained(load(CASE), GOLDEN / CASE / "adapter_zero", is_trainable=True).eval()

    model = start()
    with torch.no_grad():
        before = judged(model, rows, name).item()
    steps = train(model, rows, name)
    again = train(copy.deepcopy(start()).double(), rows, name)
    difference = float64_difference(name, steps, again)
    with torch.no_grad():
        after = judged(model, rows, name).item()
    print(f"{name:6} loss {steps[0]['loss']:.4f} -> {steps[-1]['loss']:.4f}  all rows {before:.4f} -> {after:.4f}  float64 {difference:.0e}")
    return {"steps": steps, "before": before, "after": after}


def main():
    set_up()
    rows = make_rows()
    golden = {"case": CASE, "beta": BETA, "wrong_pairs": NOISE, "sft_weight": SFT, "rows": rows, "numbers": on_numbers()}
    golden["runs"] = {name: run(rows, name) for name in OBJECTIVES}
    write_json(GOLDEN / "objectives.json", golden)


if __name__ == "__main__":
    main()
