"""Reads the story corpora, cleans and deduplicates them into documents; refuses to put validation text into training.

python corpus.py --corpora DIR --out DIR

Writes train.jsonl (rows {source, tier, text}), valid-storybooks.jsonl, attribution.json and stats.json to --out.
Sources: `tiny` (TinyStories samples), `book` (CC-BY storybooks), `old` (public-domain children's books; tier 0 is the
plainest English, tier 2 the hardest, judged by how many words the two modern sources do not know).
"""
import argparse
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

VALIDATION = "tinystories-794k.txt"
DROP_SECTION = re.compile(
    r"^(contents|preface|introduction|introductory|foreword|list of|illustrations|notes?\b|footnotes?|appendix|index"
    r"|glossary|bibliography|advert|transcriber|preparer|dedication|to the reader|to my|editor|publisher|imprint"
    r"|about the author|colophon|phonic|suggestions to teachers|copyright|end of|the brothers grimm|slate|script|word list"
    r"|uncopyright|endnotes|translator|biograph|acknowledg)", re.I)
DROP_PARAGRAPH = re.compile(
    r"gutenberg|copyright|transcriber|illustrat(ed|ions?) by|all rights reserved|\bISBN\b|https?://|www\.|e-?text"
    r"|printed (in|by)|\bpublish(er|ed by)|price[, ]|\$\d|\bvol\. |12mo|8vo|_var\. lec", re.I)
PUNCTUATION = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2032": "'", "\u00b4": "'", "\u201a": "'", "\u201e": '"',
    "\u2026": "...", "\u00a0": " ", "\ufeff": "", "\u200b": "", "\u2028": "\n", "\u00ad": "", "\u2011": "-", "\u2010": "-",
})


def unmojibake(text):
    """Undoes UTF-8 that was once read as cp1252, sequence by sequence, leaving everything else as it is."""
    def fix(match):
        try:
            return match.group(0).encode("cp1252").decode("utf-8")
        except (UnicodeEncodeError, UnicodeDecodeError):
            return match.group(0)
    text = re.sub(r"â€[^\s\w\"',.!?]|Ã[\u0080-\u00bf]|Â[\u00a0-\u00bf]|â€", fix, text)
    return text.replace("â€\x9d", '"').replace("â€", '"')


def plain(text):
    """Straight quotes, spaced dashes, single spaces; keeps line breaks."""
    text = unmojibake(text).translate(PUNCTUATION)
    text = re.sub(r"\s*(\u2014|\u2013|--+)\s*", " - ", text)
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" *\n *", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def key(text):
    """A fingerprint that ignores case, spacing and punctuation."""
    return hashlib.md5(re.sub(r"[^a-z0-9]+", "", text.lower()).encode()).digest()


def words(text):
    return re.findall(r"[a-z']+", text.lower())


def shingles(text, size=8):
    found = words(text)
    return {" ".join(found[i:i + size]) for i in range(0, len(found) - size + 1)}


def tiny_stories(folder):
    """Stories of the two training files, in file order."""
    whole = (folder / "tinystories-decoded-val+test.txt").read_text(encoding="utf-8", errors="replace")
    for story in whole.split("<|endoftext|>"):
        yield plain(story)
    text = (folder / "tinystories-700k.txt").read_text(encoding="utf-8", errors="replace")
    # In this file a blank line parts paragraphs and a bare line break parts stories.
    for story in re.split(r"(?<=[^\n])\n(?=[^\n])", text.replace("\r", "")):
        yield plain(story)


def storybooks(folder):
    for story in (folder / "ccby-storybooks-en.txt").read_text(encoding="utf-8").split("<|endoftext|>"):
        yield plain(story)


def is_heading(paragraph):
    if paragraph.startswith("#"):
        return True
    if len(paragraph) > 90 or "\n\n" in paragraph:
        return False
    letters = [c for c in paragraph if c.isalpha()]
    if re.match(r"(chapter|lesson|book|part|story)\b", paragraph, re.I):
        return True
    return bool(letters) and sum(c.isupper() for c in letters) > 0.8 * len(letters)


def is_prose(paragraph):
    if DROP_PARAGRAPH.search(paragraph) or "[" in paragraph or "|" in paragraph or "\u00b7" in paragraph:
        return False
    letters = sum(c.isalpha() for c in paragraph)
    lower = sum(c.islower() for c in paragraph)
    return letters > 0.65 * len(paragraph) and lower > 0.8 * letters and sum(c.isdigit() for c in paragraph) < 0.04 * len(paragraph)


