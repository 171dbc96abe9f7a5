/** The Python of a hand-off: a TRL and PEFT script for accelerate, and a Ray Tune search around it. Refuses to run anything. */
import type { Job } from '../../../shared/job'

/** A value as Python writes it. */
function python(value: unknown): string {
  if (value === null || value === undefined) return 'None'
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (Array.isArray(value)) return `[${value.map(python).join(', ')}]`
  if (typeof value === 'object') {
    const entries = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${python(item)}`)
    return `{${entries.join(', ')}}`
  }
  return JSON.stringify(value)
}

function dictionary(values: Readonly<Record<string, unknown>>): string {
  const lines = Object.entries(values).map(([key, value]) => `    ${JSON.stringify(key)}: ${python(value)},`)
  return `{\n${lines.join('\n')}\n}`
}

const LOADING: Record<Job['quantization'], string> = {
  none: 'dict(dtype="auto")',
  f16: 'dict(dtype=torch.float16)',
  int8: 'dict(quantization_config=BitsAndBytesConfig(load_in_8bit=True))',
  nf4: 'dict(quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16))',
}

/** Makes a row of prompt and completion from a chat, so that only its last answer is learnt. */
const LAST_ANSWER = `def last_answer(row):
    messages = row["messages"]
    at = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
    return {"prompt": messages[:at], "completion": messages[at : at + 1]}


`

/** A script for `accelerate launch`. */
export function trlScript(input: {
  model: string
  sft: Readonly<Record<string, unknown>>
  lora: Readonly<Record<string, unknown>>
  job: Job
  kind: 'pair' | 'chat' | 'text'
  hasValid: boolean
}): string {
  const { model, sft, lora, job, kind, hasValid } = input
  const splits = kind === 'chat' && job.trainOn === 'last'
  const patience = hasValid ? job.earlyStop : 0
  return `"""Fine-tunes with TRL and PEFT: accelerate launch train_trl.py. With --check it only builds the configurations."""

import sys

import torch
from peft import LoraConfig
from trl import SFTConfig

MODEL = ${python(model)}
SFT = ${dictionary(sft)}
LORA = ${dictionary(lora)}
# Evaluations without a better loss after which the run ends; 0 is never.
PATIENCE = ${patience}


# Half precision needs a graphics card.
HARDWARE = {} if torch.cuda.is_available() or torch.backends.mps.is_available() else {"use_cpu": True, "bf16": False}


def configs(sft=None, lora=None):
    return SFTConfig(**{**HARDWARE, **SFT, **(sft or {})}), LoraConfig(**{**LORA, **(lora or {})})


def loading():
    from transformers import BitsAndBytesConfig  # noqa: F401

    return ${LOADING[job.quantization]}


${splits ? LAST_ANSWER : ''}def main(sft=None, lora=None, callbacks=()):
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, EarlyStoppingCallback
    from trl import SFTTrainer

    args, peft_config = configs(sft, lora)
    files = {"train": "data/train.jsonl"${hasValid ? ', "valid": "data/valid.jsonl"' : ''}}
    data = load_dataset("json", data_files=files)${splits ? '.map(last_answer, remove_columns=["messages"])' : ''}
    stop = [EarlyStoppingCallback(early_stopping_patience=PATIENCE)] if PATIENCE else []
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(MODEL, **loading()),
        args=args,
        train_dataset=data["train"],
        eval_dataset=data.get("valid"),
        processing_class=AutoTokenizer.from_pretrained(MODEL),
        peft_config=peft_config,
        callbacks=[*stop, *callbacks],
    )
    trainer.train()
    trainer.save_model()
    return trainer


if __name__ == "__main__":
    if "--check" in sys.argv:
        for config in configs():
            print(config)
    else:
        main()
`
}

/** A search around the job's settings, by validation loss. */
export function rayScript({ learningRate, rank, alpha, batchSize, dropout, epochs }: Job): string {
  const ranks = [...new Set([rank / 2, rank, rank * 2].map((value) => Math.max(1, Math.round(value))))]
  const batches = [...new Set([batchSize / 2, batchSize, batchSize * 2].map((value) => Math.max(1, Math.round(value))))]
  return `"""Searches with Ray Tune around the job's settings: python ray_tune.py [TRIALS]. Each trial is a run of train_trl.py."""

import os
import sys

from ray import tune

HERE = os.path.dirname(os.path.abspath(__file__))
SEARCH_SPACE = {
    "learning_rate": tune.loguniform(${python(learningRate / 10)}, ${python(learningRate * 10)}),
    "per_device_train_batch_size": tune.choice(${python(batches)}),
    "num_train_epochs": tune.choice(${python([epochs, epochs * 2])}),
    "r": tune.choice(${python(ranks)}),
    # alpha follows the rank, as in the job.
    "alpha_over_rank": tune.choice(${python([alpha / rank])}),
    "lora_dropout": tune.choice(${python([...new Set([dropout, 0.05])])}),
}


def trial(config):
    os.chdir(HERE)
    sys.path.insert(0, HERE)
    import train_trl

    lora = {"r": config["r"], "lora_alpha": config["alpha_over_rank"] * config["r"], "lora_dropout": config["lora_dropout"]}
    sft = {key: config[key] for key in ("learning_rate", "per_device_train_batch_size", "num_train_epochs")}
    trainer = train_trl.main({**sft, "output_dir": os.path.join(HERE, "out-ray", tune.get_context().get_trial_id())}, lora)
    tune.report({"eval_loss": trainer.evaluate()["eval_loss"]})


if __name__ == "__main__":
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    settings = tune.TuneConfig(metric="eval_loss", mode="min", num_samples=trials)
    results = tune.Tuner(trial, param_space=SEARCH_SPACE, tune_config=settings).fit()
    print(results.get_best_result().config)
`
}
