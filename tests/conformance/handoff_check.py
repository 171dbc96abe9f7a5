"""Checks hand-offs (`finetab handoff`) with the tools they are for: `python handoff_check.py DIR...`; a JSON line for each check on stdout.

TRL, PEFT, datasets and Ray build what the files say. LLaMA-Factory and mlx-lm do not install everywhere: of them, the option names are checked
(LLaMA-Factory 0.9.4's own arguments are listed here; the rest of its options are transformers').
"""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from checks import check, require

FACTORY = set(
    """model_name_or_path adapter_name_or_path quantization_method quantization_bit quantization_type template dataset eval_dataset dataset_dir
    cutoff_len train_on_prompt mask_history val_size packing neat_packing lora_alpha lora_dropout lora_rank lora_target loraplus_lr_ratio use_rslora use_dora
    pissa_init pissa_iter stage finetuning_type disable_shuffling early_stopping_steps plot_loss use_muon pref_beta pref_loss pref_ftx
    dpo_label_smoothing warmup_ratio group_by_length do_train dataset_dir""".split()
)
MLX = set(
    """model train fine_tune_type optimizer optimizer_config data seed num_layers batch_size iters val_batches learning_rate steps_per_report
    steps_per_eval grad_accumulation_steps resume_adapter_file adapter_path save_every test test_batches max_seq_length grad_checkpoint
    lr_schedule lora_parameters mask_prompt""".split()
)


