"""Trains the model on packed documents: seeded, resumable, warm-up - steady - decay; refuses to read validation text for updates.

python train.py --data DIR --out DIR --steps N --decay D [--seed S]

The learning rate is steady until step N - D and then falls to zero, so a steady run can be stopped (Ctrl-C or SIGTERM
saves), and finished later from its checkpoint with other N and D. Matrices are updated with Muon, the rest with AdamW.
Each worker is a process of one thread that takes its share of every batch; their gradients are averaged once a step, which
on a busy machine wastes far less time than threads that wait for each other in every operation.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from model import Llama, Shape, parameter_count

# Share of the tokens by source: more and more plain stories, fewer and fewer older books.
MIX = {
    "early": {"tiny": 0.34, "book": 0.09, "old0": 0.18, "old1": 0.10, "old2": 0.05, "story_turns": 0.09, "short_turns": 0.15},
    "steady": {"tiny": 0.46, "book": 0.10, "old0": 0.12, "old1": 0.04, "old2": 0.0, "story_turns": 0.13, "short_turns": 0.15},
    "decay": {"tiny": 0.50, "book": 0.11, "old0": 0.08, "old1": 0.0, "old2": 0.0, "story_turns": 0.14, "short_turns": 0.17},
}


class Stream:
    """Documents of one source in a seeded order that is reshuffled every epoch."""

    def __init__(self, path, seed):
        data = np.load(path)
        self.ids, self.starts, self.seed = data["ids"], data["starts"], seed
        self.epoch = self.cursor = 0
        self.shuffle()

    def shuffle(self):
        self.order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.starts) - 1)

    def next(self):
        if self.cursor == len(self.order):
            self.epoch, self.cursor = self.epoch + 1, 0
            self.shuffle()
        index = self.order[self.cursor]
        self.cursor += 1
        return self.ids[self.starts[index]:self.starts[index + 1]]


class Packer:
    """Fills rows of `length + 1` tokens with documents one after another, sources drawn so that tokens follow the shares."""

    def __init__(self, folder, seed):
        self.streams = {name: Stream(folder / f"{name}.npz", seed + i) for i, name in enumerate(MIX["early"])}
        self.given = {name: 0 for name in self.streams}
        self.rest = np.zeros(0, np.int64)
        self.rng = np.random.default_rng(seed)

    def batch(self, rows, length, shares):
        need = rows * (length + 1)
        parts, have = [self.rest], len(self.rest)
        names = list(shares)
        weights = np.array([shares[n] / np.mean(np.diff(self.streams[n].starts)) for n in names])
        weights /= weights.sum()
        while have < need:
            name = names[self.rng.choice(len(names), p=weights)]
            ids = self.streams[name].next()
            self.given[name] += len(ids)
            parts.append(ids)
            have += len(ids)
        flat = np.concatenate(parts).astype(np.int64)
        self.rest = flat[need:]
        return torch.from_numpy(flat[:need].reshape(rows, length + 1))

    def state(self):
        return {"streams": {n: (s.epoch, s.cursor) for n, s in self.streams.items()}, "given": self.given,
                "rest": self.rest, "rng": self.rng.bit_generator.state}

    def load(self, state):
        for name, (epoch, cursor) in state["streams"].items():
            self.streams[name].epoch, self.streams[name].cursor = epoch, cursor
            self.streams[name].shuffle()
        self.given, self.rest = state["given"], state["rest"]
        self.rng.bit_generator.state = state["rng"]


class Muon:
    """Momentum whose matrix update is orthogonalised (Jordan et al. 2024), scaled to AdamW's size (Liu et al. 2025)."""

    def __init__(self, params, momentum=0.95, decay=0.1):
        self.groups, self.momentum, self.decay = {}, momentum, decay
        for p in params:
            self.groups.setdefault(tuple(sorted(p.shape)), []).append(p)
        self.buffers = {shape: torch.zeros(len(ps), *shape) for shape, ps in self.groups.items()}

    @torch.no_grad()
    def step(self, lr):
        for shape, ps in self.groups.items():
            flip = [p.shape[0] > p.shape[1] for p in ps]
            g = torch.stack([p.grad.T if t else p.grad for p, t in zip(ps, flip)]).float()
            m = self.buffers[shape].lerp_(g, 1 - self.momentum)
            x = g.lerp(m, self.momentum)
            x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
            for _ in range(5):
                a = x @ x.mT
                x = 3.4445 * x + (-4.775 * a + 2.0315 * (a @ a)) @ x
            scale = 0.2 * max(shape) ** 0.5 * lr
            for p, update, t in zip(ps, x.float(), flip):
                p.mul_(1 - lr * self.decay).sub_(scale * (update.T if t else update))


