/** The Python of a hand-off: a TRL and PEFT script for accelerate, and a Ray Tune search around it. Refuses to run anything. */
import type { Job } from '../../../shared/job'
import type { ChatTemplate } from '../../tokenizer/chat-template'
import { START } from './rules'
import { commentsOf } from './yaml'

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

/** Objectives that other trainers are told of; the others are refused before. */
export type HandedOn = Exclude<Job['objective'], 'classification'>

/** Trainer and configuration of each objective. */
const TRAINERS: Record<HandedOn, { from: string; name: string }> = {
  sft: { from: 'trl', name: 'SFT' },
  dpo: { from: 'trl', name: 'DPO' },
  orpo: { from: 'trl.experimental.orpo', name: 'ORPO' },
  kto: { from: 'trl', name: 'KTO' },
}

/** What the trainer wants of a row of a chat that stands in the file as LLaMA-Factory wants it. */
function rowsOf({ objective, trainOn }: Job, kind: string): string {
  if (kind !== 'chat') return ''
  if (objective === 'sft') return trainOn === 'last' ? '.map(last_answer, remove_columns=["messages"])' : ''
  const made =
    objective === 'kto'
      ? '{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}'
      : '{"prompt": row["messages"], "chosen": [row["chosen"]], "rejected": [row["rejected"]]}'
  const gone = objective === 'kto' ? '["messages"]' : '["messages", "chosen", "rejected"]'
  return `
    data = data.map(lambda row: ${made}, remove_columns=${gone})`
}

/** Makes a row of prompt and completion from a chat, so that only its last answer is learnt. */
const LAST_ANSWER = `def last_answer(row):
    messages = row["messages"]
    at = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
    return {"prompt": messages[:at], "completion": messages[at : at + 1]}


`

/** Chats whose template TRL cannot mark become a row for each answer, with what comes before it as the prompt. */
const SPLIT_CHATS = `

def split(batch):
    rows = {"prompt": [], "completion": []}
    for messages in batch["messages"]:
        for i, message in enumerate(messages):
            if message["role"] == "assistant":
                rows["prompt"].append(messages[:i])
                rows["completion"].append(messages[i : i + 1])
    return rows
`
const SPLIT_WHERE_NEEDED = `
    try:
        get_training_chat_template(tokenizer)
    except ValueError:
        args.assistant_only_loss = False
        data = data.map(split, batched=True, remove_columns=data["train"].column_names)`

/** A built-in template that tells TRL which of it are answers. */
function markedTemplate(source: string): string {
  const [plain, chatml] = ["{{ message['content'] }}{{ eos_token }}", "{{ message['content'] }}<|im_end|>"]
  const marked = (text: string): string => `{% generation %}${text}{% endgeneration %}`
  return source
    .replace(plain, marked(plain))
    .replace(chatml, `{% if message['role'] == 'assistant' %}${marked(chatml)}{% else %}${chatml}{% endif %}`)
}

