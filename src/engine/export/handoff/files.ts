/**
 * "Take this job to a cluster": the same job for LLaMA-Factory, TRL with PEFT, mlx-lm and Ray Tune, with its rows. Refuses to hide what
 * does not carry over: it stands in the README.
 */
import { CodedError } from '../../../shared/errors'
import type { Job } from '../../../shared/job'
import { layersToTransform } from '../../adapters/settings'
import { mlxAdapter } from '../../formats/mlx'
import { bytesFile, jsonFile, type OutFile } from '../../formats/out-file'
import { asLora, writePeft, type PeftAdapter } from '../../formats/peft'
import type { ChatTemplate } from '../../tokenizer/chat-template'
import { START, type Options } from './rules'
import { rayScript, trlScript, type HandedOn } from './scripts'
import { PEFT_CONFIGS } from './trl'
import { together, translate, type Fate, type Translation } from './translate'
import { commentsOf, toYaml } from './yaml'

/** What rows are written as, one a line: a prompt and a completion, a chat, or plain text. */
export type HandoffKind = 'pair' | 'chat' | 'text'

/** Rows in JSON Lines. */
interface Lines extends Pick<OutFile, 'size' | 'chunks'> {
  readonly rows: number
}

export interface HandoffInput {
  job: Job
  /** The base model as the other machine should name it: on a hub, or a path. */
  model: string
  /** Of the run. */
  name: string
  kind: HandoffKind
  train: Lines
  /** Of no rows where nothing is held back. */
  valid: Lines
  /** Rows that could not be written, with the first reason. */
  leftOut: { rows: number; reason: string }
  /** The model's own chat template, or the one that its chats are written through here. */
  template: Pick<ChatTemplate, 'builtIn' | 'source'>
  /** Layers of the base model. */
  layers: number
  /** The adapter that the job starts from; null for a fresh one. */
  start: PeftAdapter | null
}

/**
 * Every file of the hand-off.
 * @throws CodedError `usage` where the job starts from an adapter that is not given, or is of a method that is not handed on.
 */
export function handoffFiles(input: HandoffInput): OutFile[] {
  const { model, train, valid } = input
  if (input.job.method === 'bottleneck' || input.job.objective === 'classification')
    throw new CodedError('usage', 'Jobs of this method or objective are not written for other trainers.', {
      where: 'method',
      fix: 'Hand on a job of another method, or go on here.',
    })
  if ((input.job.initAdapter !== '') !== (input.start !== null))
    throw new CodedError('usage', 'The adapter that this job starts from is not there.', { where: 'initAdapter' })
  const job = { ...input.job, model }
  const steps = stepsOf(job, train.rows)
  const [factory, trl, mlx] = (['llama-factory', 'trl', 'mlx'] as const).map((tool) => translate(job, tool, steps)) as [Translation, Translation, Translation] // prettier-ignore
  const peft = translate(job, 'peft', steps)
  const inPython = together(trl, peft)
  const config = PEFT_CONFIGS[job.method]
  const layers = job.method === 'lora' ? someLayers(input) : {}
  const adapter = config ? { config, options: { task_type: 'CAUSAL_LM', ...peft.options, ...layers } } : null
  // What stands before a row cannot be computed again from the row.
  const recompute = job.method === 'prefix' ? { gradient_checkpointing: false } : {}
  const own = { output_dir: 'out-trl', logging_steps: 1, report_to: 'none', ...recompute }
  const options = withoutEvaluation({ ...own, ...forRows(trl.options, input) }, valid)
  const told = { kind: input.kind, hasValid: valid.rows > 0, lost: lostLines(inPython), template: input.template }
  const everywhere = isEverywhere(job)
  const answersOnly = job.objective === 'sft' && everywhere
  const fates: Record<string, readonly Fate[]> = everywhere
    ? { 'LLaMA-Factory': factory.fates, 'TRL and PEFT': inPython, 'mlx-lm': mlx.fates }
    : { 'TRL and PEFT': inPython }
  return [
    bytesFile('README.md', readme(input, fates)),
    jsonFile('job.json', input.job),
    ...(everywhere
      ? [
          yamlFile('llama_factory.yaml', factoryConfig(input, factory.options), [
            ...lostLines(factory.fates),
            ...otherTurns(input),
          ]),
        ]
      : []),
    bytesFile('train_trl.py', trlScript({ model, options, adapter, job, ...told })),
    ...(answersOnly
      ? [yamlFile('mlx_lora.yaml', { ...MLX_OWN, ...forRows(mlx.options, input) }, lostLines(mlx.fates))]
      : []),
    bytesFile('ray_tune.py', rayScript(job)),
    jsonFile('data/dataset_info.json', datasetInfo(input)),
    linesFile('data/train.jsonl', train),
    ...(valid.rows > 0 ? [linesFile('data/valid.jsonl', valid)] : []),
    ...startFiles(input, answersOnly),
  ]
}

