"""General text for replay: everyday stories told by the bundled model itself, so that training on a share of them holds it
where it was; refuses stories that break off or repeat themselves.

Needs torch and transformers.
"""
import re

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import FOLDER, write

MODEL = FOLDER.parent / "models" / "stories-3m"
WHO = ["a girl named Mia", "a boy named Sam", "an old woman", "a small dog", "a tired farmer", "two brothers", "a brown bear",
       "a kind teacher", "a little bird", "the youngest duck", "a fisherman", "a grey cat", "Anna and her father", "a shy mouse"]
OPENINGS = ["Once upon a time there was {}.", "One morning {} went out early.", "It was raining, and {} stayed at home.",
            "In a house by the sea lived {}.", "Every evening {} looked out of the window.", "On the way to the market {} saw something.",
            "It was the first day of winter, and {} was happy."]


def whole(text):
    """Up to the last sentence that ends."""
    end = max(text.rfind(mark) for mark in (". ", ".\n", '." ', ".", '."'))
    return re.sub(r"\s+\n|\n\s+", "\n", text[: end + 1]).strip() if end > 0 else ""


def fair(text):
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+", text)]
    return len(text) >= 250 and len(set(sentences)) == len(sentences) and "  " not in text and text.count('"') % 2 == 0


def main():
    torch.manual_seed(11)
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(MODEL, padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(MODEL).eval()
    prompts = [opening.format(who) for opening in OPENINGS for who in WHO] * 4
    rows = []
    for at in range(0, len(prompts), 56):
        batch = tokenizer(prompts[at : at + 56], return_tensors="pt", padding=True)
        with torch.no_grad():
            out = model.generate(input_ids=batch.input_ids, attention_mask=batch.attention_mask, do_sample=True, temperature=0.75,
                                 top_k=40, max_new_tokens=150, pad_token_id=tokenizer.eos_token_id)
        for line in tokenizer.batch_decode(out, skip_special_tokens=True):
            text = whole(line.strip())
            if fair(text):
                rows.append({"text": text})
        print(at, len(rows), flush=True)
    write("everyday-stories", rows, seed=11, count=240)


main()
