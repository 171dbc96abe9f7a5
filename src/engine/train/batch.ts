/**
 * Rows of tokens as the padded tensors of one micro-batch. Refuses attention masks: padding stands on the right of causal models,
 * where no trained token ever sees it.
 */
import { CodedError } from '../../shared/errors'
import type { EncodedRow } from '../../shared/records'
import type { Model } from '../models/model'
import type { RowNumbers } from '../nn/rows'
import { tf } from '../tf'

/** A micro-batch on the host. All positions are `row · seq + column`. */
export interface Batch {
  readonly rows: number
  readonly seq: number
  /** Tokens of the longest row that go in; `seq` without its padding. */
  readonly longest: number
  /** Ids `[rows · seq]`, padded with 0. */
  readonly ids: Int32Array
  /** Positions whose output is looked at, padded to `slots` with 0. */
  readonly positions: Int32Array
  /** The token that each of them should predict; -100 for padding. */
  readonly targets: Int32Array
  /** For each of the rows · seq positions its place in `positions`, or `slots` where there is none. */
  readonly places: Int32Array
  /** Length of `positions`. */
  readonly slots: number
  /** Positions that count in the loss. */
  readonly labels: number
  /** Tokens of the rows without padding. */
  readonly tokens: number
}

/** Label that the loss does not look at. */
export const IGNORED = -100

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple
}

/** Shapes grow in these steps so that few differ: buffers and shaders are made per shape. */
function bucket(length: number): number {
  if (length <= 128) return roundUp(length, 16)
  if (length <= 512) return roundUp(length, 32)
  return roundUp(length, 128)
}

/**
 * Packs rows for next-token prediction: position t predicts token t + 1, and what follows a row's last label is left out,
 * because nothing that is trained depends on it.
 * @param exact takes the longest row's own length; else lengths are rounded up so that shapes are few.
 */
export function packBatch(rows: readonly EncodedRow[], exact: boolean): Batch {
  const lengths = rows.map(usedLength)
  const longest = Math.max(1, ...lengths)
  const seq = exact ? longest : bucket(longest)
  const ids = new Int32Array(rows.length * seq)
  const positions: number[] = []
  const targets: number[] = []
  rows.forEach((row, r) => {
    const length = lengths[r] as number
    ids.set(row.inputIds.subarray(0, length), r * seq)
    for (let t = 0; t < length; t++) {
      const target = row.labels[t + 1] as number
      if (target < 0) continue
      positions.push(r * seq + t)
      targets.push(target)
    }
  })
  const labels = positions.length
  const slots = Math.max(1, exact ? labels : bucket(labels))
  const places = new Int32Array(rows.length * seq).fill(slots)
  positions.forEach((position, place) => {
    places[position] = place
  })
  return {
    rows: rows.length,
    seq,
    longest,
    ids,
    positions: Int32Array.from({ length: slots }, (_, i) => positions[i] ?? 0),
    targets: Int32Array.from({ length: slots }, (_, i) => targets[i] ?? IGNORED),
    places,
    slots,
    labels,
    tokens: rows.reduce((sum, row) => sum + row.inputIds.length, 0),
  }
}

/** How many tokens of a row go in: up to the one that predicts its last label. */
function usedLength(row: EncodedRow): number {
  for (let t = row.labels.length - 1; t > 0; t--) if ((row.labels[t] as number) >= 0) return t
  return 0
}

/** Labels of a row that count: its first token is never predicted. */
export function countLabels(row: EncodedRow): number {
  let count = 0
  for (let t = 1; t < row.labels.length; t++) if ((row.labels[t] as number) >= 0) count++
  return count
}

/** @throws CodedError `job.invalid` where a row is longer than the model has positions. */
export function checkPositions(batch: Batch, model: Pick<Model, 'network'>): void {
  if (batch.longest <= model.network.positions) return
  throw new CodedError(
    'job.invalid',
    `An example of ${batch.longest} tokens is longer than the model's ${model.network.positions} positions.`,
    {
      where: 'maxLength',
      fix: `Set the maximum length to ${model.network.positions} or less.`,
    },
  )
}

/** A batch on the device. */
export interface DeviceBatch {
  readonly ids: tf.Tensor1D
  readonly positions: RowNumbers
  readonly targets: tf.Tensor1D
  readonly places: RowNumbers
  dispose(): void
}

/** Uploads a batch; the caller disposes it. */
export function uploadBatch(batch: Batch): DeviceBatch {
  const made: tf.Tensor[] = []
  const up = (values: Int32Array): tf.Tensor1D => {
    const tensor = tf.keep(tf.tensor1d(values, 'int32'))
    made.push(tensor)
    return tensor
  }
  const numbers = (host: Int32Array): RowNumbers => ({ host, device: up(host) })
  return {
    ids: up(batch.ids),
    positions: numbers(batch.positions),
    targets: up(batch.targets),
    places: numbers(batch.places),
    dispose: () => tf.dispose(made),
  }
}
