/**
 * Settings that suit a model and a dataset, each with one sentence of reason and its source. Refuses to touch what a person has
 * set, and what has no reason to differ from the default.
 */
import { defaultJob, type Job, type SettingKey } from '../shared/job'
import type { DatasetStats, DeviceReport, ModelRecord, ModelShape } from '../shared/records'

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

/** The recipe while it is written: what it rests on, and what it says so far. */
interface Draft extends Recipe {
  readonly model: ModelRecord
  readonly facts: RowFacts
  readonly device: DeviceReport | undefined
  readonly given: ReadonlySet<SettingKey>
}

/** Tokens to learn that a step should rest on: with fewer its gradient is mostly chance. Measured on 91 short rows. */
const LEARNT_A_STEP = 256

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

/**
 * The settings to fill in.
 * @param given settings that the person has set: they, and what hangs on them, are left alone.
 */
export function recommend(
  model: ModelRecord,
  facts: RowFacts,
  device?: DeviceReport,
  given: ReadonlySet<SettingKey> = new Set(),
): Recipe {
  const draft: Draft = { model, facts, device, given, change: {}, reasons: [] }
  recommendObjective(draft)
  recommendRate(draft)
  recommendLength(draft)
  recommendBatch(draft)
  recommendEpochs(draft)
  recommendWarmup(draft)
  recommendRank(draft)
  recommendDropout(draft)
  return { change: draft.change, reasons: draft.reasons }
}

function set<K extends SettingKey>(draft: Draft, key: K, value: Job[K], text: string, source: string): void {
  if (draft.given.has(key) || value === defaultJob()[key]) return
  draft.change = { ...draft.change, [key]: value }
  draft.reasons.push({ key, text, source })
}

/** A setting as it stands: recommended, or the default; undefined where the person has set it. */
function current<K extends SettingKey>(draft: Draft, key: K): Job[K] | undefined {
  return draft.given.has(key) ? undefined : ((draft.change[key] as Job[K] | undefined) ?? defaultJob()[key])
}

/** Pairs and ratings say which answer is better: they are learnt as such. */
function recommendObjective(draft: Draft): void {
  const { format } = draft.facts
  if (format === 'preference') {
    set(draft, 'objective', 'dpo', 'The rows hold a better and a worse answer each.', 'Rafailov et al. 2023; TRL')
    if (draft.change.objective !== 'dpo') return
    const text = 'The better answers are learnt along with the preference, so that they do not become unlikely too.'
    set(draft, 'sftWeight', 1, text, 'Pang et al. 2024; TRL (rpo_alpha)')
  }
  if (format === 'kto')
    set(
      draft,
      'objective',
      'kto',
      'The rows hold answers that were rated as good or bad.',
      'Ethayarajh et al. 2024; TRL',
    )
}

/** Preferences move a model that answers already, and want far lower rates than answers: 5e-6 against 2e-4 in TRL. */
const PREFERENCE_SHARE = 1 / 10

function recommendRate(draft: Draft): void {
  const { parameters } = draft.model
  const row = RATES.find(({ below }) => parameters < below)
  if (!row || draft.given.has('objective')) return
  if (draft.change.objective !== undefined) {
    const rate = Number((row.rate * PREFERENCE_SHARE).toPrecision(2))
    const text = 'Preferences want about a tenth of the rate at which a model of this size learns answers.'
    return set(draft, 'learningRate', rate, text, 'TRL, DPO guides; measured on Kinder answers')
  }
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

/** An effective batch of 4 to 16: more when rows hold few tokens to learn or are many. In pieces that fit the memory. */
function recommendBatch(draft: Draft): void {
  if (draft.given.has('batchSize') || draft.given.has('gradAccum')) return
  const { rows, trainRows, lengths, trainedTokens } = draft.facts
  const perRow = trainedTokens / Math.max(1, rows)
  const effective = Math.max(
    trainRows < 200 ? 4 : trainRows < 1000 ? 8 : 16,
    Math.min(16, nextPower(LEARNT_A_STEP / Math.max(1, perRow))),
  )
  const tokens = draft.device?.software === false && draft.device.backend === 'webgpu' ? 8192 : 4096
  const fits = Math.max(1, Math.floor(tokens / Math.max(1, lengths.p95)))
  const batch = largestPower(Math.min(effective, fits))
  const source = 'LoRA Without Regret; guides for small data (batches of 4 to 16)'
  set(
    draft,
    'batchSize',
    batch,
    `About ${Math.round(perRow)} tokens to learn a row, ${count(trainRows, 'row')}: ${effective} rows a step are steady and still give enough steps.`,
    source,
  )
  const text = `Together with the batch this makes ${effective} rows a step in the memory of ${batch}.`
  set(draft, 'gradAccum', effective / batch, text, source)
}

/** More passes over few rows, fewer over many; early stopping ends them in time. */
function recommendEpochs(draft: Draft): void {
  if (draft.given.has('steps') || draft.given.has('batchSize') || draft.given.has('gradAccum')) return
  const { trainRows } = draft.facts
  if (trainRows === 0) return
  const perStep = (current(draft, 'batchSize') ?? 1) * (current(draft, 'gradAccum') ?? 1)
  const wanted = Math.ceil((150 * perStep) / trainRows)
  const epochs = Math.max(trainRows >= 5000 ? 1 : 3, Math.min(trainRows < 200 ? 20 : 10, wanted))
  const text =
    epochs > 3
      ? `${count(trainRows, 'row')} need several passes; early stopping ends them when validation turns.`
      : `${count(trainRows, 'row')} are learnt in few passes.`
  set(draft, 'epochs', epochs, text, 'Unsloth (1 to 3), guides for small data (10 and more with early stop)')
}

/** A share rather than a number of steps, so that it holds however long the run is. */
function recommendWarmup(draft: Draft): void {
  const { given } = draft
  if (given.has('learningRate') || given.has('schedule') || given.has('warmupSteps')) return
  set(
    draft,
    'warmupRatio',
    0.06,
    'About a sixteenth of the steps, so that the first gradients do no damage.',
    'LLaMA-Factory, axolotl (5 to 10%)',
  )
}

/** Room for what is to be learnt: about two bits a parameter against one bit a token (LoRA Without Regret). */
function recommendRank(draft: Draft): void {
  if (draft.given.has('targets') || draft.given.has('alpha')) return
  const perRank = parametersPerRank(draft.model.shape)
  const wanted = draft.facts.trainedTokens / 2 / Math.max(1, perRank)
  const rank = wanted <= 16 ? 16 : wanted <= 32 ? 32 : 64
  const text = `${describeCount(draft.facts.trainedTokens)} tokens to learn want an adapter of at least half as many parameters.`
  set(draft, 'rank', rank, text, 'LoRA Without Regret')
  if (!draft.given.has('rank')) set(draft, 'alpha', 2 * rank, 'Twice the rank.', 'TRL, axolotl')
}

function recommendDropout(draft: Draft): void {
  if (draft.facts.trainRows >= 200 || draft.given.has('learningRate')) return
  const text = `${count(draft.facts.trainRows, 'row')}: a little dropout against learning them by heart.`
  set(draft, 'dropout', 0.05, text, 'guides for small data')
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

function largestPower(limit: number): number {
  return 2 ** Math.floor(Math.log2(Math.max(1, limit)))
}

function count(value: number, word: string): string {
  return `${value.toLocaleString('en')} ${word}${value === 1 ? '' : 's'}`
}

/** 656,000 or 3.2 million or 1.1 billion. */
function describeCount(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} billion`
  return value >= 1e6 ? `${(value / 1e6).toFixed(1)} million` : value.toLocaleString('en')
}
