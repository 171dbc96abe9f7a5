"""Bits per byte of models on one text over windows of about 700 bytes, all in one run; refuses to skip a window for one of them.

python compare.py --text FILE --out FILE MODEL_DIR MODEL_DIR ...

Every window is scored from a begin token, byte for byte the same text for each model, and divided by the same byte count.
There are two kinds of windows: such as begin where a paragraph begins, and such as are cut anywhere, also inside a word.
Prints each model's figure and the ratio of each to the last. Weights are read as f32.
"""
import argparse
import json
import math
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from encode import windows


def load(folder):
    """A Llama folder, also one that holds only `lm_head.weight` of a tied pair."""
    weights = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
    shared = weights.get("model.embed_tokens.weight", weights.get("lm_head.weight"))
    weights["model.embed_tokens.weight"] = weights["lm_head.weight"] = shared
    config = LlamaConfig.from_pretrained(folder)
    model = LlamaForCausalLM(config).float().eval()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if missing or unexpected:
        raise SystemExit(f"{folder}: missing {missing}, unexpected {unexpected}")
    return model, Tokenizer.from_file(str(folder / "tokenizer.json")), config


def paragraph_windows(text, size):
    """Windows of at most `size` bytes that begin at a paragraph and do not overlap."""
    at = 0
    for match in re.finditer(r"(?<=\n\n)(?=\S)", text):
        if match.start() >= at:
            window = text[match.start():match.start() + size].encode()[:size].decode("utf-8", errors="ignore")
            at = match.start() + len(window)
            yield window


@torch.no_grad()
def bits(folder, texts):
    model, tokenizer, config = load(folder)
    total = tokens = 0
    rows = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        row = [config.bos_token_id, *ids]
        if len(row) > config.max_position_embeddings:
            raise SystemExit(f"a window has {len(row)} tokens for {folder}: choose smaller windows")
        rows.append(row)
        tokens += len(ids)
    rows.sort(key=len)
    for start in range(0, len(rows), 16):
        part = rows[start:start + 16]
        width = max(map(len, part))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in part])
        labels = torch.tensor([row + [-100] * (width - len(row)) for row in part])
        logits = model(ids).logits
        total += F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum").item()
    return {"bits": total / math.log(2), "tokens": tokens, "parameters": sum(p.numel() for p in model.parameters())}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--window", type=int, default=700)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("models", type=Path, nargs="+")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    text = o.text.read_text(encoding="utf-8")
    kinds = {"from a paragraph's start": list(paragraph_windows(text, o.window)), "cut anywhere": list(windows(text, o.window))}
    report = {"text": o.text.name, "window_bytes": o.window, "parameters": {}, "kinds": {}}
    for kind, texts in kinds.items():
        size, found = sum(len(t.encode()) for t in texts), {}
        for folder in o.models:
            result = bits(folder, texts)
            report["parameters"][folder.name] = result["parameters"]
            found[folder.name] = round(result["bits"] / size, 4)
        last = found[o.models[-1].name]
        report["kinds"][kind] = {"windows": len(texts), "bytes": size, "bits_per_byte": found, "ratio": {n: round(v / last, 4) for n, v in found.items()}}
        for name, value in found.items():
            print(f"{len(texts)} windows {kind}: {name} {value:.4f} bits per byte, {value / last:.3f} of {o.models[-1].name}", flush=True)
    if o.out:
        o.out.write_text(json.dumps(report, indent=1) + "\n")
