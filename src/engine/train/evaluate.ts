/** Loss and token accuracy over rows, reduced token by token. Refuses to hold more than one batch of rows on the device. */
import type { EncodedRow } from '../../shared/records'
import type { Trainable } from '../adapters/trainable'
import { withGuard } from '../device-guard'
import type { Model } from '../models/model'
import { crossEntropy } from '../ops'
import { classLoss } from '../ops/class-loss'
import { Recorder } from '../ops/replay'
import { store } from '../ops/store'
import { tf } from '../tf'
import { breathe } from './breathe'
import { checkPositions, countLabels, packBatch, shapeKey, uploadBatch } from './batch'
import { lookedAt, trainingPass } from './backprop'

/** What a row came to: mean loss in nats over its `tokens` labels, of which `correct` were the likeliest token. */
export interface RowResult {
  index: number
  loss: number
  tokens: number
  correct: number
}

export interface Evaluation {
  /** Sum of all token losses / number of labels. NaN without labels. */
  loss: number
  perplexity: number
  tokenAccuracy: number
  /** Labels that counted. */
  tokens: number
  rows: RowResult[]
}

/** Rows go together up to this many tokens, padded or packed, and rows. */
const BATCH_TOKENS = 2048
const BATCH_ROWS = 16
const PACKED_ROWS = 64

function* groups(rows: readonly EncodedRow[], together: boolean, tokens: number): Generator<EncodedRow[]> {
  const most = together ? PACKED_ROWS : BATCH_ROWS
  let group: EncodedRow[] = []
  let longest = 0
  let sum = 0
  for (const row of rows) {
    const { length } = row.inputIds
    const next = together ? sum + length : Math.max(longest, length) * (group.length + 1)
    if (group.length > 0 && (group.length >= most || next > tokens)) {
      yield group
      group = []
      longest = sum = 0
    }
    group.push(row)
    longest = Math.max(longest, length)
    sum += length
  }
  if (group.length > 0) yield group
}

async function evaluateGroup(
  model: Model,
  adapter: Trainable | null,
  rows: readonly EncodedRow[],
  recorder: Recorder,
  together: boolean,
): Promise<RowResult[]> {
  const { values, slots } = await measureGroup(model, adapter, rows, recorder, together)
  let at = 0
  return rows.map((row): RowResult => {
    const tokens = countLabels(row)
    let loss = 0
    let correct = 0
    for (const end = at + tokens; at < end; at++) {
      loss += values[at] as number
      correct += values[slots + at] as number
    }
    return { index: row.index, loss: loss / tokens, tokens, correct }
  })
}

/** Losses of the labels of all rows, one after the other, then from `slots` on whether each was the likeliest token. */
async function measureGroup(
  model: Model,
  adapter: Trainable | null,
  rows: readonly EncodedRow[],
  recorder: Recorder,
  together = false,
): Promise<{ values: Float32Array; slots: number }> {
  const { network } = model
  const batch = packBatch(rows, tf.getBackend() !== 'webgpu', together, adapter?.virtual)
  checkPositions(batch, model)
  const on = uploadBatch(batch, recorder)
  const pass = trainingPass(adapter, batch, on)
  const results = recorder.put('results', new Float32Array(2 * batch.slots))
  recorder.run(`evaluate, ${shapeKey(batch)}`, () => {
    let x = tf.tidy(() => network.embed(on.ids, pass))
    for (let i = 0; i < network.layers; i++) {
      const next = tf.tidy(() => network.layer(i, x, pass))
      x.dispose()
      x = next
    }
    tf.tidy(() => {
      const seen = lookedAt(network, x, on, pass)
      const score = pass.overlay?.score
      const { loss, correct } = score
        ? classLoss(seen, score, on.targets)
        : crossEntropy(seen, network.head(pass), on.targets, network.logitCap)
      store(results, loss)
      store(results, correct, { at: batch.slots })
    })
    x.dispose()
  })
  return { values: (await results.data()) as Float32Array, slots: batch.slots }
}

/**
 * How badly each token of a row was expected from those before it, in nats.
 * @param row `labels` say which tokens; -100 for others.
 * @returns [tokens]: NaN where nothing was asked, and for the first token, which nothing predicts.
 */
export async function tokenLosses(model: Model, adapter: Trainable | null, row: EncodedRow): Promise<Float32Array> {
  const recorder = new Recorder()
  try {
    const { values } = await withGuard(() => measureGroup(model, adapter, [row], recorder))
    let at = 0
    return Float32Array.from(row.labels, (label, i) => (i > 0 && label !== -100 ? (values[at++] as number) : NaN))
  } finally {
    recorder.dispose()
  }
}

/**
 * Loss, perplexity and token accuracy of a model, with an adapter where one is given.
 * @param onRow called for each row in order as soon as it is known.
 * @param signal aborts between batches with an `AbortError`.
 * @param recorder of a session that evaluates again and again; it must not have seen another model or adapter.
 * @param together packs rows one after the other instead of padding them; each sees only itself, so the numbers stay the same.
 * @param most tokens that go together at most, so that this takes no more memory than a step of training; one row always goes.
 */
export async function evaluate(
  model: Model,
  adapter: Trainable | null,
  rows: readonly EncodedRow[],
  onRow?: (result: RowResult, done: number) => void,
  signal?: AbortSignal,
  recorder?: Recorder,
  together = false,
  most = BATCH_TOKENS,
): Promise<Evaluation> {
  const results: RowResult[] = []
  const own = recorder ?? new Recorder()
  try {
    for (const group of groups(rows, together, Math.min(BATCH_TOKENS, most))) {
      signal?.throwIfAborted()
      for (const result of await withGuard(() => evaluateGroup(model, adapter, group, own, together))) {
        results.push(result)
        onRow?.(result, results.length)
      }
      await breathe()
    }
  } finally {
    if (!recorder) own.dispose()
  }
  return totalOf(results)
}

/** What rows that were measured come to together. */
export function totalOf(rows: RowResult[]): Evaluation {
  const total = (pick: (row: RowResult) => number): number => rows.reduce((sum, row) => sum + pick(row), 0)
  const tokens = total((row) => row.tokens)
  const loss = total((row) => (row.tokens > 0 ? row.loss * row.tokens : 0)) / tokens
  return { loss, perplexity: Math.exp(loss), tokenAccuracy: total((row) => row.correct) / tokens, tokens, rows }
}
