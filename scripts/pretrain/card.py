"""Writes the model card, its curve and attribution, docs/model.md and models/index.json from what a run measured; refuses to write a number that no file holds.

python card.py --work DIR --model DIR [--run DIR]
"""
import argparse
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {"tiny": "TinyStories samples", "book": "CC-BY storybooks", "old0": "older books, plainest third", "old1": "older books, middle third",
           "old2": "older books, hardest third", "story_turns": "turns: continue and tell", "short_turns": "turns: all other tasks"}


def curve(log, width=720, height=320):
    """The training loss and the held-out bits per byte against tokens, as one SVG."""
    loss = [(e["tokens"], e["train_loss"]) for e in log]
    held = {"tiny_bpb": ("held-out TinyStories, bits per byte", "#c2410c"), "books_bpb": ("held-out storybooks, bits per byte", "#15803d")}
    most = max(x for x, _ in loss)
    left, right, top, bottom = 46, width - 12, 34, height - 40
    high = 6.0

    def at(points):
        return " ".join(f"{left + (right - left) * x / most:.1f},{bottom - (bottom - top) * min(y, high) / high:.1f}" for x, y in points)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for y in range(0, 7):
        line = bottom - (bottom - top) * y / high
        parts.append(f'<path d="M{left} {line:.1f}H{right}" stroke="#e5e5e5"/><text x="{left - 8}" y="{line + 4:.1f}" text-anchor="end" fill="#555">{y}</text>')
    for i in range(6):
        x = left + (right - left) * i / 5
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#555">{most * i / 5 / 1e6:.0f}M</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{height - 6}" text-anchor="middle" fill="#555">tokens</text>')
    series = [("training loss, nats per token", "#2563eb", loss)]
    series += [(label, colour, [(e["tokens"], e[name]) for e in log if name in e]) for name, (label, colour) in held.items()]
    for i, (label, colour, points) in enumerate(series):
        parts.append(f'<polyline points="{at(points)}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<path d="M{left + i * 225} 16h16" stroke="{colour}" stroke-width="3"/><text x="{left + 21 + i * 225}" y="20" fill="#333">{label}</text>')
    return "".join(parts) + "</svg>\n"


def cycles(log):
    """The learning rate over the run in words, read from the log: where it was steady, fell, and rose again."""
    parts, start = [], 0
    for i, entry in enumerate(log):
        if i and entry["lr"] > log[i - 1]["lr"] + 0.05 and entry["step"] > 100:
            parts.append(log[start:i])
            start = i
    parts.append(log[start:])
    said = []
    for part in parts:
        top = max(e["lr"] for e in part)
        fall = next((e["step"] for e in part if e["lr"] < top - 0.02 and e["step"] > 100), None)
        where = f"up to step {number(part[-1]['step'])} with {top:.0%} of the rate"
        said.append(where + (f", falling to {part[-1]['lr']:.0%} from step {number(fall)} on" if fall else ""))
    return "Cycles of the learning rate: " + "; then ".join(said) + "."


def number(value):
    return f"{value:,}"


def data_table(stats, mix, epochs):
    names = {"tiny": "tiny", "book": "book", "old0": "old0", "old1": "old1", "old2": "old2"}
    lines = ["| source | documents | bytes | share, early | share, steady | share, decay | epochs read |", "|---|---:|---:|---:|---:|---:|---:|"]
    for name, label in SOURCES.items():
        documents = number(stats[names[name] + "_documents"]) if name in names else ""
        size = number(stats[names[name] + "_bytes"]) if name in names else ""
        lines.append(f"| {label} | {documents} | {size} | {mix['early'][name]:.0%} | {mix['steady'][name]:.0%} | {mix['decay'][name]:.0%} | {epochs[name]:.1f} |")
    return "\n".join(lines)


