/**
 * Settings that suit a model, a dataset and a device's memory, each with one sentence of reason and its source. Refuses to touch what
 * is given.
 */
import { percent } from '../shared/format'
import { defaultJob, type Job, type SettingKey } from '../shared/job'
import type { DatasetStats, ModelRecord, ModelShape } from '../shared/records'

export interface Reason {
  key: SettingKey
  /** Why this value, in one sentence. */
  text: string
  /** Where the rule comes from. */
  source: string
}

export interface Recipe {
  change: Partial<Job>
  reasons: Reason[]
}

/** What is known about the rows. */
export type RowFacts = Pick<DatasetStats, 'rows' | 'trainRows' | 'tokens' | 'trainedTokens' | 'lengths' | 'format'>

export interface Known {
  /** What stays as it is: set by the person, or measured for a sample. */
  given?: Partial<Job>
  /** The share of the memory budget that batches of 1, 2, 3 … rows are predicted to take; empty where nobody can tell. */
  memory?: readonly number[]
}

/** The recipe while it is written: what it rests on, and what it says so far. */
interface Draft extends Recipe {
  readonly model: ModelRecord
  readonly facts: RowFacts
  readonly given: Partial<Job>
  readonly memory: readonly number[]
}

/** Every setting that a recipe may say. */
export const RECOMMENDED: readonly SettingKey[] = [
  ...(['objective', 'sftWeight', 'learningRate', 'batchSize', 'gradAccum', 'epochs', 'rank', 'alpha'] as const),
  ...(['dropout', 'maxLength', 'schedule', 'warmupRatio'] as const),
]

/** Tokens to learn that a step should rest on: with fewer its gradient is mostly chance. Measured on 91 short rows. */
const LEARNT_A_STEP = 256
/** Most of the memory budget that a batch is recommended to take: forecasts are not exact, and other tabs want some too. */
const MEMORY_SHARE = 0.8
/** Most rows a step that are recommended: from 32 on LoRA learns less from the same rows. */
export const MOST_ROWS = 16

/**
 * Learning rates by size. Small models want far more than the usual 2e-4: those below ten million parameters are
 * measured, those from half a billion on are the field's, and those between follow a straight line on logarithmic scales.
 */
const RATES: readonly { below: number; rate: number; source: string }[] = [
  { below: 2e6, rate: 1e-2, source: 'measured on a model of 656,000 parameters' },
  { below: 1e7, rate: 5e-3, source: 'measured on the sample datasets, docs/samples.md' },
  { below: 5e7, rate: 1e-3, source: 'between the measured rates and those of larger models' },
  { below: 2e8, rate: 5e-4, source: 'between the measured rates and those of larger models' },
  { below: Infinity, rate: 2e-4, source: 'TRL and Unsloth, LoRA guides' },
]

/** Learning rates of methods that want others than a LoRA adapter: of small models as measured, of larger ones as the field has them. */
const METHOD_RATES: Partial<Record<Job['method'], { small: number; rate: number; text: string; source: string }>> = {
  ia3: {
    ...{ small: 0.1, rate: 8e-3, source: 'PEFT, (IA)³ guide; small models measured on Feelings' },
    text: 'Factors start at 1 and have a long way to go: they want a high rate.',
  },
  prompt: {
    ...{ small: 0.1, rate: 3e-2, source: 'PEFT, prompt tuning guide; small models measured on Feelings' },
    text: 'A few learnt tokens have to move far: they want a high rate.',
  },
  prefix: {
    ...{ small: 5e-2, rate: 1e-2, source: 'PEFT, prefix tuning guide; small models measured on Feelings' },
    text: 'A prefix wants a higher rate than weights, and a lower one than a prompt.',
  },
}
/** Models below this size are small to {@link METHOD_RATES}. */
const SMALL = 1e7

/** The settings to fill in: all that have a reason, also where it speaks for the default. */
export function recommend(model: ModelRecord, facts: RowFacts, { given = {}, memory = [] }: Known = {}): Recipe {
  const draft: Draft = { model, facts, given, memory, change: {}, reasons: [] }
  recommendObjective(draft)
  recommendRate(draft)
  recommendBatch(draft)
  recommendEpochs(draft)
  recommendRank(draft)
  recommendDropout(draft)
  recommendLength(draft)
  recommendSchedule(draft)
  return { change: draft.change, reasons: draft.reasons }
}

function set<K extends SettingKey>(draft: Draft, key: K, value: Job[K], text: string, source: string): void {
  if (key in draft.given) return
  draft.change = { ...draft.change, [key]: value }
  draft.reasons.push({ key, text, source })
}

