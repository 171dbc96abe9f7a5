"""Turns cleaned documents and turns into token arrays, one file a source; refuses documents longer than the context.

python encode.py --corpus DIR --turns FILE --tokenizer DIR --validation FILE --out DIR
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch

from tokenizer import BEGIN, END, encode_turns, load

LIMIT = 500


def split(ids, breaks):
    """Pieces of at most LIMIT tokens, cut at the last line break where there is one; only the last piece ends the document."""
    while len(ids) > LIMIT:
        cut = next((i + 1 for i in range(LIMIT - 1, LIMIT // 2, -1) if ids[i] in breaks), LIMIT)
        yield [BEGIN, *ids[:cut]]
        ids = ids[cut:]
    yield [BEGIN, *ids, END]


def write(path, documents):
    starts = np.cumsum([0] + [len(d) for d in documents])
    np.savez(path, ids=np.concatenate([np.array(d, np.uint16) for d in documents]), starts=starts)
    print(f"{path.stem:12} {len(documents):>7,} documents {starts[-1]:>12,} tokens")


def windows(text, size=700):
    """Windows of about `size` bytes, cut between characters."""
    data = text.encode()
    for start in range(0, len(data) - size + 1, size):
        yield data[start:start + size].decode("utf-8", errors="ignore")


def held_rows(tokenizer, texts):
    rows = [[BEGIN, *e.ids] for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    rows = [r for r in rows if len(r) <= 500]
    packed = torch.full((len(rows), max(map(len, rows))), -1)
    for i, row in enumerate(rows):
        packed[i, :len(row)] = torch.tensor(row)
    return packed, sum(len(t.encode()) for t in texts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("corpus", "turns", "tokenizer", "validation", "out"):
        parser.add_argument("--" + name, type=Path, required=True)
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    tokenizer = load(o.tokenizer)
    breaks = {i for t, i in tokenizer.get_vocab().items() if "Ċ" in t}
    sources = {}
    for row in map(json.loads, open(o.corpus / "train.jsonl", encoding="utf-8")):
        name = row["source"] + (str(row["tier"]) if row["source"] == "old" else "")
        sources.setdefault(name, []).append(row["text"])
    for name, texts in sources.items():
        write(o.out / f"{name}.npz", [p for e in tokenizer.encode_batch(texts, add_special_tokens=False) for p in split(e.ids, breaks)])
    rows = [json.loads(line) for line in open(o.turns, encoding="utf-8")]
    for name, wanted in (("story_turns", True), ("short_turns", False)):
        chosen = [r for r in rows if r["task"].endswith("_story") == wanted]
        write(o.out / f"{name}.npz", [ids for ids in encode_turns(tokenizer, chosen) if len(ids) <= LIMIT + 12])
    text = o.validation.read_text(encoding="utf-8")
    books = [json.loads(line)["text"][:700] for line in open(o.corpus / "valid-storybooks.jsonl", encoding="utf-8")]
    torch.save({"tiny": held_rows(tokenizer, list(windows(text))[::16]), "books": held_rows(tokenizer, books)}, o.out / "valid.pt")
