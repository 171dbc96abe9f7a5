/**
 * Training on preferences: gradients of an objective over whole answers, their reference at the start of the run, and how validation rows
 * stand. Refuses a reference taken later: it is read once, before the first step, and travels with every checkpoint.
 */
import { CodedError } from '../../shared/errors'
import type { Job } from '../../shared/job'
import type { BatchSource, EncodedRow, EncodedSequence, TensorData } from '../../shared/records'
import type { Trainable } from '../adapters/trainable'
import { withGuard } from '../device-guard'
import type { Model } from '../models/model'
import { mixSeed } from '../random'
import { floatsOf } from '../tensor-data'
import { tf } from '../tf'
import type { Arithmetic } from '../ops/arithmetic'
import type { Recorder } from '../ops/replay'
import { backpropWeighted, embeddingNoise, type GradientTaker } from './backprop'
import { checkPositions, countLabels, packBatch, shapeKey, uploadBatch, type Batch } from './batch'
import { evaluate } from './evaluate'
import { stepTokens } from './schedule'
import type { SessionEvent } from './events'
import { answersOf } from './objectives/objective'
import type { Judged, Objective, Verdict } from './objectives/verdict'

/** Name of the reference in a checkpoint: two numbers a row, of its answers or of its answer and the unmatched one. */
const REFERENCE = 'reference/logps'
/** Rows between two reports of progress. */
const REPORT = 64

/** How a set of rows stands. */
export interface PreferenceResult {
  /** Mean over rows. */
  readonly loss: number
  /** Mean reward of the better answers less that of the worse; NaN where there are none of one kind. */
  readonly rewardMargin: number
  /** Share of rows on the right side. */
  readonly rewardAccuracy: number
}

interface PreferenceParts {
  readonly model: Model
  readonly adapter: Trainable
  readonly job: Job
  readonly objective: Objective
  readonly recorder: Recorder
  /** What the products of a step are computed in. */
  readonly arithmetic: Arithmetic
  /** At its start; where it stands is left as it is. */
  readonly batches: BatchSource
  readonly evalRows: readonly EncodedRow[]
  readonly totalSteps: number
}

export class Preferences {
  readonly #parts: PreferenceParts
  /** Rows that the run will see, each once, in the order in which it first sees them; then validation rows. */
  readonly #rows: readonly EncodedRow[]
  readonly #reference = new Map<EncodedRow, readonly [number, number]>()

  constructor(parts: PreferenceParts) {
    this.#parts = parts
    this.#rows = parts.objective.needsReference ? [...rowsAhead(parts), ...parts.evalRows] : []
  }