class Gradients:
    """All gradients in one flat buffer, so that they are averaged, measured and clipped in one go."""

    def __init__(self, params, workers):
        self.flat, self.workers, start = torch.zeros(sum(p.numel() for p in params) + 1), workers, 0
        for p in params:
            p.grad = self.flat[start:start + p.numel()].view_as(p)
            start += p.numel()

    def gather(self, stop):
        """Averages over the workers and clips at 1. Returns the norm before, and whether any worker was asked to stop."""
        self.flat[-1] = float(stop)
        if self.workers > 1:
            dist.all_reduce(self.flat)
            self.flat /= self.workers
        stop, norm = self.flat[-1].item() > 0, self.flat[:-1].norm().item()
        if norm > 1:
            self.flat /= norm
        return norm, stop


def join_workers(count):
    """Starts the other workers from the first one and connects all of them; returns this one's number."""
    torch.set_num_threads(1)
    if count == 1:
        return 0
    if "WORKER" not in os.environ:
        meeting = os.path.join(tempfile.mkdtemp(prefix="pretrain-"), "meeting")
        os.environ.update(WORKER="0", MEETING=meeting)
        for number in range(1, count):
            subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, "WORKER": str(number)})
    rank = int(os.environ["WORKER"])
    dist.init_process_group("gloo", init_method="file://" + os.environ["MEETING"], rank=rank, world_size=count)
    return rank


def rate(step, steps, decay, warmup):
    return min(1.0, (step + 1) / warmup) * min(1.0, max(0.0, (steps - step) / max(1, decay)))