/** PEFT counts the adapted layers out where they are not all. */
function someLayers({ job, layers }: HandoffInput): Options {
  const numbers = layersToTransform(job.loraLayers, layers)
  return numbers ? { layers_to_transform: numbers } : {}
}

/** Whether all three trainers have the method; what is not LoRA or full fine-tuning, PEFT has alone. */
const isEverywhere = ({ method }: Job): boolean => method === 'lora' || method === 'full'

const MLX_OWN = { train: true, fine_tune_type: 'lora', num_layers: -1, adapter_path: 'out-mlx' }

function yamlFile(name: string, options: Options, comments: readonly string[]): OutFile {
  return bytesFile(name, commentsOf(comments) + toYaml(options))
}

/** LLaMA-Factory has no template that writes turns as they are written here. */
function otherTurns({ kind, template }: HandoffInput): string[] {
  if (kind !== 'chat' || template.builtIn !== 'plain') return []
  return ['The model has no chat template: turns begin with "User:" and "Assistant:" in Finetab, with "Human:" and "Assistant:" here.'] // prettier-ignore
}

/** What a tool has nothing like, as comments in its own file say it. */
function lostLines(fates: readonly Fate[]): string[] {
  const lines = fates.filter(({ isLost }) => isLost).map(({ label, value, text }) => `- ${label} (${value}): ${text}`)
  return lines.length > 0 ? ['Of the settings, these do not carry over:', ...lines] : []
}

/** The adapter that the run starts from, as PEFT has it and, where mlx-lm is written for, as that has it. */
function startFiles({ start, layers }: HandoffInput, withMlx: boolean): OutFile[] {
  if (!start) return []
  const peft = writePeft(start).map(({ name, bytes }) => bytesFile(`${START}/${name}`, bytes))
  if (!withMlx || asLora(start).config.use_dora) return peft
  return [...peft, ...mlxAdapter(start, layers).map((file) => renamed(file, `${START}-mlx/${file.name}`))]
}

/** Steps of the whole run. */
function stepsOf(job: Job, rows: number): number {
  if (job.steps > 0) return job.steps
  return Math.max(1, Math.ceil((job.epochs * rows) / (job.batchSize * job.gradAccum)))
}

function factoryConfig(input: HandoffInput, options: Options): Options {
  const text = input.kind === 'text'
  return {
    stage: text ? 'pt' : 'sft',
    do_train: true,
    finetuning_type: 'lora',
    dataset_dir: 'data',
    dataset: 'train',
    ...(input.valid.rows > 0 ? { eval_dataset: 'valid' } : {}),
    // Without a name, LLaMA-Factory reads the model's own template.
    ...(text || input.template.builtIn === null ? {} : { template: templateName(input) }),
    output_dir: 'out-llama-factory',
    logging_steps: 1,
    plot_loss: true,
    report_to: 'none',
    ...withoutEvaluation(options, input.valid),
  }
}

