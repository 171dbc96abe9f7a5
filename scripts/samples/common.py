"""What the sample generators share: seeded picking without repeats, writing JSONL, and checks; refuses files with duplicate or conflicting rows."""
import json
import random
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "public" / "datasets"


def chat(user, assistant, **more):
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}], **more}


def question(row):
    """The part of a row that is given, as plain text; None for rows that are text as a whole."""
    if "messages" in row:
        return "\n".join(m["content"] for m in row["messages"][:-1])
    if "chosen" in row:
        return row["prompt"][-1]["content"]
    return row["text"] if "label" in row else None


def answer(row):
    if "messages" in row:
        return row["messages"][-1]["content"]
    return row["chosen"][-1]["content"] if "chosen" in row else row.get("label", row.get("text"))


def same(text):
    return re.sub(r"\W+", " ", text.lower()).strip()


def check(name, rows, least=200, most=2000):
    """Stops with the reason where a person would stumble over the rows."""
    if not least <= len(rows) <= most:
        raise SystemExit(f"{name}: {len(rows)} rows")
    seen = {}
    for number, row in enumerate(rows, 1):
        for value in (question(row), answer(row)):
            if value is not None and (value != value.strip() or not value or re.search(r"  |\{\w*\}|\bNone\b|\ba [aeio]|[.!?]\.(?!\.)|,,", value) and not value.startswith("{")):
                raise SystemExit(f"{name}:{number}: look at {value!r}")
        mark = same(question(row) or row["text"])
        if mark in seen:
            raise SystemExit(f"{name}:{number}: the same question as row {seen[mark]}: {mark!r}")
        seen[mark] = number


def write(name, rows, seed, count=None):
    """Shuffles with the seed, keeps at most `count`, checks and writes NAME.jsonl."""
    unique = {}
    for row in rows:
        unique.setdefault(same(question(row) or row["text"]), row)
    rows = list(unique.values())
    random.Random(seed).shuffle(rows)
    rows = rows[:count]
    check(name, rows)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / f"{name}.jsonl", "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    words = sum(len((question(r) or "").split()) + len(answer(r).split()) for r in rows) / len(rows)
    print(f"{name:15} {len(rows):5} rows, {words:.0f} words a row on average")
