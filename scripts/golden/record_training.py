"""Records tests/golden/training.json: schedules, optimisers, averages and losses as PyTorch and transformers compute them.

Run it as `python scripts/golden/record_training.py` in a venv with scripts/golden/requirements.txt. It refuses to look at models:
those are in record.py. Everything is in float64 unless it says otherwise, so that the numbers are the formulas' own.
"""

import json
import math
from pathlib import Path

import torch
import transformers
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import optimization

OUT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "training.json"
TOTAL, WARMUP = 20, 3


def rates(make):
    """The rate of each of TOTAL steps for a peak of 1."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimiser)
    result = []
    for _ in range(TOTAL):
        result.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    return result


def schedules():
    o = optimization
    decay = 6
    return {
        "steps": TOTAL,
        "warmup": WARMUP,
        "cosine": rates(lambda x: o.get_cosine_schedule_with_warmup(x, WARMUP, TOTAL)),
        "linear": rates(lambda x: o.get_linear_schedule_with_warmup(x, WARMUP, TOTAL)),
        "constant": rates(lambda x: o.get_constant_schedule_with_warmup(x, WARMUP)),
        "cosine-restarts": rates(
            lambda x: o.get_cosine_with_hard_restarts_schedule_with_warmup(x, WARMUP, TOTAL, num_cycles=3)
        ),
        "cosine-final": rates(lambda x: o.get_cosine_with_min_lr_schedule_with_warmup(x, WARMUP, TOTAL, min_lr_rate=0.1)),
        "polynomial": rates(
            lambda x: o.get_polynomial_decay_schedule_with_warmup(x, WARMUP, TOTAL, lr_end=0.1, power=2.0)
        ),
        "wsd": rates(
            lambda x: o.get_wsd_schedule(
                x, WARMUP, decay, num_training_steps=TOTAL, decay_type="1-sqrt"
            )
        ),
        "wsd_decay": decay,
        "plateau": plateau(),
    }


def plateau():
    """The rate after each validation loss."""
    losses = [3.0, 2.0, 2.1, 2.05, 1.9, 1.95, 1.93, 1.92, 1.91, 1.9, 1.8]
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, patience=1, factor=0.5)
    after = []
    for loss in losses:
        schedule.step(loss)
        after.append(optimiser.param_groups[0]["lr"])
    return {"losses": losses, "patience": 1, "factor": 0.5, "rates": after}


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2; the lines of github.com/google/automl/blob/master/lion/lion_pytorch.py."""

    def __init__(self, params, lr, betas, weight_decay):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["exp_avg"] = torch.zeros_like(p)
                p.data.mul_(1 - group["lr"] * group["weight_decay"])
                beta1, beta2 = group["betas"]
                update = state["exp_avg"] * beta1 + p.grad * (1 - beta1)
                p.add_(update.sign_(), alpha=-group["lr"])
                state["exp_avg"].mul_(beta2).add_(p.grad, alpha=1 - beta2)


def newton_schulz(gradient):
    """torch.optim._muon._zeropower_via_newtonschulz in the gradient's own precision instead of bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = gradient.T if gradient.size(0) > gradient.size(1) else gradient
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if gradient.size(0) > gradient.size(1) else x


class Muon(torch.optim.Optimizer):
    """torch.optim.Muon(nesterov=True, adjust_lr_fn="match_rms_adamw") without its rounding to bfloat16."""

    def __init__(self, params, lr, momentum, weight_decay):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["buffer"] = torch.zeros_like(p)
                buffer, momentum = state["buffer"], group["momentum"]
                buffer.lerp_(p.grad, 1 - momentum)
                update = newton_schulz(p.grad.lerp(buffer, momentum))
                rate = group["lr"] * 0.2 * math.sqrt(max(p.shape))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-rate)


STEPS, RATE, DECAY = 6, 0.05, 0.1


def run_optimiser(make, starts, gradients):
    parameters = [torch.nn.Parameter(start.clone()) for start in starts]
    optimiser = make(parameters)
    after = []
    for step in range(STEPS):
        for parameter, gradient in zip(parameters, gradients[step]):
            parameter.grad = gradient.clone()
        optimiser.step()
        after.append([p.detach().flatten().tolist() for p in parameters])
    return after


def optimisers():
    generator = torch.Generator().manual_seed(7)
    shapes = [(3, 5), (6, 2)]
    rand = lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    starts = [rand(shape) for shape in shapes]
    gradients = [[rand(shape) for shape in shapes] for _ in range(STEPS)]
    flat = lambda tensors: [t.flatten().tolist() for t in tensors]  # noqa: E731
    muon = run_optimiser(lambda p: Muon(p, RATE, 0.9, DECAY), starts, gradients)
    torch_muon = run_optimiser(
        lambda p: torch.optim.Muon(p, lr=RATE, momentum=0.9, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
        starts,
        gradients,
    )
    difference = max(abs(a - b) for x, y in zip(muon[0], torch_muon[0]) for a, b in zip(x, y))
    assert difference < 2e-3, f"not torch.optim.Muon: {difference}"
    first_average = [start.clone() for start in starts]
    average, averages = get_ema_multi_avg_fn(0.8), []
    for step in range(STEPS):
        average(first_average, gradients[step], step)
        averages.append(flat(first_average))
    return {
        "shapes": shapes,
        "rate": RATE,
        "weight_decay": DECAY,
        "momentum": 0.9,
        "starts": flat(starts),
        "gradients": [flat(step) for step in gradients],
        "adamw": run_optimiser(lambda p: torch.optim.AdamW(p, lr=RATE, weight_decay=DECAY), starts, gradients),
        "sgd": run_optimiser(
            lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9, weight_decay=DECAY), starts, gradients
        ),
        "lion": run_optimiser(lambda p: Lion(p, RATE, (0.9, 0.99), DECAY), starts, gradients),
        "muon": muon,
        "muon_from_torch_bf16": difference,
        # The mean of what passes by, from `starts` on, the passing values being `gradients`.
        "ema": {"decay": 0.8, "after": averages},
    }


def smoothing():
    """Cross-entropy with label smoothing on hidden states and a head, with and without a soft cap."""
    generator = torch.Generator().manual_seed(11)
    n, d, vocabulary = 5, 8, 13
    hidden = torch.randn(n, d, generator=generator, dtype=torch.float64, requires_grad=True)
    head = torch.randn(vocabulary, d, generator=generator, dtype=torch.float64)
    labels = torch.tensor([3, 12, -100, 0, 7])
    cases = []
    for cap in (None, 2.0):
        scores = hidden @ head.T
        if cap:
            scores = cap * torch.tanh(scores / cap)
        loss = torch.nn.functional.cross_entropy(
            scores, labels, ignore_index=-100, reduction="none", label_smoothing=0.1
        )
        (gradient,) = torch.autograd.grad(loss.sum(), hidden)
        cases.append({"softcap": cap, "loss": loss.tolist(), "gradient": gradient.flatten().tolist()})
    return {
        "smoothing": 0.1,
        "shape": [n, d, vocabulary],
        "hidden": hidden.detach().flatten().tolist(),
        "head": head.flatten().tolist(),
        "labels": labels.tolist(),
        "cases": cases,
    }


def main():
    golden = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "schedules": schedules(),
        "optimisers": optimisers(),
        "smoothing": smoothing(),
    }
    OUT.write_text(json.dumps(golden) + "\n")
    print(f"{OUT.name}: {OUT.stat().st_size / 1024:.0f} kB; Muon {golden['optimisers']['muon_from_torch_bf16']:.0e} from torch's in bf16")


if __name__ == "__main__":
    main()