/** A setting as it stands: given, recommended, or the default. */
function current<K extends SettingKey>({ given, change }: Draft, key: K): Job[K] {
  return (given[key] ?? change[key] ?? defaultJob()[key]) as Job[K]
}

/** Pairs and ratings say which answer is better: they are learnt as such. */
function recommendObjective(draft: Draft): void {
  const { format } = draft.facts
  if (format === 'preference') {
    set(draft, 'objective', 'dpo', 'The rows hold a better and a worse answer each.', 'Rafailov et al. 2023; TRL')
    if (current(draft, 'objective') !== 'dpo') return
    const text = 'The better answers are learnt along with the preference, so that they do not become unlikely too.'
    set(draft, 'sftWeight', 1, text, 'Pang et al. 2024; TRL (rpo_alpha)')
  }
  if (format === 'kto') {
    const text = 'The rows hold answers that were rated as good or bad.'
    set(draft, 'objective', 'kto', text, 'Ethayarajh et al. 2024; TRL')
  }
}

/** Preferences move a model that answers already, and want far lower rates than answers: 5e-6 against 2e-4 in TRL. */
const PREFERENCE_SHARE = 1 / 10

/** Whole weights want about a tenth of the rate of an adapter on them. */
const FULL_SHARE = 1 / 10

function recommendRate(draft: Draft): void {
  const { parameters } = draft.model
  const row = RATES.find(({ below }) => parameters < below)
  if (!row) return
  if (!['sft', 'classification'].includes(current(draft, 'objective'))) {
    const share = PREFERENCE_SHARE * (current(draft, 'method') === 'full' ? FULL_SHARE : 1)
    const rate = Number((row.rate * share).toPrecision(2))
    const text = 'Preferences want about a tenth of the rate at which a model of this size learns answers.'
    return set(draft, 'learningRate', rate, text, 'TRL, DPO guides; measured on Kinder answers')
  }
  if (current(draft, 'method') === 'full') {
    const text = 'Weights themselves want about a tenth of the rate of an adapter on them, or they lose what they knew.'
    const source = 'LoRA Without Regret; 1e-5 to 5e-5 for large models in LLaMA-Factory and axolotl'
    return set(draft, 'learningRate', Number((row.rate * FULL_SHARE).toPrecision(2)), text, source)
  }
  const own = METHOD_RATES[current(draft, 'method')]
  if (own) return set(draft, 'learningRate', parameters < SMALL ? own.small : own.rate, own.text, own.source)
  const size = describeCount(parameters)
  set(draft, 'learningRate', row.rate, `A model of ${size} parameters learns best at about this rate.`, row.source)
}

/** Long enough for every row, unless a few outliers alone would need much more than the others. */
function recommendLength(draft: Draft): void {
  const { lengths } = draft.facts
  if (lengths.max === 0) return
  const context = draft.model.context > 0 ? draft.model.context : lengths.max
  const wanted = lengths.max <= 2 * lengths.p95 ? lengths.max : lengths.p95
  const length = Math.max(8, Math.min(context, roundUp(wanted, 32)))
  const text =
    length < wanted
      ? `The model was made for at most ${context} tokens.`
      : wanted === lengths.max
        ? `The longest row has ${lengths.max} tokens: nothing is cut.`
        : `95% of the rows have at most ${lengths.p95} tokens; a few longer ones are cut.`
  set(draft, 'maxLength', length, text, 'token lengths of this dataset')
}

/**
 * Rows a step: 4 to 16, more when rows hold few tokens to learn or are many. As many of them at once as stay within the share of the
 * memory, and the rest one after the other.
 */
function recommendBatch(draft: Draft): void {
  if ('batchSize' in draft.given || 'gradAccum' in draft.given) return
  const { memory } = draft
  const { rows, trainRows, trainedTokens } = draft.facts
  const perRow = trainedTokens / Math.max(1, rows)
  const wanted = Math.max(
    trainRows < 200 ? 4 : trainRows < 1000 ? 8 : MOST_ROWS,
    Math.min(MOST_ROWS, nextPower(LEARNT_A_STEP / Math.max(1, perRow))),
  )
  const fit = memory.findLastIndex((share) => share <= MEMORY_SHARE) + 1
  const batch = memory.length === 0 ? wanted : Math.max(1, Math.min(wanted, fit))
  const times = Math.max(1, Math.round(wanted / batch))
  const share = memory[batch - 1]
  const takes = share === undefined ? '' : ` and take about ${percent(share)} of the memory at hand`
  const text =
    batch < wanted
      ? `${count(batch, 'row')} at once${takes.replace(' and', '')}; more would pass ${percent(MEMORY_SHARE)} of it.`
      : `About ${Math.round(perRow)} tokens to learn a row, ${count(trainRows, 'row')}: ${wanted} rows a step are steady, still give enough steps${takes}.`
  set(draft, 'batchSize', batch, text, 'LoRA Without Regret; guides for small data (4 to 16 rows); memory forecast')
  const why =
    times > 1
      ? `Together with the batch this makes ${batch * times} rows a step in the memory of ${batch}.`
      : 'The whole batch fits at once: nothing needs to be added up.'
  set(draft, 'gradAccum', times, why, 'the same gradient as of one large batch')
}

