"""Records GGUF models and what transformers makes of them, for tests/golden/gguf-models. Written with the gguf package alone: llama.cpp's
names and row order are put down here a second time. Refuses to write anything else.

    .venv/bin/python scripts/golden/record_gguf_models.py
"""

import base64
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "golden" / "gguf-models"
IDS = [1, 5, 17, 40, 90, 3, 8, 60, 77, 2, 100, 33]
TEXTS = ["the cat sat", " Hello,  world!", "12 × ½ = 6\n", "</s>end", ""]
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}


def place(name):
    module, ending = name.rsplit(".", 1)
    if module.startswith("model.layers."):
        _, _, number, rest = module.split(".", 3)
        return f"blk.{number}.{NAMES[rest]}.{ending}"
    return f"{NAMES[module]}.{ending}"


def permute(weights, heads):
    """llama.cpp's converter: the two halves of each head interleaved."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def write(folder, path, kind):
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    arch = config["model_type"]
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base((config.get("rope_parameters") or config)["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    if arch == "llama":
        writer.add_rope_dimension_count(config["head_dim"])
    vocab = {id: token for token, id in tokenizer["model"]["vocab"].items()}
    special = {token["id"] for token in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([vocab.get(i, f"[PAD{i}]") for i in range(config["vocab_size"])])
    writer.add_token_types([(3 if i in special else 1) if i in vocab else 5 for i in range(config["vocab_size"])])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(True)
    for name, tensor in load_file(folder / "model.safetensors").items():
        values = tensor.float().numpy()
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            values = permute(values, heads if "q_proj" in name else kv)
        if values.ndim < 2:
            writer.add_tensor(place(name), values)
        elif values.shape[1] % 32:
            writer.add_tensor(place(name), values.astype(np.float16))
        else:
            writer.add_tensor(place(name), gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    OUT.mkdir(exist_ok=True)
    golden = {"ids": IDS, "texts": TEXTS, "models": {}}
    for case, kind in (("llama-gqa-tied", "Q4_0"), ("qwen2", "Q4_0"), ("llama-gqa-tied", "Q8_0")):
        name = f"{case}-{kind.lower()}"
        write(ROOT / "tests" / "golden" / case, OUT / f"{name}.gguf", gguf.GGMLQuantizationType[kind])
        model = AutoModelForCausalLM.from_pretrained(OUT, gguf_file=f"{name}.gguf", dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            logits = model(torch.tensor([IDS])).logits[0].numpy().astype(np.float32)
        tokenizer = AutoTokenizer.from_pretrained(OUT, gguf_file=f"{name}.gguf")
        golden["models"][name] = {
            "logits": base64.b64encode(logits.tobytes()).decode(),
            "tokens": [tokenizer(text).input_ids for text in TEXTS],
        }
    (OUT / "golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


main()
