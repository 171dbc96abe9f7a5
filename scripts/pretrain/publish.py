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
from train import bits_per_byte
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


def weights_of(path):
    """The running average of a checkpoint where it has one, else its weights; or a file of weights."""
    saved = torch.load(path, weights_only=False)
    return saved.get("average") or saved.get("model") or saved


@torch.no_grad()
def calibrate(model, rows, size):
    """Scales the last norm, and so all logits, to the least loss on the held-out storybooks (Guo et al. 2017, "On Calibration of
    Modern Neural Networks"): a model that read its stories several times is too sure of itself."""
    scale, found = model.model.norm.weight.clone(), {}
    for percent in range(80, 122, 2):
        model.model.norm.weight.copy_(scale * percent / 100)
        found[percent] = bits_per_byte(model, rows, size)
    best = min(found, key=found.get)
    model.model.norm.weight.copy_(scale * best / 100)
    print(f"logits times {best / 100}: {found[best]:.4f} bits per byte on the held-out storybooks, {found[100]:.4f} as trained")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="encoded corpus, whose held-out storybooks the confidence is set on")
    parser.add_argument("--with", dest="others", type=Path, nargs="*", default=[], help="weights that are averaged with the run's, all with the same share")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    saved = torch.load(o.run / "checkpoint.pt", weights_only=False)
    model = Llama(Shape())
    members = [weights_of(path) for path in (o.run / "checkpoint.pt", *o.others)]
    model.load_state_dict({name: sum(m[name] for m in members) / len(members) for name in members[0]})
    if o.data:
        calibrate(model, *torch.load(o.data / "valid.pt")["books"])
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
