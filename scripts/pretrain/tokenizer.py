"""Trains the byte-level BPE tokenizer on the cleaned corpus and writes it in Hugging Face form; refuses to change its ids later.

python tokenizer.py --corpus DIR --turns FILE --out DIR
"""
import argparse
import json
import random
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SIZE = 4096
SPECIAL = ["<|pad|>", "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
PAD, BEGIN, END, USER, ASSISTANT, SYSTEM = range(6)
CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|' + message['role'] + '|>' + message['content'] | trim + eos_token }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)


def train(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", BEGIN)])
    return tokenizer


def save(tokenizer, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "added_tokens_decoder": {
            str(index): {"content": token, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
            for index, token in enumerate(SPECIAL)
        },
        "bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|pad|>",
        "additional_special_tokens": SPECIAL[3:],
        "clean_up_tokenization_spaces": False, "model_max_length": 512,
        "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def load(folder):
    return Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))


def encode_turns(tokenizer, rows):
    """Ids of chats, laid out as the chat template does."""
    role = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM}
    flat = [message["content"].strip() for row in rows for message in row["messages"]]
    encoded = iter(tokenizer.encode_batch(flat, add_special_tokens=False))
    for row in rows:
        ids = [BEGIN]
        for message in row["messages"]:
            ids += [role[message["role"]], *next(encoded).ids, END]
        yield ids


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--turns", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rng = random.Random(7)
    texts = []
    for row in map(json.loads, open(options.corpus / "train.jsonl", encoding="utf-8")):
        # All modern text; a sixth of the older books, so that their vocabulary does not crowd out plain words.
        if row["source"] != "old" or rng.random() < (0.2, 0.15, 0.1)[row["tier"]]:
            texts.append(row["text"])
    for row in map(json.loads, open(options.turns, encoding="utf-8")):
        if not row["task"].endswith("story"):
            texts += [message["content"] for message in row["messages"]]
    made = train(texts)
    save(made, options.out)
    print(made.get_vocab_size(), "tokens from", len(texts), "texts")
