/**
 * The command line's table: which commands there are and which flags each takes. Settings of a job come from the settings
 * table; only what is no setting of a job is written here. Refuses to parse or to run anything.
 */
import { dtypesOf, EXPORT_FORMAT_NAMES } from '../shared/exports'
import { DEFAULT_SAMPLING } from '../shared/protocol'
import type { SettingKey } from '../shared/job'
import { SETTING_LIST } from '../shared/job'
import { TARGET_FORMATS } from '../shared/roles'

export type CommandName =
  | 'train'
  | 'generate'
  | 'rehearse'
  | 'evaluate'
  | 'export'
  | 'handoff'
  | 'inspect'
  | 'data inspect'
  | 'data audit'
  | 'data convert'
  | 'data split'

/** A flag that is no setting of a job. */
export interface Option {
  readonly kind: 'text' | 'texts' | 'integer' | 'number' | 'switch'
  /** Stands for the value in help texts: DIR, FILE, N. */
  readonly value?: string
  readonly help: string
  readonly min?: number
  readonly max?: number
  /** What is taken without it, in words. */
  readonly fallback?: string
}

const none = (what: number | string) => `default ${what}`

export const OPTIONS = {
  path: { kind: 'text', value: 'PATH', help: 'Any file or folder; the flag itself can be left out.' },
  out: { kind: 'text', value: 'DIR', help: 'The folder that is written.' },
  job: {
    kind: 'text',
    value: 'FILE',
    help: 'Settings as JSON, by the names of the settings table; flags go before it.',
  },
  recipe: { kind: 'text', value: 'FILE', help: 'Steps that were saved on the Data page, done to the rows first.' },
  without: {
    kind: 'text',
    value: 'FILE|DIR|URL',
    help: 'Leaves out rows that this dataset has too: word for word, nearly, or with the same prompt.',
  },
  to: {
    kind: 'text',
    value: 'FORMAT',
    help: `What rows become: ${TARGET_FORMATS.join(', ')}.`,
    fallback: 'rows as they are',
  },
  'out-file': {
    kind: 'text',
    value: 'FILE',
    help: 'The file that is written: .jsonl, .json, .csv or .tsv.',
    fallback: 'JSON Lines on stdout',
  },
  resume: { kind: 'switch', help: "Goes on from the checkpoint in --out, with that run's settings." },
  json: { kind: 'switch', help: 'Prints JSON Lines on stdout, and nothing else there.' },
  threads: {
    kind: 'integer',
    value: 'N',
    help: 'Threads of the wasm backend; the numbers are the same with any.',
    min: 1,
    max: 8,
    fallback: 'as many as make it faster: up to every core, from four on all but one',
  },
  adapter: { kind: 'text', value: 'DIR', help: 'An adapter for the model, of PEFT or mlx-lm: a folder or a zip.' },
  format: {
    kind: 'text',
    value: 'NAME',
    help: `What is written: ${EXPORT_FORMAT_NAMES.join(', ')}.`,
    fallback: none('peft'),
  },
  dtype: {
    kind: 'text',
    value: 'TYPE',
    help: `How numbers are stored in a whole model: ${EXPORT_FORMAT_NAMES.filter((name) => dtypesOf(name).length > 0)
      .map((name) => `${dtypesOf(name).join(', ')} (${name})`)
      .join('; ')}.`,
    fallback: 'as in the base; gguf: f32 for an f32 base, else f16',
  },
  name: { kind: 'text', value: 'TEXT', help: 'What the tuned model is called.', fallback: "the adapter's folder" },
  kind: {
    kind: 'text',
    value: 'NAME',
    help: 'time (three steps), smoke (20 steps on a twentieth of the rows), range (up to 60 steps over learning rates) or prompting (the base with examples in its prompt).',
    fallback: none('time'),
  },
  answers: {
    kind: 'integer',
    value: 'N',
    help: 'Rows that base and tuned model answer, for exact match, ROUGE-L, BLEU, chrF, JSON fields or classes (four times as many of those).',
    min: 0,
    max: 100_000,
    fallback: none(32),
  },
  shots: {
    kind: 'integer',
    value: 'N',
    help: 'Also lets the base answer with N examples in its prompt: would prompting do instead of tuning?',
    min: 0,
    max: 32,
    fallback: none(0),
  },
  pattern: { kind: 'text', value: 'REGEX', help: 'A regular expression that good answers match.' },
  'held-back': {
    kind: 'switch',
    help: 'Takes only the rows that training held back, by the same --eval-fraction and --seed.',
  },
  'no-probe': { kind: 'switch', help: 'Leaves out the general text that shows what was forgotten.' },
  prompt: { kind: 'text', value: 'TEXT', help: 'What the model goes on from, or answers.' },
  raw: {
    kind: 'switch',
    help: "Takes the prompt as plain text also where the model has a chat template; without it the adapter's training decides.",
  },
  'max-new-tokens': {
    kind: 'integer',
    value: 'N',
    help: 'The most tokens that are made.',
    min: 1,
    max: 1_000_000,
    fallback: none(DEFAULT_SAMPLING.maxNewTokens),
  },
  temperature: {
    kind: 'number',
    value: 'X',
    help: 'How freely tokens are chosen; 0 takes the likeliest each time.',
    min: 0,
    max: 100,
    fallback: none(DEFAULT_SAMPLING.temperature),
  },
  'top-k': {
    kind: 'integer',
    value: 'N',
    help: 'Chooses among the N likeliest tokens; 0 is off.',
    min: 0,
    max: 1_000_000,
    fallback: none(DEFAULT_SAMPLING.topK),
  },
  'top-p': {
    kind: 'number',
    value: 'X',
    help: 'Chooses among the likeliest tokens that together have this probability; 1 is off.',
    min: 0,
    max: 1,
    fallback: none(DEFAULT_SAMPLING.topP),
  },
  'repetition-penalty': {
    kind: 'number',
    value: 'X',
    help: 'Makes tokens that were there before less likely; 1 is off.',
    min: 0.1,
    max: 10,
    fallback: `${none(DEFAULT_SAMPLING.repetitionPenalty)}, with temperature 0 off`,
  },
  stop: { kind: 'texts', value: 'TEXT', help: 'Ends the text before this; may be given more than once.' },
  strength: {
    kind: 'number',
    value: 'X',
    help: 'How much of the adapter counts: 0 is the base model, 1 the adapter as trained.',
    min: 0,
    max: 1.5,
    fallback: none(1),
  },
} as const satisfies Record<string, Option>

