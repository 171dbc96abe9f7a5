/**
 * "Take this job to a cluster": the same job for LLaMA-Factory, TRL with PEFT, mlx-lm and Ray Tune, with its rows. Refuses to hide what
 * does not carry over: it stands in the README.
 */
import type { Job } from '../../../shared/job'
import { bytesFile, jsonFile, type OutFile } from '../../formats/out-file'
import { rayScript, trlScript } from './scripts'
import { together, translate, type Fate, type Options } from './translate'
import { toYaml } from './yaml'

/** What rows are written as, one a line: a prompt and a completion, a chat, or plain text. */
export type HandoffKind = 'pair' | 'chat' | 'text'

export interface HandoffInput {
  job: Job
  /** The base model as the other machine should name it: on a hub, or a path. */
  model: string
  /** Of the run. */
  name: string
  kind: HandoffKind
  /** JSON Lines. */
  train: OutFile
  valid: OutFile | null
  trainRows: number
  validRows: number
  /** Rows that could not be written, by their reasons. */
  leftOutRows: number
  /** Whether the model has a chat template of its own. */
  hasChatTemplate: boolean
}

/** Every file of the hand-off. */
export function handoffFiles(input: HandoffInput): OutFile[] {
  const { model, valid, kind } = input
  const job = { ...input.job, model }
  const steps = stepsOf(job, input.trainRows)
  const factory = translate(job, 'llama-factory', steps)
  const trl = translate(job, 'trl', steps)
  const mlx = translate(job, 'mlx', steps)
  const peft = translate(job, 'peft', steps)
  const lora = { task_type: 'CAUSAL_LM', ...peft.options }
  const own = { output_dir: 'out-trl', logging_steps: 1, report_to: 'none' }
  const sft = withoutEvaluation({ ...own, ...forRows(trl.options, input) }, valid)
  return [
    bytesFile('README.md', readme(input, { 'LLaMA-Factory': factory.fates, 'TRL and PEFT': together(trl, peft), 'mlx-lm': mlx.fates })), // prettier-ignore
    jsonFile('job.json', input.job),
    bytesFile('llama_factory.yaml', toYaml(withoutEvaluation(factoryConfig(input, factory.options), valid))),
    bytesFile('train_trl.py', trlScript({ model, sft, lora, job, kind, hasValid: valid !== null })),
    bytesFile('mlx_lora.yaml', toYaml({ train: true, fine_tune_type: 'lora', num_layers: -1, adapter_path: 'out-mlx', ...forRows(mlx.options, input) })), // prettier-ignore
    bytesFile('ray_tune.py', rayScript(job)),
    jsonFile('data/dataset_info.json', datasetInfo(input)),
    rename(input.train, 'data/train.jsonl'),
    ...(valid ? [rename(valid, 'data/valid.jsonl')] : []),
  ]
}

/** Steps of the whole run. */
function stepsOf(job: Job, rows: number): number {
  if (job.steps > 0) return job.steps
  return Math.max(1, Math.ceil((job.epochs * rows) / (job.batchSize * job.gradAccum)))
}

function factoryConfig(input: HandoffInput, options: Record<string, unknown>): Record<string, unknown> {
  const text = input.kind === 'text'
  return {
    stage: text ? 'pt' : 'sft',
    do_train: true,
    finetuning_type: 'lora',
    dataset_dir: 'data',
    dataset: 'train',
    ...(input.valid ? { eval_dataset: 'valid' } : {}),
    // Without a name, LLaMA-Factory reads the model's own template.
    ...(text || input.hasChatTemplate ? {} : { template: 'empty' }),
    output_dir: 'out-llama-factory',
    logging_steps: 1,
    plot_loss: true,
    report_to: 'none',
    ...options,
  }
}

