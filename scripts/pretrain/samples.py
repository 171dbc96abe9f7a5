"""Draws ten unselected stories and the answers to a fixed list of turns from a published folder; refuses to drop or retry any.

python samples.py --model DIR --out FILE [--seed S]
"""
import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

STARTS = ["Once upon a time", "One day, a little girl named Lily", "There was a small frog who", "Tom and his dog",
          "The old man lived", "In a big forest, there was a bear", "It was raining and", "Mia wanted to bake a cake",
          "The little boat", "One night, the moon"]
TURNS = ["Hello!", "Who are you?", "Count to ten.", "List three animals.", "What is the opposite of hot?", "What colour is grass?",
         "Mia has a red ball. Tom has a blue kite. Who has the kite?", "What kind of word is apple: tool, fruit or job?",
         "Turn this into JSON.\nRosa is 7 years old.", "Change red to green.\nThe red hat belongs to Ben.",
         "Tell me a story about a cat.", "Why do we sleep?"]


def draw(model, tokenizer, text, tokens, seed, temperature):
    torch.manual_seed(seed)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    sampling = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0} if temperature else {"do_sample": False, "temperature": None, "top_p": None}
    out = model.generate(ids, max_new_tokens=tokens, pad_token_id=0, **sampling)[0, ids.shape[1]:]
    return tokenizer.decode(out, skip_special_tokens=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    tokenizer = AutoTokenizer.from_pretrained(o.model)
    model = AutoModelForCausalLM.from_pretrained(o.model, dtype=torch.float32).eval()
    report = {"seed": o.seed, "temperature": 0.8, "stories": [], "turns": []}
    for i, start in enumerate(STARTS):
        report["stories"].append({"start": start, "text": draw(model, tokenizer, "<|begin|>" + start, 160, o.seed + i, 0.8)})
        print(f"{i + 1}. {start}|{report['stories'][-1]['text']}\n")
    for turn in TURNS:
        text = tokenizer.apply_chat_template([{"role": "user", "content": turn}], add_generation_prompt=True, tokenize=False)
        report["turns"].append({"user": turn, "assistant": draw(model, tokenizer, text, 120, o.seed, 0)})
        print(f"> {turn}\n{report['turns'][-1]['assistant']}\n")
    if o.out:
        o.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