def measured(work, run):
    import torch
    from train import MIX
    saved = torch.load(run / "checkpoint.pt", weights_only=False)
    sizes = {}
    import numpy as np
    for name in SOURCES:
        sizes[name] = len(np.load(work / "data" / f"{name}.npz")["ids"])
    epochs = {name: saved["packer"]["given"][name] / sizes[name] for name in SOURCES}
    return saved, MIX, epochs


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--run", type=Path)
    o = parser.parse_args()
    o.run = o.run or o.work / "run"
    saved, mix, epochs = measured(o.work, o.run)
    log, options = saved["log"], saved["options"]
    stats = json.loads((o.work / "corpus" / "stats.json").read_text())
    drawn = json.loads((o.work / "samples.json").read_text())
    config = json.loads((o.model / "config.json").read_text())
    parameters = json.loads((o.run / "curve.json").read_text())["parameters"]
    compared = json.loads((o.work / "compare.json").read_text()) if (o.work / "compare.json").exists() else None
    last = [e for e in log if "tiny_bpb" in e][-1]
    end = {"step": saved["step"], "tokens": saved["step"] * int(options["rows"]) * int(options["length"]), "seconds": saved["seconds"]}
    finished = end["step"] >= int(options["steps"])
    (o.model / "curve.svg").write_text(curve(log))
    stories = json.loads((o.work / "corpus" / "attribution.json").read_text())
    (o.model / "ATTRIBUTION.json").write_text(json.dumps(
        [{k: v for k, v in s.items() if v and k in ("title", "author", "translation", "licence", "repo", "path")} for s in stories],
        ensure_ascii=False, separators=(",", ":")) + "\n")

    bits = ["| windows of the text | model | parameters | bits per byte | of the last |", "|---|---|---:|---:|---:|"]
    if compared:
        for kind, found in compared["kinds"].items():
            for name, value in found["bits_per_byte"].items():
                bits.append(f"| {number(found['windows'])} {kind} | {name} | {number(compared['parameters'][name])} | {value:.4f} | {found['ratio'][name]:.3f} |")
        bits.append(f"\nThe text is {compared['text']}, in windows of {compared['window_bytes']} bytes, each scored from a begin token; all of it was computed in one run of `compare.py`. "
                    "stories-3m has only ever seen a begin token at the start of a document or of a paragraph, and pays for it where a window is cut inside a word.")
    bits.append(f"\nAt the last evaluation of the training run (step {number(last['step'])} of {number(end['step'])}): {last['tiny_bpb']:.3f} bits per byte on every sixteenth of those windows, "
                f"{last['books_bpb']:.3f} on {stats['valid_storybook_documents']} storybooks kept out of training.")
    results = "\n".join(bits)

    recipe = (f"{number(end['step'])} steps, {end['tokens'] / 1e6:.1f} million tokens, {end['seconds'] / 60:.0f} minutes on two CPU cores that others used too. "
              f"{cycles(log)} "
              if finished else f"**An early checkpoint**: {number(end['step'])} steps, {end['tokens'] / 1e6:.1f} million tokens; the training goes on. ")
    recipe += (f"{options['rows']} rows of {options['length']} tokens a step (in the decay half as many rows, twice as long); Muon at {options['muon_lr']} for the matrices of the layers, "
               f"AdamW at {options['lr']} for the embedding and the norms; warm-up of {options['warmup']} steps, clip at 1, bf16 autocast, seed {options['seed']}.")
    if "average" in saved:
        recipe += (f" The last part was trained with dropout {options['dropout']} and weight decay {options['weight_decay']} on the matrices, because each story had been "
                   "read several times by then. What is published is the mean of five sets of weights along the last cycles (`run.sh` names them), with the last norm scaled so "
                   "that the loss on the held-out storybooks is least.")
    sampled = "\n\n".join(f"{i}. **{s['start']}**{s['text'].rstrip()}".replace("\n", "\n   ") for i, s in enumerate(drawn["stories"], 1))
    chats = "\n".join(f"| {t['user'].strip()} | {t['assistant'].strip()} |".replace("\n", "<br>") for t in drawn["turns"])
    card = f"""---
license: mit
language: en
library_name: transformers
pipeline_tag: text-generation
---

# stories-3m

A small language model that writes short children's stories in simple English and knows the form of a question and an
answer. It is made to be fine-tuned in a web page. {number(parameters)} parameters, made by the scripts in `scripts/pretrain`.

| | |
|---|---|
| architecture | Llama: hidden {config['hidden_size']}, {config['num_hidden_layers']} layers, {config['num_attention_heads']} heads / {config['num_key_value_heads']} key-value heads, feed-forward {config['intermediate_size']}, tied embedding |
| vocabulary | {number(config['vocab_size'])}, byte-level BPE, each digit a token; `<\\|begin\\|>` `<\\|end\\|>` `<\\|pad\\|>` `<\\|user\\|>` `<\\|assistant\\|>` `<\\|system\\|>` |
| context | {config['max_position_embeddings']} tokens |
| weights | f16, {number((o.model / 'model.safetensors').stat().st_size)} bytes |
| chat form | `<\\|begin\\|><\\|user\\|>question<\\|end\\|><\\|assistant\\|>answer<\\|end\\|>` |

## What it cannot do

It knows little about the world, reasons hardly at all and is often wrong with confidence. Its arithmetic is poor. It
loses the thread after a hundred words or so, mixes up who did what, and repeats itself when drawn greedily. It writes
English only. Older books in its data carry the views of their time; nothing was done to filter what it may say. Use it to
learn how fine-tuning works, not for answers that anyone relies on.

## Held-out results

{results}

## Data

{data_table(stats, mix, epochs)}

- TinyStories samples (machine-written stories by Eldan and Li, 2023): licence CDLA-Sharing-1.0. Stories that share text with
  the validation file were left out ({stats.get('tiny_in_validation', 0)}), and so were duplicates ({number(stats.get('tiny_duplicate', 0))}).
- Storybooks of the African Storybook, Pratham Books / StoryWeaver and Book Dash projects: CC-BY. `ATTRIBUTION.json` names
  title and author of every one of the {len(stories)}.
- Older children's books, public domain in the United States, from collections of Project Gutenberg texts. Title pages,
  contents, prefaces, notes and adverts were cut; {number(stats.get('old_duplicate_paragraph', 0))} paragraphs that occur twice were dropped.
- Turns: written by `turns.py`, a generator of this project (word lists, fixed answers, and tasks around the stories above).

The validation file `tinystories-794k.txt` was never trained on. The weights are under the MIT licence.

## Recipe

{recipe}

![Training loss and held-out bits per byte](curve.svg)

## Ten unselected samples

Drawn by `samples.py` at temperature {drawn['temperature']}, without top-k or top-p, seed {drawn['seed']} and up; none was dropped or retried. The start that
was given is in bold; each goes on for at most 160 tokens.

{sampled}

## A fixed list of turns, drawn greedily

| asked | answered |
|---|---|
{chats}
"""
    (o.model / "README.md").write_text(card)
    (ROOT / "docs" / "model.md").write_text(f"""# The bundled model

`public/models/stories-3m` is a Llama of {number(parameters)} parameters that this project trains itself, so that the page works the
moment it opens, with nothing fetched from a third party. Its card (`public/models/stories-3m/README.md`) has the data, the
licences, the recipe, the curve and ten unselected samples.

## Held-out text

<!-- prettier-ignore-start -->

{results}

<!-- prettier-ignore-end -->

## Make it again

```
pip install -r scripts/pretrain/requirements.txt
CORPORA=path/to/corpora REFERENCE=path/to/tinystories-656K scripts/pretrain/run.sh
```

The comparison alone, on the published folder:

```
python scripts/pretrain/compare.py --text path/to/tinystories-794k.txt public/models/stories-3m path/to/tinystories-656K
```

`scripts/pretrain/README.md` says what each stage does and how to stop and go on.
""")
    files = [{"name": f.name, "bytes": f.stat().st_size} for f in sorted(o.model.iterdir())]
    index = o.model.parent / "index.json"
    entry = {"id": "stories-3m", "name": "Stories 3M", "path": "models/stories-3m", "parameters": parameters,
             "bytes": sum(f["bytes"] for f in files), "licence": "MIT",
             "description": "Writes short children's stories and answers simple questions. Small enough to fine-tune in minutes on any machine.",
             "files": files}
    entries = [e for e in json.loads(index.read_text())] if index.exists() else []
    index.write_text(json.dumps([entry] + [e for e in entries if e["id"] != entry["id"]], indent=2) + "\n")
    print(f"{entry['bytes']:,} bytes in {len(files)} files")


if __name__ == "__main__":
    main()
