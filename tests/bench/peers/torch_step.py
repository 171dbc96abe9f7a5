"""PyTorch, eager, f32, on the graphics card where there is one: the same model, batch and AdamW (without decay) as the other peers.

    python torch_step.py SHAPES.json STEPS

SHAPES.json: the shapes of shapes.ts as a list. Prints one JSON object: device, GFLOP/s of products, and for each shape its losses and ms a step.
Refuses TF32: the comparison is in f32.
"""

import json
import math
import sys
import time

import numpy as np
import torch

RANK, SCALE, RATE, EPSILON, THETA = 16, 2.0, 1e-3, 1e-5, 10_000.0
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def seeded(count, seed, scale):
    """The numbers of shapes.ts: x ← 1664525 x + 1013904223 modulo 2³²."""
    with np.errstate(over="ignore"):
        powers = np.full(count, 1664525, np.uint32)
        powers = np.cumprod(powers, dtype=np.uint32)
        sums = np.cumsum(np.concatenate([np.ones(1, np.uint32), powers[:-1]]), dtype=np.uint32)
        start = np.uint32((seed * 2654435761 + 12345) % 2**32)
        states = powers * start + sums * np.uint32(1013904223)
    return ((states.astype(np.float64) / 2**31 - 1) * scale).astype(np.float32)


def projections(s):
    head = s["hidden"] // s["heads"]
    h, kv, f = s["hidden"], s["kvHeads"] * head, s["feedForward"]
    names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    names += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    return list(zip(names, [(h, h), (kv, h), (kv, h), (h, h), (f, h), (f, h), (h, f)]))


def tensor(values, shape):
    return torch.from_numpy(values).reshape(shape).to(DEVICE)


class Model:
    def __init__(self, s):
        self.s = s
        made = 1
        self.embedding = tensor(seeded(s["vocabulary"] * s["hidden"], 1, 0.1), (s["vocabulary"], s["hidden"]))
        self.base, self.lora, adapters = {}, {}, 0
        for layer in range(s["layers"]):
            for name, (out, inn) in projections(s):
                made += 1
                self.base[layer, name] = tensor(seeded(out * inn, made, math.sqrt(3 / inn)), (out, inn))
                a = tensor(seeded(RANK * inn, 7919 + adapters, 1 / math.sqrt(inn)), (RANK, inn)).requires_grad_()
                b = torch.zeros(out, RANK, device=DEVICE, requires_grad=True)
                self.lora[layer, name] = (a, b)
                adapters += 2
            made += 2  # two norms of ones
        n = s["batch"] * s["length"]
        noise = seeded(n, 4242, 1).astype(np.float64)
        ids = np.minimum(s["vocabulary"] - 1, np.floor((noise + 1) / 2 * s["vocabulary"])).astype(np.int64)
        self.ids = torch.from_numpy(ids).reshape(s["batch"], s["length"]).to(DEVICE)
        half = s["hidden"] // s["heads"] // 2
        angles = np.arange(s["length"])[:, None] / THETA ** (np.arange(half) / half)
        self.cos, self.sin = (tensor(f(angles).astype(np.float32), (1, 1, s["length"], half)) for f in (np.cos, np.sin))

    def linear(self, x, layer, name):
        a, b = self.lora[layer, name]
        return x @ self.base[layer, name].T + (x @ a.T) @ b.T * SCALE

    def norm(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON)

    def rope(self, x):
        one, two = x.chunk(2, -1)
        return torch.cat([one * self.cos - two * self.sin, two * self.cos + one * self.sin], -1)

    def attention(self, x, layer):
        s = self.s
        d = s["hidden"] // s["heads"]
        split = lambda y, heads: y.reshape(s["batch"], s["length"], heads, d).transpose(1, 2)
        q = self.rope(split(self.linear(x, layer, "self_attn.q_proj"), s["heads"]))
        k = self.rope(split(self.linear(x, layer, "self_attn.k_proj"), s["kvHeads"]))
        v = split(self.linear(x, layer, "self_attn.v_proj"), s["kvHeads"])
        group = s["heads"] // s["kvHeads"]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.linear(y.transpose(1, 2).reshape(s["batch"], s["length"], s["hidden"]), layer, "self_attn.o_proj")

    def loss(self):
        x = self.embedding[self.ids]
        for layer in range(self.s["layers"]):
            x = x + self.attention(self.norm(x), layer)
            y = self.norm(x)
            gate = torch.nn.functional.silu(self.linear(y, layer, "mlp.gate_proj"))
            x = x + self.linear(gate * self.linear(y, layer, "mlp.up_proj"), layer, "mlp.down_proj")
        logits = self.norm(x)[:, :-1] @ self.embedding.T
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), self.ids[:, 1:].flatten())


def steps(s, count):
    model = Model(s)
    optimiser = torch.optim.AdamW([p for pair in model.lora.values() for p in pair], lr=RATE, weight_decay=0)
    losses, times = [], []
    for _ in range(count):
        started = time.perf_counter()
        loss = model.loss()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - started) * 1000)
    return {"model": s["name"], "losses": losses, "times": times}


def product(m, k, n):
    """GFLOP/s of the best of some runs of ten products."""
    a, b, best = torch.rand(m, k, device=DEVICE), torch.rand(n, k, device=DEVICE), math.inf
    for _ in range(4):
        started = time.perf_counter()
        for _ in range(10):
            a @ b.T
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - started) / 10)
    return 2 * m * k * n / best / 1e9


def main():
    torch.backends.cuda.matmul.allow_tf32 = False
    with open(sys.argv[1]) as file:
        shapes = json.load(file)
    sizes = [(2048, 2048, 2048), (4096, 4096, 4096)] if DEVICE == "cuda" else [(512, 512, 512)]
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else "processor"
    products = [{"m": m, "k": k, "n": n, "gflops": product(m, k, n)} for m, k, n in sizes]
    results = [steps(s, int(sys.argv[2])) for s in shapes]
    print(json.dumps({"device": name, "version": torch.__version__, "products": products, "steps": results}))


main()
