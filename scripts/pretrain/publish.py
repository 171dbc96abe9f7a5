"""Writes the trained weights as a Hugging Face folder in f16 and proves that it loads; refuses a folder of 8 MB or more.

python publish.py --run DIR --tokenizer DIR --out DIR
"""
import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from model import Llama, Shape
from tokenizer import BEGIN, END, PAD, save as save_tokenizer, load as load_tokenizer

LIMIT = 8_000_000


def config(shape):
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": PAD, "hidden_act": "silu", "head_dim": shape.head_dim,
        "hidden_size": shape.hidden_size, "initializer_range": 0.02, "intermediate_size": shape.intermediate_size,
        "max_position_embeddings": shape.max_position_embeddings, "mlp_bias": False,
        "num_attention_heads": shape.num_attention_heads, "num_hidden_layers": shape.num_hidden_layers,
        "num_key_value_heads": shape.num_key_value_heads, "rms_norm_eps": shape.rms_norm_eps, "rope_scaling": None,
        "rope_theta": shape.rope_theta, "tie_word_embeddings": True, "torch_dtype": "float16", "use_cache": True,
        "vocab_size": shape.vocab_size,
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    saved = torch.load(o.run / "checkpoint.pt", weights_only=False)
    model = Llama(Shape())
    model.load_state_dict(saved["model"])
    weights = {name: p.detach().half().contiguous() for name, p in model.named_parameters()}
    worst = max(w.abs().max().item() for w in weights.values())
    if not worst < 60000:
        raise SystemExit(f"a weight of {worst} does not fit f16")
    save_file(weights, o.out / "model.safetensors", metadata={"format": "pt"})
    write_json(o.out / "config.json", config(model.shape))
    write_json(o.out / "generation_config.json", {"bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": PAD,
                                                  "do_sample": True, "temperature": 0.8, "top_p": 0.95, "max_new_tokens": 200})
    (o.out / "model.safetensors").chmod(0o644)
    save_tokenizer(load_tokenizer(o.tokenizer), o.out)

    from transformers import AutoModelForCausalLM, AutoTokenizer
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(o.out, dtype=torch.float32), AutoTokenizer.from_pretrained(o.out)
    ids = tokenizer("Once upon a time, there was a little frog", return_tensors="pt").input_ids
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.half().float())
        gap = (theirs(ids).logits - model(ids)).abs().max().item()
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hello."}], add_generation_prompt=True, tokenize=False)
    if gap > 1e-3 or chat != "<|begin|><|user|>Hello.<|end|><|assistant|>" or ids[0, 0] != BEGIN:
        raise SystemExit(f"the published folder does not behave like the model (logit gap {gap}, chat {chat!r})")
    size = sum(f.stat().st_size for f in o.out.iterdir())
    if size >= LIMIT:
        raise SystemExit(f"{size} bytes: over the limit of {LIMIT}")
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {size:,} bytes, step {saved['step']}, transformers differs by {gap:.1e}")


if __name__ == "__main__":
    main()