/** More passes over few rows, fewer over many; early stopping ends them in time. */
function recommendEpochs(draft: Draft): void {
  const { trainRows } = draft.facts
  if (trainRows === 0 || (draft.given.steps ?? 0) > 0) return
  const perStep = current(draft, 'batchSize') * current(draft, 'gradAccum')
  const wanted = Math.ceil((150 * perStep) / trainRows)
  const epochs = Math.max(trainRows >= 5000 ? 1 : 3, Math.min(trainRows < 200 ? 20 : 10, wanted))
  const text =
    epochs > 3
      ? `${count(trainRows, 'row')} need several passes; early stopping ends them when validation turns.`
      : `${count(trainRows, 'row')} are learnt in few passes.`
  set(draft, 'epochs', epochs, text, 'Unsloth (1 to 3), guides for small data (10 and more with early stop)')
}

/** The warm-up is a share rather than a number of steps, so that it holds however long the run is. */
function recommendSchedule(draft: Draft): void {
  const { given } = draft
  const text = 'The rate goes down to nothing along a cosine, so that the loss settles by the end.'
  set(draft, 'schedule', 'cosine', text, 'LLaMA-Factory, axolotl')
  if ((given.warmupSteps ?? 0) > 0) return
  const why = 'About a sixteenth of the steps, so that the first gradients do no damage.'
  set(draft, 'warmupRatio', 0.06, why, 'LLaMA-Factory, axolotl (5 to 10%)')
}

/** Room for what is to be learnt: about two bits a parameter against one bit a token (LoRA Without Regret). */
function recommendRank(draft: Draft): void {
  if ('targets' in draft.given || current(draft, 'method') !== 'lora') return
  const perRank = parametersPerRank(draft.model.shape)
  const wanted = draft.facts.trainedTokens / 2 / Math.max(1, perRank)
  const rank = wanted <= 16 ? 16 : wanted <= 32 ? 32 : 64
  const tokens = describeCount(draft.facts.trainedTokens)
  const text =
    wanted <= rank
      ? `${tokens} tokens to learn fit into the ${describeCount(rank * perRank)} parameters of this adapter.`
      : `${tokens} tokens to learn want a large adapter.`
  set(draft, 'rank', rank, text, 'LoRA Without Regret')
  set(draft, 'alpha', 2 * current(draft, 'rank'), 'Twice the rank.', 'TRL, axolotl')
}

function recommendDropout(draft: Draft): void {
  if (current(draft, 'method') !== 'lora') return
  const { trainRows } = draft.facts
  const source = 'guides for small data'
  if (trainRows >= 200)
    return set(draft, 'dropout', 0, `${count(trainRows, 'row')} are not soon known by heart: no dropout.`, source)
  set(draft, 'dropout', 0.05, `${count(trainRows, 'row')}: a little dropout against learning them by heart.`, source)
}

/** Parameters that one unit of rank adds when every linear layer has an adapter: in + out of each. */
export function parametersPerRank(shape: ModelShape): number {
  const query = shape.heads * shape.headDim
  const keys = shape.kvHeads * shape.headDim
  const attention = 2 * (shape.hiddenSize + query) + 2 * (shape.hiddenSize + keys)
  const feedForward = 3 * (shape.hiddenSize + shape.intermediateSize)
  return shape.layers * (attention + feedForward)
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit
}

function nextPower(value: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, value)))
}

function count(value: number, word: string): string {
  return `${value.toLocaleString('en')} ${word}${value === 1 ? '' : 's'}`
}

/** 656,000 or 3.2 million or 1.1 billion. */
function describeCount(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} billion`
  return value >= 1e6 ? `${(value / 1e6).toFixed(1)} million` : value.toLocaleString('en')
}
