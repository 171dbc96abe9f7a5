/** The Try page: one prompt, answered by the base and by the tuned model with the same seed. Refuses to judge. */
import { engine } from '../client'
import { toReport, type ErrorReport } from '../shared/errors'
import { DEFAULT_SAMPLING, type GenerateRequest, type GenerateResult, type Sampling } from '../shared/protocol'
import type { Vote } from '../shared/judgement'
import type { CheckpointKind, RunId, RunRecord } from '../shared/records'
import { updateRun } from '../storage'
import { models } from './models.svelte'
import { readPreference, writePreference } from './preferences'
import { hasAdapter, runs } from './runs.svelte'
import { training } from './training.svelte'

/** One side's answer as it comes in. */
export class Answer {
  text = $state('')
  busy = $state(false)
  result = $state.raw<GenerateResult | null>(null)
  error = $state.raw<ErrorReport | null>(null)

  async stream(request: GenerateRequest): Promise<void> {
    this.text = ''
    this.result = null
    this.error = null
    this.busy = true
    try {
      this.result = await engine().generate(request, (delta) => (this.text += delta))
      this.text = this.result.text
    } catch (error) {
      this.error = toReport(error)
    } finally {
      this.busy = false
    }
  }

  clear(): void {
    this.text = ''
    this.result = null
    this.error = null
  }
}

type Side = 'base' | 'tuned'
const SIDES: readonly Side[] = ['base', 'tuned']
const SHOTS = 3

class Trial {
  prompt = $state(readPreference('prompt', ''))
  sampling = $state<Sampling>({ ...DEFAULT_SAMPLING, ...readPreference<Partial<Sampling>>('sampling', {}) })
  strength = $state(1)
  /** A second adapter on the same model, and how strongly it acts. */
  besideId = $state<RunId | null>(null)
  besideStrength = $state(1)
  runId = $state<RunId | null>(null)
  kind = $state<CheckpointKind>('best')
  /** Whether a prompt goes through the model's chat template. */
  asChat = $state<boolean | null>(null)
  /** Whether the answers come in a random order without names, to be voted on. */
  blind = $state(readPreference('blind', false))
  /** Whether the base has three examples in its prompt. */
  shots = $state(false)
  /** Which side stands where. */
  order = $state.raw<readonly Side[]>(SIDES)
  /** Whether the names of these answers are still hidden. */
  hidden = $state(false)
  /** The prompt that the answers below answer. */
  answered = $state('')
  readonly base = new Answer()
  readonly tuned = new Answer()
  busy = $derived(this.base.busy || this.tuned.busy)

  /** Runs with an adapter, newest first. */
  choices = $derived(runs.list.filter(hasAdapter))
  run = $derived<RunRecord | null>(
    this.choices.find(({ id }) => id === this.runId) ??
      this.choices.find((run) => run.status === 'done') ??
      this.choices[0] ??
      null,
  )
  /** Runs whose adapter can act beside the first one: of the same model, both LoRA, without DoRA, whose changes do not add up. */
  besides = $derived(
    this.run === null || !addsUp(this.run)
      ? []
      : this.choices.filter((run) => run.id !== this.run?.id && run.model.id === this.run?.model.id && addsUp(run)),
  )
  /** Whether a run's tuning is there or not, and nothing between: virtual tokens have no half. */
  whole = $derived(
    this.run !== null &&
      (['prompt', 'prefix'].includes(this.run.job.method) || this.run.job.objective === 'classification'),
  )
  beside = $derived(this.besides.find(({ id }) => id === this.besideId) ?? null)
  /** The checkpoint that is used: the wanted one, else the one there is. */
  checkpoint = $derived<CheckpointKind>(
    this.run?.checkpoints.some(({ kind }) => kind === this.kind)
      ? this.kind
      : (this.run?.checkpoints[0]?.kind ?? 'last'),
  )
  /** The base that both sides share: the run's, else the chosen one. */
  model = $derived(this.run?.model ?? models.chosen)
  /** Whether the prompt is a question: with a run, the worker then puts it in the form in which its rows asked. */
  chat = $derived(this.asChat ?? this.#asTrained())

  #asTrained(): boolean {
    const format = this.run?.dataset.mapping.format ?? 'unknown'
    return format === 'unknown' ? this.model?.hasChatTemplate === true : format !== 'text'
  }

  choose(run: RunRecord): void {
    this.runId = run.id
  }

  async generate(): Promise<void> {
    const { model, run, prompt } = this
    if (!model || this.busy || prompt.trim() === '') return
    writePreference('prompt', prompt)
    writePreference('sampling', $state.snapshot(this.sampling))
    this.answered = prompt
    const request = {
      ...$state.snapshot(this.sampling),
      modelId: model.id,
      checkpoint: this.checkpoint,
      prompt: this.chat ? [{ role: 'user', content: prompt }] : prompt,
    }
    this.tuned.clear()
    // A vote speaks of one run's adapter.
    this.hidden = this.blind && run !== null && !this.beside
    this.order = this.hidden && crypto.getRandomValues(new Uint8Array(1))[0]! % 2 === 1 ? [...SIDES].reverse() : SIDES
    writePreference('blind', this.blind)
    await Promise.all([
      // At strength 0 an adapter is the base model; with the run, both sides get the same tokens.
      this.base.stream({ ...request, runId: run?.id ?? null, strength: 0, ...(this.shots ? { shots: SHOTS } : {}) }),
      ...(run ? [this.tuned.stream({ ...request, runId: run.id, strength: this.strength, ...this.#second() })] : []),
    ])
  }

  #second(): Pick<GenerateRequest, 'beside'> {
    if (!this.beside) return {}
    return { beside: { runId: this.beside.id, checkpoint: 'best', strength: this.besideStrength } }
  }

  /** Whether there are two whole answers whose names are hidden. */
  votable = $derived(this.hidden && !this.busy && this.base.result !== null && this.tuned.result !== null)

  /** Keeps a vote on the run, and shows which answer was whose. */
  async vote(place: number | null): Promise<void> {
    const { run, answered } = this
    if (!run || !this.votable) return
    this.hidden = false
    const winner = place === null ? 'tie' : (this.order[place] ?? 'tie')
    const vote: Vote = { at: Date.now(), prompt: answered.slice(0, 500), winner }
    training.renew(await updateRun(run.id, ({ votes = [] }) => ({ votes: [...votes, vote] })))
    await runs.refresh()
  }

  async cancel(): Promise<void> {
    await engine().cancelGenerate()
  }
}

function addsUp({ job }: RunRecord): boolean {
  return (job.method ?? 'lora') === 'lora' && !job.dora && job.objective !== 'classification'
}

export const trial = new Trial()
