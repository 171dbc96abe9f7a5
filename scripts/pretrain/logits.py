"""Prints transformers' f32 logits at the last position of a prompt as JSON, for conformance tests; refuses to sample.

python logits.py MODEL_DIR PROMPT [--chat]
"""
import argparse
import json

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("model")
parser.add_argument("prompt")
parser.add_argument("--chat", action="store_true", help="put the prompt into a user turn first")
o = parser.parse_args()
tokenizer = AutoTokenizer.from_pretrained(o.model)
model = AutoModelForCausalLM.from_pretrained(o.model, dtype=torch.float32).eval()
if o.chat:
    text = tokenizer.apply_chat_template([{"role": "user", "content": o.prompt}], add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False).input_ids
else:
    ids = tokenizer(o.prompt).input_ids
with torch.no_grad():
    logits = model(torch.tensor([ids])).logits[0, -1]
print(json.dumps({"ids": ids, "logits": [float(f"{x:.7g}") for x in logits.tolist()]}))