/** The template of LLaMA-Factory that is nearest to the one that is used here for a model without one. */
function templateName({ kind, template }: HandoffInput): string {
  if (kind !== 'chat') return 'empty'
  return template.builtIn === 'chatml' ? 'chatml' : 'default'
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
function withoutEvaluation(options: Options, valid: Lines): Options {
  if (valid.rows > 0) return options
  const evaluates = /^(eval_|load_best|metric_for|greater_is|early_stopping)/
  return Object.fromEntries(Object.entries(options).filter(([key]) => !evaluates.test(key)))
}

const CHAT_TAGS = {
  ...{ role_tag: 'role', content_tag: 'content', user_tag: 'user', assistant_tag: 'assistant' },
  ...{ observation_tag: 'tool', system_tag: 'system' },
}

/** How LLaMA-Factory reads the rows. */
function datasetInfo({ kind, job, valid }: HandoffInput): Record<string, unknown> {
  const formatting = kind === 'chat' ? 'sharegpt' : 'alpaca'
  const asked = kind === 'chat' ? { messages: 'messages' } : { prompt: kind === 'text' ? 'text' : 'prompt' }
  const answers = {
    sft: kind === 'pair' ? { response: 'completion' } : {},
    kto: { ...(kind === 'pair' ? { response: 'completion' } : {}), kto_tag: 'label' },
    dpo: { chosen: 'chosen', rejected: 'rejected' },
    orpo: { chosen: 'chosen', rejected: 'rejected' },
  }[job.objective as HandedOn]
  const ranking = job.objective === 'dpo' || job.objective === 'orpo' ? { ranking: true } : {}
  const tags = kind === 'chat' ? { tags: CHAT_TAGS } : {}
  const shape = { ...ranking, formatting, columns: { ...asked, ...answers }, ...tags }
  const entry = (file: string) => ({ file_name: file, ...shape })
  return { train: entry('train.jsonl'), ...(valid.rows > 0 ? { valid: entry('valid.jsonl') } : {}) }
}

function linesFile(name: string, { size, chunks }: Lines): OutFile {
  return { name, size, chunks }
}

function renamed(file: OutFile, name: string): OutFile {
  return { name, size: file.size, chunks: () => file.chunks() }
}

function readme(input: HandoffInput, fates: Record<string, readonly Fate[]>): string {
  const { name, model, train, leftOut, valid, kind, job } = input
  const held = valid.rows > 0 ? `, ${valid.rows} for validation` : ''
  const rows = `${train.rows} rows to train on${held}, as ${kind} rows in JSON Lines`
  const skipped =
    leftOut.rows > 0 ? ` ${leftOut.rows} rows could not be written so and are left out: ${leftOut.reason}` : ''
  const everywhere = isEverywhere(job)
  const factory = everywhere ? 'llamafactory-cli train llama_factory.yaml     # LLaMA-Factory\n' : ''
  const alone = everywhere ? '' : ' LLaMA-Factory and mlx-lm do not have its method, so they get no file.'
  const mlx =
    job.objective === 'sft' && everywhere
      ? 'mlx_lm.lora --config mlx_lora.yaml            # mlx-lm, on Apple silicon\n'
      : ''
  const tools = Object.entries(fates)
  const lost = tools.map(([tool, all]) => {
    const lines = lostLines(all).slice(1)
    return `### ${tool}\n\n${lines.length > 0 ? lines.join('\n') : 'Everything carries over.'}`
  })
  const settings = (tools[0]?.[1] ?? []).map(({ label, value }, i) => {
    const there = tools.map(([, all]) => fateText(all[i] as Fate))
    return `| ${[label, cell(value), ...there].join(' | ')} |`
  })
  return `# ${name.replace(/\s+/g, ' ')}, for larger machines

The same job for other trainers, on the base model \`${model}\`: ${rows}.${skipped}${alone}
Change the model's name or path where the other machine calls it otherwise. \`job.json\` has the settings as Finetab knows them.

\`\`\`sh
${factory}accelerate launch train_trl.py                # TRL and PEFT; --check only builds the configurations
${mlx}python ray_tune.py                            # Ray Tune: searches around these settings with train_trl.py
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