def one(folder):
    job = json.loads((folder / "job.json").read_text())
    everywhere = job["method"] in ("lora", "full")
    readme = (folder / "README.md").read_text()
    name = folder.name

    @check(f"{name}: TRL and PEFT build the configurations")
    def _():
        run = subprocess.run([sys.executable, "train_trl.py", "--check"], cwd=folder, capture_output=True, text=True)
        require(run.returncode == 0, run.stderr[-800:])
        sys.path.insert(0, str(folder))
        spec = importlib.util.spec_from_file_location(f"trl_{name}", folder / "train_trl.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        args, lora = script.configs()
        require(type(args).__name__ == f"{job['objective'].upper()}Config", type(args).__name__)
        require(args.learning_rate == job["learningRate"] and args.seed == job["seed"] and args.max_length == job["maxLength"], "settings")
        require(args.per_device_train_batch_size == job["batchSize"] and args.max_grad_norm == job["clip"], "batch size or clip")
        if job["method"] != "lora":
            kind = {"ia3": "IA3Config", "prompt": "PromptTuningConfig", "prefix": "PrefixTuningConfig"}[job["method"]]
            require(type(lora).__name__ == kind, type(lora).__name__)
            if job["method"] == "ia3":
                require(lora.target_modules == {"k_proj", "v_proj", "down_proj"} and lora.feedforward_modules == {"down_proj"}, "layers")
            else:
                require(lora.num_virtual_tokens == job["virtualTokens"], "virtual tokens")
            return f"{len(script.OPTIONS)} options of TRL, {len(script.PEFT)} of PEFT"
        targets = "all-linear" if len(job["targets"]) == 7 else set(job["targets"])
        require(lora.r == job["rank"] and lora.lora_alpha == job["alpha"] and lora.target_modules == targets, "LoRA")
        require(lora.use_rslora == job["rslora"] and lora.use_dora == job["dora"], "kind of LoRA")
        require((lora.init_lora_weights == "pissa") == (job["loraInit"] == "pissa") and bool(lora.rank_pattern) == bool(job["rankPattern"]), "LoRA")
        return f"{len(script.OPTIONS)} options of TRL, {len(script.PEFT)} of PEFT"

    if job["quantization"] == "none" and job["steps"] == 2 and importlib.util.find_spec("trl"):

        @check(f"{name}: TRL trains two steps")
        def _():
            run = subprocess.run([sys.executable, "train_trl.py"], cwd=folder, capture_output=True, text=True)
            require(run.returncode == 0, run.stderr[-1500:])
            require((folder / "out-trl" / "adapter_model.safetensors").exists(), "no adapter was saved")
            losses = re.findall(r"'loss': '?([\d.]+)", run.stdout)
            require(len(losses) == 2, run.stdout[-500:])
            return f"losses {', '.join(losses)}"

    @check(f"{name}: datasets reads the rows, and dataset_info.json names their columns")
    def _():
        from datasets import load_dataset

        info = json.loads((folder / "data" / "dataset_info.json").read_text())
        counts = []
        for entry in info.values():
            rows = load_dataset("json", data_files=str(folder / "data" / entry["file_name"]), split="train")
            require(set(entry["columns"].values()) <= set(rows.column_names), f"{rows.column_names}")
            require(entry.get("ranking", False) == (job["objective"] in ("dpo", "orpo")), "ranking")
            counts.append(len(rows))
        return f"{counts} rows"

    @check(f"{name}: LLaMA-Factory's option names")
    def _():
        if not everywhere:
            require(not (folder / "llama_factory.yaml").exists(), "LLaMA-Factory has no such method")
            return "LLaMA-Factory has no such method, and gets no file"
        from transformers import Seq2SeqTrainingArguments

        options = yaml.safe_load((folder / "llama_factory.yaml").read_text())
        known = FACTORY | {field.name for field in dataclasses.fields(Seq2SeqTrainingArguments)}
        require(options.keys() <= known, f"unknown: {options.keys() - known}")
        require(options["learning_rate"] == job["learningRate"] and options["lora_rank"] == job["rank"], "settings")
        require(options["cutoff_len"] == job["maxLength"] and options.get("train_on_prompt", False) == (job["trainOn"] == "all"), "settings")
        require(options["stage"] == {"sft": "sft", "kto": "kto"}.get(job["objective"], "dpo"), options["stage"])
        shared = {key: value for key, value in options.items() if key not in FACTORY}
        Seq2SeqTrainingArguments(**shared)
        return f"{len(options)} options, {len(shared)} of them built by transformers"

    @check(f"{name}: mlx-lm's option names")
    def _():
        if job["objective"] != "sft" or not everywhere:
            require(not (folder / "mlx_lora.yaml").exists(), "mlx-lm learns answers only")
            return "mlx-lm has no such method or objective, and gets no file"
        options = yaml.safe_load((folder / "mlx_lora.yaml").read_text())
        require(options.keys() <= MLX, f"unknown: {options.keys() - MLX}")
        lora = options["lora_parameters"]
        scale = job["alpha"] / (job["rank"] ** 0.5 if job["rslora"] else job["rank"])
        require(lora["rank"] == job["rank"] and abs(lora["scale"] - scale) < 1e-9, "LoRA")
        require(isinstance(options["learning_rate"], float) and options["data"] == "data", "settings")
        return f"{len(options)} options"

    @check(f"{name}: Ray Tune draws from the search space")
    def _():
        spec = importlib.util.spec_from_file_location(f"ray_{name}", folder / "ray_tune.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        from ray.tune.search.variant_generator import generate_variants

        rates = []
        for _ in range(8):
            for _, variant in generate_variants(script.SEARCH_SPACE):
                rates.append(variant["learning_rate"])
                require(variant.get("r", 1) >= 1 and variant["per_device_train_batch_size"] >= 1, "draws")
        require(all(job["learningRate"] / 10.01 <= rate <= job["learningRate"] * 10.01 for rate in rates), "learning rates")
        return f"{len(rates)} draws"

    @check(f"{name}: every setting is carried over or listed")
    def _():
        table = [line.split(" | ") for line in readme.split("## Where every setting went")[1].splitlines() if line.startswith("| ")][2:]
        require(len(table) == len(job), f"{len(table)} of {len(job)} settings")
        files = ("llama_factory.yaml", "mlx_lora.yaml", "train_trl.py")
        yml, mlx, script = ((folder / file).read_text() if (folder / file).exists() else None for file in files)
        lost = 0
        for row in table:
            for text, where in zip((cell.rstrip(' |') for cell in row[2:]), (yml, script, mlx) if everywhere else (script,), strict=True):
                if where is None:
                    continue
                if text.startswith("no equivalent"):
                    require(f"# - {row[0].removeprefix('| ')} (" in where, f"{row[0]} is not named in the file")
                for option in re.findall(r"`(\w+)`", text):
                    replaced = {"completion_only_loss": "assistant_only_loss"}.get(option, option)
                    require(option in where or replaced in where or option.startswith(("eval_", "load_best", "metric_for", "greater", "early")), f"{option} is not there")
                lost += text.startswith("no equivalent")
        return f"{len(table)} settings, {lost} without equivalent"


os.environ.setdefault("HF_HUB_OFFLINE", "1")
for path in sys.argv[1:]:
    one(Path(path).resolve())