def book_sections(text):
    """Sections of running prose between headings; title pages, contents, prefaces, notes and adverts are left out."""
    text = text.replace("\r", "")
    text = re.sub(r"\[(Illustration|Footnote|Transcriber)[^\]]*\]", "", text)
    text = re.sub(r"\[\^?\d+\]|\{\d+\}|\*+|(?<!\w)_+|_+(?!\w)", "", text)
    section, dropping = [], True
    for raw in re.split(r"\n\s*\n", text):
        lines = [line.strip() for line in raw.strip("\n").split("\n")]
        verse = len(lines) > 1 and all(line.startswith(("  ", "\t", ">")) for line in raw.strip("\n").split("\n"))
        paragraph = ("\n" if verse else " ").join(lines).strip()
        if not paragraph:
            continue
        if is_heading(paragraph):
            if len(section) > 1:
                yield section
            section = []
            dropping = bool(DROP_SECTION.match(re.sub(r"^[#\W\dIVXLC]+(?=\W)|^#+\s*", "", paragraph).strip()))
            continue
        if dropping or not is_prose(paragraph):
            continue
        section.append(plain(re.sub(r"^\d+\.\s+", "", paragraph)))
    if len(section) > 1:
        yield section


def pieces(paragraphs, limit=1800):
    """Packs paragraphs into pieces of at most about `limit` characters."""
    piece, size = [], 0
    for paragraph in paragraphs:
        if piece and size + len(paragraph) > limit:
            yield "\n\n".join(piece)
            piece, size = [], 0
        piece.append(paragraph)
        size += len(paragraph)
    if piece:
        yield "\n\n".join(piece)


def build(corpora, out):
    out.mkdir(parents=True, exist_ok=True)
    held = (corpora / "tinystories-samples" / VALIDATION).read_text(encoding="utf-8")
    forbidden = shingles(plain(held))
    seen, rows, stats = set(), [], Counter()

    def clean_story(story, source, least):
        if len(story) < least or "\ufffd" in story:
            stats[source + "_short_or_broken"] += 1
            return None
        mark = key(story)
        if mark in seen:
            stats[source + "_duplicate"] += 1
            return None
        seen.add(mark)
        mine = shingles(story)
        if mine and len(mine & forbidden) > 0.25 * len(mine):
            stats[source + "_in_validation"] += 1
            return None
        return story

    for story in tiny_stories(corpora / "tinystories-samples"):
        story = clean_story(story, "tiny", 200)
        if story and story[0].isalpha() or story and story[0] == '"':
            rows.append({"source": "tiny", "tier": 0, "text": story})
    held_books = []
    for index, story in enumerate(storybooks(corpora / "ccby-storybooks")):
        story = clean_story(story, "book", 120)
        if story and index % 40 == 7:
            held_books.append({"source": "book", "tier": 0, "text": story})
        elif story:
            rows.append({"source": "book", "tier": 0, "text": story})

    known = Counter(word for row in rows for word in words(row["text"]))
    common = {word for word, count in known.items() if count >= 5}
    old = []
    files = sorted([*(corpora / "gutenberg-childrens").glob("*.txt"), *(corpora / "classic-childrens").glob("*.md")])
    for path in files:
        if path.name == "PROVENANCE.txt":
            continue
        for section in book_sections(path.read_text(encoding="utf-8", errors="replace")):
            fresh = []
            for paragraph in section:
                mark = key(paragraph)
                if len(paragraph) > 40 and mark in seen:
                    stats["old_duplicate_paragraph"] += 1
                    continue
                seen.add(mark)
                fresh.append(paragraph)
            for piece in pieces(fresh):
                if len(piece) >= 300:
                    found = words(piece)
                    old.append((sum(word not in common for word in found) / max(1, len(found)), piece))
    old.sort(key=lambda item: item[0])
    for index, (_, piece) in enumerate(old):
        rows.append({"source": "old", "tier": 3 * index // len(old), "text": piece})

    with open(out / "train.jsonl", "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    with open(out / "valid-storybooks.jsonl", "w", encoding="utf-8") as file:
        for row in held_books:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    (out / "attribution.json").write_bytes((corpora / "ccby-storybooks" / "ATTRIBUTION.json").read_bytes())
    for row in rows:
        name = row["source"] + (str(row["tier"]) if row["source"] == "old" else "")
        stats[name + "_documents"] += 1
        stats[name + "_bytes"] += len(row["text"].encode())
    stats["valid_storybook_documents"] = len(held_books)
    (out / "stats.json").write_text(json.dumps(dict(sorted(stats.items())), indent=1))
    return stats


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for name, value in sorted(build(options.corpora, options.out).items()):
        print(f"{name:28} {value:>12,}")