export type OptionName = keyof typeof OPTIONS

export interface Command {
  readonly summary: string
  /** Required flags, in words for the usage line; groups joined by "|" need one of them. */
  readonly needs: readonly string[]
  readonly options: readonly OptionName[]
  /** The option that a word without a flag stands for. */
  readonly operand?: OptionName
  readonly settings: readonly SettingKey[]
}

/** Which rows are held back for validation. */
const SPLIT: readonly SettingKey[] = ['evalFraction', 'evalSplit', 'splitBy', 'seed']
const ALL_SETTINGS = SETTING_LIST.map(([key]) => key)

export const COMMANDS: Record<CommandName, Command> = {
  train: {
    summary: 'Trains an adapter, or the weights themselves, on a dataset.',
    needs: ['model', 'data', 'out'],
    options: ['out', 'job', 'resume', 'threads', 'json'],
    settings: ALL_SETTINGS,
  },
  generate: {
    summary: 'Goes on from a prompt, with the base model or an adapter.',
    needs: ['model', 'prompt'],
    options: [
      'adapter',
      'prompt',
      'raw',
      'max-new-tokens',
      'temperature',
      'top-k',
      'top-p',
      'repetition-penalty',
      'stop',
      'strength',
      'threads',
      'json',
    ],
    settings: ['model', 'quantization', 'seed', 'backend'],
  },
  rehearse: {
    summary: 'Makes a few real steps of a job that is not started: its time, its health or its learning rate.',
    needs: ['model', 'data'],
    options: ['kind', 'threads', 'json'],
    settings: ALL_SETTINGS,
  },
  evaluate: {
    summary: 'Measures the loss on a dataset, row by row; with an adapter, base beside tuned, with answers and scores.',
    needs: ['model', 'data'],
    options: ['adapter', 'answers', 'shots', 'pattern', 'held-back', 'no-probe', 'threads', 'json'],
    settings: ['model', 'quantization', 'data', 'trainOn', 'maxLength', ...SPLIT, 'backend'],
  },
  export: {
    summary: 'Writes an adapter, or the model with it, for other tools, and checks what it wrote.',
    needs: ['model', 'adapter', 'out'],
    options: ['adapter', 'format', 'dtype', 'name', 'out', 'threads', 'json'],
    settings: ['model', 'backend'],
  },
  'data inspect': {
    summary: 'Says what a dataset is taken for and why, with its columns and its first rows.',
    needs: ['data'],
    options: ['recipe', 'without', 'json'],
    settings: ['data'],
  },
  'data audit': {
    summary:
      'Looks for what spoils training: repeats, contradictions, cuts, personal data; with a model also its tokens.',
    needs: ['data'],
    options: ['recipe', 'without', 'json'],
    settings: ['model', 'data', 'evalData', 'trainOn', 'maxLength', 'batchSize', ...SPLIT],
  },
  'data convert': {
    summary: 'Writes a dataset in another format, after the steps of a recipe.',
    needs: ['data'],
    options: ['to', 'out-file', 'recipe', 'without', 'json'],
    settings: ['data'],
  },
  'data split': {
    summary: 'Writes a dataset in two parts, train.jsonl and validation.jsonl.',
    needs: ['data', 'out'],
    options: ['out', 'to', 'recipe', 'without', 'json'],
    settings: ['data', ...SPLIT],
  },
  handoff: {
    summary: 'Writes the same job, with its rows, for LLaMA-Factory, TRL, mlx-lm and Ray Tune.',
    needs: ['model', 'data', 'out'],
    options: ['adapter', 'job', 'name', 'out', 'json'],
    settings: ALL_SETTINGS,
  },
  inspect: {
    summary: 'Says what a file or folder is: model, adapter, weights, rows, tokenizer or job. inspect PATH is enough.',
    needs: ['path|model|adapter|data'],
    operand: 'path',
    options: ['path', 'adapter', 'json'],
    settings: ['model', 'data', 'trainOn', 'maxLength', 'evalFraction', 'seed'],
  },
}

/** What stands for a setting's value in help texts. */
export const SETTING_VALUES: Partial<Record<SettingKey, string>> = {
  model: 'DIR|FILE.gguf|NAME',
  data: 'FILE|DIR|URL',
  evalData: 'FILE|DIR|URL',
  initAdapter: 'DIR',
}
