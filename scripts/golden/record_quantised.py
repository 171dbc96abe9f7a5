"""Records tests/golden/quantised.json: what bitsandbytes 0.50 makes of a few matrices, and AdamW with 8-bit moments.

The maths of its "default" (pure PyTorch) backend and of its 8-bit optimiser kernels are written here again in PyTorch, so that
the package itself is not needed. Run: python scripts/golden/record_quantised.py
"""

import json
import math
import pathlib

import torch

CODE = torch.tensor(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
        -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ]
)


def dynamic_map(signed: bool) -> torch.Tensor:
    """Seven decades; the fraction's digits double from one to the next."""
    data = [0.0, 1.0]
    for decade in range(7):
        bounds = torch.linspace(0.1, 1, 2 ** (decade + (0 if signed else 1)) + 1)
        means = (bounds[:-1] + bounds[1:]) / 2
        data += (10 ** (decade - 6) * means).tolist()
        if signed:
            data += (-(10 ** (decade - 6)) * means).tolist()
    return torch.tensor(sorted(data))


SIGNED, UNSIGNED = dynamic_map(True), dynamic_map(False)


def blocks(x: torch.Tensor, size: int) -> list[torch.Tensor]:
    return list(torch.split(x.reshape(-1), size))


def quantise_blockwise(x: torch.Tensor, code: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Index of the nearest number of `code` for each value over its block's largest magnitude; those magnitudes."""
    indices, largest = [], []
    for block in blocks(x, size):
        most = block.abs().max()
        scaled = torch.clamp(block * (1 / most), -1, 1) if most > 0 else torch.zeros_like(block)
        indices.append((scaled[:, None] - code).abs().argmin(-1))
        largest.append(most)
    return torch.cat(indices), torch.stack(largest)


def dequantise_blockwise(indices: torch.Tensor, largest: torch.Tensor, code: torch.Tensor, size: int) -> torch.Tensor:
    return torch.cat([code[block] * most for block, most in zip(blocks(indices, size), largest)])


def nf4(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """4-bit indices, and the values they stand for with double-quantised scales."""
    indices, largest = quantise_blockwise(x, CODE, 64)
    offset = largest.mean()
    coded, second = quantise_blockwise(largest - offset, SIGNED, 256)
    scales = dequantise_blockwise(coded, second, SIGNED, 256) + offset
    return indices, dequantise_blockwise(indices, scales, CODE, 64).reshape(x.shape)


def adamw8bit(p: torch.Tensor, grads: list[torch.Tensor], lr: float, betas: tuple[float, float], eps: float, decay: float):
    """bitsandbytes' block-wise 8-bit AdamW, blocks of 256: moments are updated in f32 and put back into 8 bits."""
    m = [torch.zeros(p.numel(), dtype=torch.long) + int(SIGNED.abs().argmin()), torch.zeros(math.ceil(p.numel() / 256))]
    v = [torch.zeros(p.numel(), dtype=torch.long), torch.zeros(math.ceil(p.numel() / 256))]
    p = p.clone().reshape(-1)
    for step, grad in enumerate(grads, 1):
        g = grad.reshape(-1)
        first = dequantise_blockwise(m[0], m[1], SIGNED, 256) * betas[0] + (1 - betas[0]) * g
        second = dequantise_blockwise(v[0], v[1], UNSIGNED, 256) * betas[1] + (1 - betas[1]) * g * g
        correction1, correction2 = 1 - betas[0] ** step, math.sqrt(1 - betas[1] ** step)
        # PyTorch's order: the decay first (bitsandbytes has it last, which differs by lr² · decay · update).
        p = p * (1 - lr * decay)
        p = p - lr * correction2 / correction1 * first / (second.sqrt() + correction2 * eps)
        m, v = list(quantise_blockwise(first, SIGNED, 256)), list(quantise_blockwise(second, UNSIGNED, 256))
        # A moment keeps its sign: what would become zero or change sides becomes the nearest number on its own side.
        turned = torch.signbit(SIGNED[m[0]]) != torch.signbit(first)
        m[0] = torch.where(turned, m[0] + torch.where(first > 0, 1, -1), m[0])
    return p, m, v


def main() -> None:
    torch.manual_seed(7)
    matrices = []
    for rows, columns, spread in [(48, 64, 0.05), (9, 20, 1.0), (200, 128, 0.02)]:
        x = torch.randn(rows, columns) * spread * torch.rand(rows, 1).add(0.1)
        if rows == 48:
            x[0, :] = 0
        # f16 values, so that the file stays small and exact
        x = x.half().float()
        indices, values = nf4(x)
        kept = slice(None) if rows < 100 else slice(0, 2000)
        matrices.append(
            {
                "shape": [rows, columns],
                "f16": x.half().view(torch.int16).reshape(-1).tolist(),
                "codes": indices.reshape(-1)[kept].tolist(),
                "values": values.reshape(-1)[kept].tolist(),
            }
        )
    size, steps = 1000, 4
    settings = {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "decay": 0.1}
    p = torch.randn(size).half().float()
    grads = [(torch.randn(size) * torch.logspace(-3, 1, size)).half().float() for _ in range(steps)]
    after, m, v = adamw8bit(p, grads, settings["lr"], (settings["beta1"], settings["beta2"]), settings["eps"], settings["decay"])
    bits = lambda x: x.half().view(torch.int16).tolist()
    adam = {
        **settings,
        "p": bits(p), "grads": [bits(g) for g in grads], "after": after.tolist(),
        "m": m[0].tolist(), "m_scales": m[1].tolist(), "v": v[0].tolist(), "v_scales": v[1].tolist(),
    }  # fmt: skip
    out = {"signed": SIGNED.tolist(), "unsigned": UNSIGNED.tolist(), "nf4": matrices, "adamw8bit": adam}
    path = pathlib.Path(__file__).parents[2] / "tests/golden/quantised.json"
    path.write_text(json.dumps(out))
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