/** What is learnt of a row is asked for in other words for chats, and not at all for running text. */
function forRows(options: Options, { kind, job }: HandoffInput): Options {
  const { completion_only_loss: ofPairs, mask_prompt: mask, ...rest } = options
  const answers = job.trainOn !== 'all'
  if (mask !== undefined) return { ...rest, mask_prompt: kind !== 'text' && answers }
  if (ofPairs === undefined) return options
  // For the last answer only, the script makes prompt and completion of each chat.
  if (kind === 'chat' && job.trainOn !== 'last') return { ...rest, assistant_only_loss: answers }
  return kind === 'text' ? rest : options
}

/** Nothing to evaluate on: what asks for it is left out. */
function withoutEvaluation(options: Record<string, unknown>, valid: OutFile | null): Record<string, unknown> {
  if (valid) return options
  const evaluates = /^(eval_|load_best|metric_for|greater_is|early_stopping)/
  return Object.fromEntries(Object.entries(options).filter(([key]) => !evaluates.test(key)))
}

/** How LLaMA-Factory reads the rows. */
function datasetInfo({ kind, valid }: HandoffInput): Record<string, unknown> {
  const tags = {
    ...{ role_tag: 'role', content_tag: 'content', user_tag: 'user', assistant_tag: 'assistant' },
    ...{ observation_tag: 'tool', system_tag: 'system' },
  }
  const shape = {
    pair: { formatting: 'alpaca', columns: { prompt: 'prompt', response: 'completion' } },
    chat: { formatting: 'sharegpt', columns: { messages: 'messages' }, tags },
    text: { columns: { prompt: 'text' } },
  }[kind]
  const entry = (file: string) => ({ file_name: file, ...shape })
  return { train: entry('train.jsonl'), ...(valid ? { valid: entry('valid.jsonl') } : {}) }
}

function rename(file: OutFile, name: string): OutFile {
  return { name, size: file.size, chunks: () => file.chunks() }
}

function readme(input: HandoffInput, fates: Record<string, readonly Fate[]>): string {
  const { name, model, trainRows, validRows, leftOutRows, valid, kind } = input
  const rows = `${trainRows} rows to train on${valid ? `, ${validRows} for validation` : ''}, as ${kind} rows in JSON Lines`
  const skipped = leftOutRows > 0 ? ` ${leftOutRows} rows could not be written so and are left out.` : ''
  const tools = Object.entries(fates)
  const lost = tools.map(([tool, all]) => {
    const lines = all
      .filter(({ isLost }) => isLost)
      .map(({ label, value, text }) => `- ${label} (${cell(value)}): ${text}`)
    return `### ${tool}\n\n${lines.length > 0 ? lines.join('\n') : 'Everything carries over.'}`
  })
  const settings = (tools[0]?.[1] ?? []).map(({ label, value }, i) => {
    const there = tools.map(([, all]) => fateText(all[i] as Fate))
    return `| ${[label, cell(value), ...there].join(' | ')} |`
  })
  return `# ${name.replace(/\s+/g, ' ')}, for larger machines

The same job for other trainers, on the base model \`${model}\`: ${rows}.${skipped}
Change the model's name or path where the other machine calls it otherwise. \`job.json\` has the settings as Finetab knows them.

\`\`\`sh
llamafactory-cli train llama_factory.yaml     # LLaMA-Factory
accelerate launch train_trl.py                # TRL and PEFT; --check only builds the configurations
mlx_lm.lora --config mlx_lora.yaml            # mlx-lm, on Apple silicon
python ray_tune.py                            # Ray Tune: searches around these settings with train_trl.py
\`\`\`

## What does not carry over

${lost.join('\n\n')}

## Where every setting went

| ${['setting', 'value', ...tools.map(([tool]) => tool)].join(' | ')} |
|${' --- |'.repeat(2 + tools.length)}
${settings.join('\n')}
`
}

function fateText({ options, text, isLost }: Fate): string {
  if (options.length > 0) return options.map((option) => `\`${option}\``).join(', ')
  return isLost ? 'no equivalent' : text || 'not in use'
}

/** A value that does not break a table. */
function cell(value: unknown): string {
  return String(value).replace(/[|\r\n]+/g, ' ')
}
