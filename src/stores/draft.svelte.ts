/**
 * The job as the forms have it: what the person set, over what is advised, over the defaults. Refuses to change a run:
 * starting one takes a copy.
 */
import {
  applies,
  checkSetting,
  defaultJob,
  parseSetting,
  SETTING_LIST,
  SETTINGS,
  type Job,
  type SettingKey,
} from '../shared/job'
import { recommend, RECOMMENDED, type Reason, type RowFacts } from '../insight/recipe'
import { checkHeld, checkMix, mixedIn, passRows } from '../shared/mix'
import { datasets } from './datasets.svelte'
import { models } from './models.svelte'
import { readPreference, writePreference } from './preferences'
import { hasAdapter, runs } from './runs.svelte'

/** Where a value comes from. */
export type Origin = 'adapter' | 'yours' | 'sample' | 'advised' | 'default'

export interface Recommendation extends Reason {
  value: unknown
  /** Whether the draft has it. */
  taken: boolean
}
const MEASURED = {
  text: 'Measured to suit these rows on the bundled model.',
  source: 'docs/samples.md, which has the results',
}

type Values = Partial<Record<SettingKey, unknown>>

/** What an adapter is made with, and so brings along where a run goes on from it. */
const ADAPTER_KEYS: readonly SettingKey[] = [
  ...(['rank', 'alpha', 'dropout', 'targets', 'rslora', 'dora', 'rankPattern', 'alphaPattern'] as const),
  'method',
  ...(['loraInit', 'virtualTokens', 'virtualText', 'bottleneckSize', 'bottleneckPlaces'] as const),
]

class Draft {
  #own = $state.raw<Values>(readPreference<Values>('draft', {}))
  /** What is known about the chosen rows; the preview says it when it has counted them. */
  facts = $state.raw<RowFacts | null>(null)
  /** The share of the memory that batches of 1, 2, 3 … rows would take; the preview asks for it. */
  memory = $state.raw<readonly number[]>([])

  /** What the sample's maker measured on the bundled model; says nothing about others. */
  #sample = $derived.by<Partial<Job>>(() => {
    const { suggested, samplePrompt } = datasets.chosen ?? {}
    const measured = { ...(models.chosenId.startsWith('bundled:') ? suggested : {}) }
    // Measured for LoRA: other methods want other rates.
    if ((this.#own.method ?? 'lora') !== 'lora') delete measured.learningRate
    return samplePrompt ? { samplePrompt, ...measured } : measured
  })