@torch.no_grad()
def bits_per_byte(model, rows, byte_count):
    """Rows are padded with -1; the first token of a row is not scored."""
    total = 0.0
    for part in rows.split(16):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(part[:, :-1].clamp(min=0))
        total += F.cross_entropy(logits.float().flatten(0, 1), part[:, 1:].flatten(), ignore_index=-1, reduction="sum").item()
    return total / np.log(2) / byte_count


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--decay", type=int, required=True)
    parser.add_argument("--stop-at", type=int, help="stop at this step although the schedule goes on")
    parser.add_argument("--early", type=int, default=1200, help="steps with the largest share of older books")
    parser.add_argument("--warmup", type=int, default=60)
    parser.add_argument("--rows", type=int, default=16, help="rows a step while steady; half as many, twice as long, in the decay")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--lr", type=float, default=4e-3, help="AdamW, for embeddings and norms")
    parser.add_argument("--muon-lr", type=float, default=5e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1, help="Muon's, for matrices")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--average", type=float, default=0.0, help="share of the running average of the weights that each step keeps; it is what is published")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=200)
    parser.add_argument("--evaluate-every", type=int, default=200)
    parser.add_argument("--from-checkpoint", type=Path)
    parser.add_argument("--compile", action="store_true")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    rank = join_workers(o.workers)
    first = rank == 0
    torch.manual_seed(o.seed)
    model = Llama(Shape(dropout=o.dropout))
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim == 1 or "embed" in n]
    muon, adam = Muon(matrices, decay=o.weight_decay), torch.optim.AdamW(others, lr=o.lr, betas=(0.9, 0.95), weight_decay=0.01)
    packer, step, log, spent = Packer(o.data, o.seed), 0, [], 0.0
    average = {n: w.clone() for n, w in model.state_dict().items()} if o.average else None
    latest = o.from_checkpoint or o.out / "checkpoint.pt"
    if latest.exists():
        saved = torch.load(latest, weights_only=False)
        model.load_state_dict(saved["model"])
        muon.buffers, step, log, spent = saved["muon"], saved["step"], saved["log"], saved["seconds"]
        adam.load_state_dict(saved["adam"])
        packer.load(saved["packer"])
        if o.average:
            average = saved.get("average") or {n: w.clone() for n, w in saved["model"].items()}
    if first:
        print(f"{parameter_count(model):,} parameters, at step {step}", flush=True)
    held = torch.load(o.data / "valid.pt")
    gradients = Gradients(list(model.parameters()), o.workers)

    def loss_of(ids):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(ids[:, :-1])
        return F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())

    run = torch.compile(loss_of, dynamic=False) if o.compile else loss_of
    stop, stopped = [], False
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    signal.signal(signal.SIGINT, lambda *_: stop.append(1))

    def save():
        state = {"model": model.state_dict(), "muon": muon.buffers, "adam": adam.state_dict(), "packer": packer.state(),
                 "step": step, "log": log, "seconds": spent, **({"average": average} if average else {}), "options": {k: str(v) for k, v in vars(o).items()}}
        torch.save(state, o.out / "checkpoint.tmp")
        os.replace(o.out / "checkpoint.tmp", o.out / "checkpoint.pt")
        (o.out / "curve.json").write_text(json.dumps({"parameters": parameter_count(model), "log": log}))

    began, mean = time.time(), None
    while step < min(o.steps, o.stop_at or o.steps) and not stopped:
        scale = rate(step, o.steps, o.decay, o.warmup)
        if step >= o.steps - o.decay:
            batch = packer.batch(o.rows // 2, o.length * 2, MIX["decay"])
        else:
            batch = packer.batch(o.rows, o.length, MIX["early" if step < o.early else "steady"])
        share = len(batch) // o.workers
        torch.manual_seed(o.seed + step * o.workers + rank)  # so that dropout is the same after a stop
        loss = run(batch[rank * share:(rank + 1) * share].contiguous())
        loss.backward()
        value = loss.item()
        norm, stopped = gradients.gather(bool(stop))
        if np.isfinite(norm):
            muon.step(o.muon_lr * scale)
            adam.param_groups[0]["lr"] = o.lr * scale
            adam.step()
        if average:
            now = model.state_dict()
            torch._foreach_lerp_([average[n] for n in now], list(now.values()), 1 - o.average)
        gradients.flat.zero_()
        step += 1
        mean = value if mean is None else 0.98 * mean + 0.02 * value
        clock = time.time()
        spent, began = spent + clock - began, clock
        if first and (step % 20 == 0 or step == o.steps):
            entry = {"step": step, "tokens": step * o.rows * o.length, "seconds": round(spent), "lr": round(scale, 4), "train_loss": round(mean, 4)}
            if step % o.evaluate_every == 0 or step == o.steps:
                current = {n: w.clone() for n, w in model.state_dict().items()}
                model.eval().load_state_dict(average or current)
                for name, (rows, size) in held.items():
                    entry[name + "_bpb"] = round(bits_per_byte(model, rows, size), 4)
                model.train().load_state_dict(current)
            log.append(entry)
            print(json.dumps(entry), flush=True)
        if first and step % o.save_every == 0:
            save()
        if first and step % 1000 == 0:
            torch.save(model.state_dict(), o.out / f"weights-{step}.pt")
    if not first:
        return
    save()
    print("stopped" if stopped else "finished", step, {n: s.epoch + round(s.cursor / len(s.order), 2) for n, s in packer.streams.items()}, flush=True)


if __name__ == "__main__":
    main()