/** A script for `accelerate launch`. */
export function trlScript(input: {
  model: string
  options: Readonly<Record<string, unknown>>
  /** PEFT's configuration and its options; null where all weights are trained. */
  adapter: { config: string; options: Readonly<Record<string, unknown>> } | null
  job: Job
  /** Of the rows: pair, chat or text. */
  kind: string
  hasValid: boolean
  template: Pick<ChatTemplate, 'builtIn' | 'source'>
  /** What does not carry over, a line each. */
  lost: readonly string[]
}): string {
  const { model, options, adapter, job, kind, hasValid, template, lost } = input
  const { from, name } = TRAINERS[job.objective as HandedOn]
  const patience = hasValid ? job.earlyStop : 0
  const splits = kind === 'chat' && job.objective === 'sft' && job.trainOn === 'last'
  const marks = options.assistant_only_loss === true
  return `"""Fine-tunes with TRL and PEFT: accelerate launch train_trl.py. With --check it only builds the configurations."""

${commentsOf(lost)}import sys

import torch
${adapter ? `from peft import ${adapter.config}\n` : ''}from ${from} import ${name}Config

MODEL = ${python(model)}
OPTIONS = ${dictionary(options)}
# What PEFT trains; None trains all weights.
PEFT = ${adapter ? dictionary(adapter.options) : 'None'}
# Folder of the adapter that the run starts from, instead of a fresh one; None for a fresh one.
START = ${python(job.initAdapter ? START : null)}
# For a model that has none of its own; None for its own.
CHAT_TEMPLATE = ${python(kind === 'chat' && template.builtIn !== null ? markedTemplate(template.source) : null)}
# Learning rate of lora_B over that of lora_A (LoRA+); 1 is off.
LORA_PLUS = ${python(job.optimizer === 'adamw' ? job.loraPlus : 1)}
# Evaluations without a better loss after which the run ends; 0 is never.
PATIENCE = ${patience}


# Half precision needs a graphics card.
HARDWARE = {} if torch.cuda.is_available() or torch.backends.mps.is_available() else {"use_cpu": True, "bf16": False}


def configs(options=None, peft=None):
    return ${name}Config(**{**HARDWARE, **OPTIONS, **(options or {})}), ${adapter ? `${adapter.config}(**{**PEFT, **(peft or {})})` : 'None'}


def loading():
    from transformers import BitsAndBytesConfig  # noqa: F401

    return ${LOADING[job.quantization]}


${splits ? LAST_ANSWER : ''}def rows():
    from datasets import load_dataset

    files = {"train": "data/train.jsonl"${hasValid ? ', "valid": "data/valid.jsonl"' : ''}}
    data = load_dataset("json", data_files=files)${rowsOf(job, kind)}
    return data
${marks ? SPLIT_CHATS : ''}

def build(options=None, peft=None, callbacks=()):
    from peft import PeftModel
    from peft.optimizers import create_loraplus_optimizer
    from transformers import AutoModelForCausalLM, AutoTokenizer, EarlyStoppingCallback
    from ${from} import ${name}Trainer${marks ? '\n    from trl.chat_template_utils import get_training_chat_template' : ''}

    args, peft_config = configs(options, peft)
    data = rows()
    model = AutoModelForCausalLM.from_pretrained(MODEL, **loading())
    if START:
        model, peft_config = PeftModel.from_pretrained(model, START, is_trainable=True), None
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    if CHAT_TEMPLATE:
        tokenizer.chat_template = CHAT_TEMPLATE${marks ? SPLIT_WHERE_NEEDED : ''}
    stop = [EarlyStoppingCallback(early_stopping_patience=PATIENCE)] if PATIENCE else []
    trainer = ${name}Trainer(
        model=model,
        args=args,
        train_dataset=data["train"],
        eval_dataset=data.get("valid"),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[*stop, *callbacks],
    )
    if LORA_PLUS != 1:
        trainer.optimizer = create_loraplus_optimizer(
            trainer.model,
            torch.optim.AdamW,
            lr=args.learning_rate,
            loraplus_lr_ratio=LORA_PLUS,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
            weight_decay=args.weight_decay,
        )
    return trainer


def main(options=None, peft=None, callbacks=()):
    trainer = build(options, peft, callbacks)
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
export function rayScript({ method, learningRate, rank, alpha, batchSize, dropout, epochs }: Job): string {
  const isLora = method === 'lora'
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
${
  isLora
    ? `    "r": tune.choice(${python(ranks)}),
    # alpha follows the rank, as in the job.
    "alpha_over_rank": tune.choice(${python([alpha / rank])}),
    "lora_dropout": tune.choice(${python([...new Set([dropout, 0.05])])}),
`
    : ''
}}


def trial(config):
    os.chdir(HERE)
    sys.path.insert(0, HERE)
    import train_trl

    peft = ${isLora ? '{"r": config["r"], "lora_alpha": config["alpha_over_rank"] * config["r"], "lora_dropout": config["lora_dropout"]}' : 'None'}
    options = {key: config[key] for key in ("learning_rate", "per_device_train_batch_size", "num_train_epochs")}
    trainer = train_trl.main({**options, "output_dir": os.path.join(HERE, "out-ray", tune.get_context().get_trial_id())}, peft)
    tune.report({"eval_loss": trainer.evaluate()["eval_loss"]})


if __name__ == "__main__":
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    settings = tune.TuneConfig(metric="eval_loss", mode="min", num_samples=trials)
    results = tune.Tuner(trial, param_space=SEARCH_SPACE, tune_config=settings).fit()
    print(results.get_best_result().config)
`
}
