"""Writes every sample dataset and their index; refuses rows that fail the checks of common.py.

python make.py
"""
import json
import runpy
from pathlib import Path

from cards import CARDS, SETTINGS
from common import FOLDER

HERE = Path(__file__).resolve().parent


def main():
    index = []
    for card in CARDS:
        runpy.run_path(str(HERE / (card["id"].replace("-", "_") + ".py")), run_name="__main__")
        path = FOLDER / f"{card['id']}.jsonl"
        index.append({
            "id": card["id"], "name": card["name"], "file": path.name, "rows": sum(1 for _ in open(path, encoding="utf-8")),
            "bytes": path.stat().st_size, "format": card["format"], "description": card["description"], "licence": "MIT",
            "samplePrompt": card["samplePrompt"], "morePrompts": card["more"], "metric": card["metric"],
            "suggested": {**SETTINGS, **card.get("suggested", {})},
        })
    (FOLDER / "index.json").write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