  /** Settings that suit this model and these rows, with a reason each; nothing where the person or the sample knows better. */
  advice = $derived.by(() => {
    const model = models.chosen
    if (!model || !this.facts) return null
    const given = { ...this.#sample, ...this.#own } as Partial<Job>
    return recommend(model, this.facts, { given, memory: this.memory })
  })

  /** What is recommended for each setting, whether or not the person has set another value; what the adapter brings is left out. */
  recommendations = $derived.by<Recommendation[]>(() => {
    const model = models.chosen
    if (!model || !this.facts) return []
    const others = Object.entries(this.#own).filter(([key]) => !RECOMMENDED.includes(key as SettingKey))
    const given = { ...Object.fromEntries(others), ...this.#sample } as Partial<Job>
    const { change, reasons } = recommend(model, this.facts, { given, memory: this.memory })
    const sample = (Object.keys(this.#sample) as SettingKey[]).filter((key) => key !== 'samplePrompt')
    const all: [Reason, unknown][] = [
      ...sample.map((key): [Reason, unknown] => [{ key, ...MEASURED }, this.#sample[key]]),
      ...reasons.map((reason): [Reason, unknown] => [reason, change[reason.key]]),
    ]
    return all
      .filter(([{ key }]) => applies(key, this.job) && this.originOf(key) !== 'adapter')
      .map(([reason, value]) => ({ ...reason, value, taken: this.job[reason.key] === value }))
  })

  /** Runs whose adapter a new run on the chosen model can go on from, newest first. */
  starts = $derived(runs.list.filter((run) => run.model.id === models.chosenId && hasAdapter(run)))
  /** The one that is chosen to go on from; null for a fresh adapter. */
  start = $derived(this.starts.find(({ id }) => id === this.#own.initAdapter) ?? null)
  #inherited = $derived.by<Partial<Job>>(() => {
    const { start } = this
    if (!start) return { initAdapter: '' }
    const brought = ADAPTER_KEYS.map((key) => [key, start.job[key] ?? SETTINGS[key].default])
    // A head is no good for another objective.
    const head = start.job.objective === 'classification' ? { objective: start.job.objective } : {}
    return { ...Object.fromEntries(brought), ...head, loraInit: SETTINGS.loraInit.default, initAdapter: start.id }
  })

  /** The job as it would be started now; may still be invalid, see {@link problems}. */
  job = $derived<Job>({
    ...defaultJob(),
    ...this.advice?.change,
    ...this.#sample,
    ...(this.#own as Partial<Job>),
    ...this.#inherited,
    // What was said for another dataset and cannot be said for this one.
    ...(this.#own.evalData === datasets.chosenId ? { evalData: '' } : {}),
    model: models.chosenId,
    data: datasets.chosenId,
  })

  /** Setting → what is wrong with it; empty where all is fine. */
  problems = $derived<Partial<Record<SettingKey, string>>>({
    ...Object.fromEntries(
      SETTING_LIST.map(([key]) => [key, checkSetting(key, this.job[key])]).filter(([, problem]) => problem),
    ),
    ...checkMix(this.job),
    ...this.#gone(),
  })

  /** Settings that name a dataset which is no longer here, or one that is trained on. */
  #gone(): Partial<Record<SettingKey, string>> {
    if (!datasets.loaded) return {}
    const { evalData, mix, replayData, replayShare } = this.job
    const here = (id: string) => id === '' || datasets.list.some((dataset) => dataset.id === id)
    const gone: Partial<Record<SettingKey, string>> = {}
    const held = checkHeld(this.job)
    if (held) gone.evalData = held
    if (!here(evalData)) gone.evalData = 'The validation dataset is no longer here: choose another.'
    if (!mixedIn({ mix, replayShare: 0, replayData }).every(({ dataset }) => here(dataset)))
      gone.mix = 'A dataset that is mixed in is no longer here: choose another, or leave it out.'
    if (replayShare > 0 && !here(replayData)) gone.replayData = 'The general text is no longer here: choose another.'
    return gone
  }

  /** Settings that the person changed. */
  changed = $derived(Object.keys(this.#own).filter((key) => key in SETTINGS) as SettingKey[])

  originOf(key: SettingKey): Origin {
    if (this.start && (ADAPTER_KEYS.includes(key) || (key === 'objective' && key in this.#inherited))) return 'adapter'
    if (key in this.#own) return 'yours'
    if (key in this.#sample) return 'sample'
    return this.advice && key in this.advice.change ? 'advised' : 'default'
  }

  /** What a setting is without the person's own value. */
  withoutOwn(key: SettingKey): unknown {
    const advised = this.recommendations.find((one) => one.key === key)?.value
    return this.#sample[key] ?? advised ?? SETTINGS[key].default
  }

  set(key: SettingKey, value: unknown): void {
    this.#keep({ ...this.#own, [key]: value })
  }

  /** Takes several settings at once; returns what puts them back. */
  take(change: Partial<Job>): () => void {
    const before = this.#own
    const { model: _model, data: _data, ...rest } = change
    this.#keep({ ...before, ...rest })
    return () => this.#keep(before)
  }

  /** Takes recommendations over what the person has set; returns what puts that back. */
  follow(recommendations: readonly Recommendation[]): () => void {
    const before = this.#own
    const keys = new Set<string>(recommendations.map(({ key }) => key))
    this.#keep(Object.fromEntries(Object.entries(before).filter(([key]) => !keys.has(key))))
    // Where another own value leads to another advice, the recommended value becomes an own one.
    const rest = recommendations.filter(({ key, value }) => this.job[key] !== value)
    if (rest.length > 0) this.#keep({ ...this.#own, ...Object.fromEntries(rest.map(({ key, value }) => [key, value])) })
    return () => this.#keep(before)
  }

  reset(key: SettingKey): void {
    this.#keep(Object.fromEntries(Object.entries(this.#own).filter(([name]) => name !== key)))
  }

  /** Forgets all own settings; returns what puts them back. */
  resetAll(): () => void {
    const before = this.#own
    this.#keep({})
    return () => this.#keep(before)
  }

  /** Takes the settings that an address names; what is not a valid setting is left out. */
  takeQuery(query: URLSearchParams): void {
    const change: Values = {}
    for (const [key] of SETTING_LIST) {
      const raw = query.get(key)
      if (raw === null) continue
      const value = parseSetting(key, raw)
      if (checkSetting(key, value) !== null) continue
      if (key === 'model') models.choose(raw)
      else if (key === 'data') datasets.choose(raw)
      else change[key] = value
    }
    if (Object.keys(change).length > 0) this.#keep({ ...this.#own, ...change })
  }

  /** The person's own settings as an address. */
  toQuery(): string {
    // Runs are of this browser alone.
    const own = this.changed.filter((key) => key !== 'initAdapter').map((key) => [key, String(this.job[key])])
    return new URLSearchParams(own).toString()
  }

  #keep(own: Values): void {
    this.#own = own
    writePreference('draft', own)
  }
}

export const draft = new Draft()

/** How many steps a job will take on so many training rows. */
export function stepsOf(job: Job, trainRows: number): number {
  if (job.steps > 0) return job.steps
  const rows = passRows(job, job.subset > 0 ? Math.min(job.subset, trainRows) : trainRows)
  return Math.max(1, Math.ceil((job.epochs * rows) / (job.batchSize * job.gradAccum)))
}