  /** Reads what is missing of the reference, telling how far it is. */
  async *prepare(): AsyncGenerator<SessionEvent, void> {
    const missing = this.#rows.filter((row) => !this.#reference.has(row))
    for (let from = 0; from < missing.length; from += REPORT) {
      yield { kind: 'stage', stage: 'Reading the reference', done: from, total: missing.length }
      const part = missing.slice(from, from + REPORT)
      const pairs = part.map((row) => this.#sequences(row))
      const logps = await this.#logps(pairs.flat())
      let at = 0
      part.forEach((row, i) => {
        const two = pairs[i]!.map(() => Math.fround(logps[at++]!))
        this.#reference.set(row, [two[0]!, two[1] ?? 0])
      })
    }
  }

  /** The reference as a checkpoint holds it; nothing until it is whole. */
  save(): Record<string, TensorData> {
    if (this.#rows.length === 0 || this.#rows.some((row) => !this.#reference.has(row))) return {}
    const values = Float32Array.from(this.#rows.flatMap((row) => [...(this.#reference.get(row) ?? [])]))
    return { [REFERENCE]: { dtype: 'F32', shape: [this.#rows.length, 2], bytes: new Uint8Array(values.buffer) } }
  }

  /** @throws CodedError `checkpoint.mismatch` where it is of other rows. */
  restore(tensors: Readonly<Record<string, TensorData>>): void {
    const stored = tensors[REFERENCE]
    if (!stored) return
    if (stored.shape[0] !== this.#rows.length)
      throw new CodedError('checkpoint.mismatch', 'The checkpoint was made with other rows.', {
        where: REFERENCE,
        fix: 'Resume with the dataset of that run, or start a new one.',
      })
    const values = floatsOf(stored)
    this.#rows.forEach((row, i) => this.#reference.set(row, [values[2 * i]!, values[2 * i + 1]!]))
  }

  /**
   * Loss of a step, the mean over the rows of all its micro-batches, and its gradients times `scale`, which `taker` takes, micro-batch
   * by micro-batch.
   * @throws CodedError `data.columns` where the rows are not what the objective needs.
   */
  async gradients(
    micro: readonly EncodedRow[][],
    step: number,
    taker: (micro: number) => GradientTaker,
    scale = 1,
  ): Promise<PreferenceResult> {
    for await (const _ of this.prepare());
    const { model, adapter, job, recorder, arithmetic } = this.#parts
    const total = micro.reduce((sum, rows) => sum + rows.length, 0)
    const verdicts: Verdict[] = []
    for (const [m, rows] of micro.entries()) {
      const unmatched = await this.#unmatched(rows)
      const sequences = rows.map((row) => answersOf(row, job.objective))
      const flat = rows.flatMap((row, i) => sequences[i]!.map((sequence) => asRow(sequence, row.index)))
      const batch = packBatch(flat, tf.getBackend() !== 'webgpu', job.packing, adapter.virtual)
      checkPositions(batch, model)
      // In halves the gradients of all tokens are as small as a mean's before they are weighed, or the scale would be too large for them.
      const share = arithmetic === 'f32' ? 1 : batch.slots
      const weigh = (losses: Float32Array): Float32Array => {
        const logps = sumsOf(flat, losses)
        let at = 0
        const verdict = this.#judge(rows, sequences.map((own) => own.map(() => -logps[at++]!)), unmatched) // prettier-ignore
        verdicts.push(verdict)
        // The gradient of a token's loss is that of minus its log-probability.
        return spread(flat, verdict.slopes.flat().map((slope) => (-slope * share) / total), batch.slots) // prettier-ignore
      }
      const seed = mixSeed(job.seed, step, m)
      const key = `weighted ${m === 0 ? 'first' : 'more'}, ${shapeKey(batch)}`
      const work = this.#work(batch, seed, scale / share)
      try {
        await withGuard(() => backpropWeighted(model.network, adapter, work, { recorder, key, weigh }, taker(m)))
      } catch (error) {
        recorder.forget() // what was recorded may have been refused by the device
        throw error
      }
    }
    return resultOf(verdicts, total)
  }

  #work(batch: Batch, seed: number, scale: number): Parameters<typeof backpropWeighted>[2] {
    const { recorder, job, model, arithmetic } = this.#parts
    const { hidden } = model.network
    const noise = job.neftune > 0 ? embeddingNoise(batch, hidden, job.neftune, seed) : null
    return {
      batch,
      noise: noise && (recorder.put('noise', noise, [batch.ids.length, hidden]) as tf.Tensor2D),
      on: uploadBatch(batch, recorder),
      // In full precision it is 1, and no more than that.
      scale: arithmetic === 'f32' ? scale : recorder.number('scale', scale),
      arithmetic,
      dropoutSeed: recorder.number('dropout seed', seed, 'int32'),
    }
  }

  /** How rows stand now, all of them together. */
  async evaluate(rows: readonly EncodedRow[]): Promise<PreferenceResult> {
    for await (const _ of this.prepare());
    const { job } = this.#parts
    const sequences = rows.map((row) => answersOf(row, job.objective))
    const logps = await this.#logps(rows.flatMap((row, i) => sequences[i]!.map((own) => asRow(own, row.index))))
    let at = 0
    const answers = sequences.map((own) => own.map(() => logps[at++]!))
    return resultOf([this.#judge(rows, answers, await this.#unmatched(rows))], rows.length)
  }

  #judge(rows: readonly EncodedRow[], logps: readonly number[][], unmatched: readonly number[] | null): Verdict {
    const { objective, job } = this.#parts
    const judged = rows.map((row, i): Judged => {
      const reference = this.#reference.get(row) ?? [0, 0]
      return {
        row,
        answers: answersOf(row, job.objective).map((sequence, k) => {
          return { logp: logps[i]![k]!, reference: reference[k]!, tokens: countLabels(asRow(sequence, row.index)) }
        }),
        unmatched: unmatched ? { logp: unmatched[i]!, reference: reference[1], tokens: 1 } : null,
      }
    })
    return objective.judge(judged)
  }

  /** Log-probabilities of other rows' answers to these prompts, where the objective looks at them. */
  async #unmatched(rows: readonly EncodedRow[]): Promise<number[] | null> {
    if (!this.#parts.objective.unmatched) return null
    return this.#logps(rows.map((row) => asRow(row.rated!.other, row.index)))
  }

  /** What the reference holds of a row. */
  #sequences(row: EncodedRow): EncodedRow[] {
    const { job, objective } = this.#parts
    const own = answersOf(row, job.objective)
    return [...own, ...(objective.unmatched ? [row.rated!.other] : [])].map((one) => asRow(one, row.index))
  }

  async #logps(rows: readonly EncodedRow[]): Promise<number[]> {
    const { model, adapter, recorder, job } = this.#parts
    return (
      await evaluate(model, adapter, rows, undefined, undefined, recorder, job.packing, stepTokens(job))
    ).rows.map(({ loss, tokens }) => -loss * tokens)
  }
}

function asRow({ inputIds, labels }: EncodedSequence, index: number): EncodedRow {
  return { index, inputIds, labels }
}

/** The distinct rows of all batches of a run; the source is put back to where it stood. */
function rowsAhead({ batches, job, totalSteps }: PreferenceParts): EncodedRow[] {
  const start = batches.cursor()
  const rows = new Set<EncodedRow>()
  for (let i = 0; i < totalSteps * job.gradAccum && rows.size < batches.rows; i++)
    for (const row of batches.next()) rows.add(row)
  batches.restore(start)
  return [...rows]
}

/** Sums of token losses, sequence by sequence; a batch has its positions in their order. */
function sumsOf(rows: readonly EncodedRow[], losses: Float32Array): number[] {
  let at = 0
  return rows.map((row) => {
    let sum = 0
    for (const end = at + countLabels(row); at < end; at++) sum += losses[at]!
    return sum
  })
}

/** Each sequence's number at each of its labels, in `slots` places; 0 where there is none. */
function spread(rows: readonly EncodedRow[], values: readonly number[], slots: number): Float32Array {
  const result = new Float32Array(slots)
  let at = 0
  rows.forEach((row, i) => {
    const end = at + countLabels(row)
    result.fill(values[i]!, at, end)
    at = end
  })
  return result
}

function resultOf(verdicts: readonly Verdict[], rows: number): PreferenceResult {
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
  const good = mean(verdicts.flatMap((verdict) => verdict.good))
  const bad = mean(verdicts.flatMap((verdict) => verdict.bad))
  return {
    loss: verdicts.reduce((sum, { loss }) => sum + loss, 0) / rows,
    rewardMargin: good - bad,
    rewardAccuracy: verdicts.reduce((sum, { right }) => sum + right, 0) / rows,
  }
}
