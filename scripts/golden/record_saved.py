"""Records tests/golden/saved/: PEFT adapters with modules_to_save on the tiny checkpoints that record.py made, and the logits they give.

Run it after record.py, as `python scripts/golden/record_saved.py`. It refuses to make checkpoints of its own.
"""

import json
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file

from recording import GOLDEN, empty_folder, load

OUT = GOLDEN / "saved"
# name -> (case, LoRA targets, modules_to_save, whether a tied head follows the embeddings)
VARIANTS = {
    "untied": ("llama-untied-llama3-rope", ["q_proj", "down_proj"], ["embed_tokens", "lm_head", "norm"], False),
    "tied-embeddings": ("llama-gqa-tied", ["q_proj"], ["embed_tokens"], False),
    "tied-both": ("llama-gqa-tied", ["q_proj"], ["embed_tokens", "lm_head"], False),
    "tied-together": ("llama-gqa-tied", ["q_proj"], ["embed_tokens"], True),
    "gpt2": ("gpt2", ["c_attn"], ["wte", "ln_f"], False),
}


def record(name):
    case, targets, saved, tying = VARIANTS[name]
    folder = empty_folder(OUT / name)
    torch.manual_seed(7)
    extra = {"ensure_weight_tying": True} if tying else {}
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=targets, modules_to_save=saved, fan_in_fan_out=case == "gpt2", **extra)
    model = get_peft_model(load(case), config)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_" in key or "modules_to_save" in key:
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    config_file = folder / "adapter_config.json"
    settings = json.loads(config_file.read_text()) | {"base_model_name_or_path": case}
    config_file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    again = PeftModel.from_pretrained(load(case), folder).eval()
    ids = torch.arange(3, 27)[None] * 5 % model.config.vocab_size
    with torch.no_grad():
        logits, kept = again(ids).logits[0], model.eval()(ids).logits[0]
        assert torch.equal(logits, kept), (logits - kept).abs().max()
    save_file({"ids": ids[0].to(torch.int32), "logits": logits.contiguous()}, folder / "golden.safetensors")


warnings.filterwarnings("ignore")
for one in VARIANTS:
    record(one)
