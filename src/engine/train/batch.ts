/**
 * Rows of tokens as the tensors of one micro-batch: each padded to a row of its own, or several packed into one. Refuses attention
 * masks: padding stands on the right of causal models, where no trained token ever sees it, and packed examples know where they begin.
 */
import { CodedError } from '../../shared/errors'
import type { EncodedRow } from '../../shared/records'
import type { Model } from '../models/model'
import type { Packed } from '../nn/network'
import { virtualMasks, type VirtualPositions } from '../nn/virtual'
import type { RowNumbers } from '../nn/rows'
import type { Recorder } from '../ops/replay'
import type { tf } from '../tf'

/** A micro-batch on the host. All positions are `row · seq + column`. */
export interface Batch {
  readonly rows: number
  readonly seq: number
  /** Tokens of the longest example that go in. */
  readonly longest: number
  /** For packed rows, `[rows · seq]`: the column at which each position's example begins, and its place in it. Padding is an example. */
  readonly packed: { readonly starts: Int32Array; readonly within: Int32Array } | null
  /** Positions without a token of their own at the start of every example, and where they begin; null without any. */
  readonly virtual: { readonly count: number; readonly offsets: readonly number[] } | null
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
export function bucket(length: number): number {
  if (length <= 128) return roundUp(length, 16)
  if (length <= 512) return roundUp(length, 32)
  return roundUp(length, 128)
}

/** Eight lengths an octave: what one row of many examples is rounded up to. */
export function wideBucket(length: number): number {
  return roundUp(length, Math.max(64, 2 ** (Math.floor(Math.log2(length)) - 3)))
}

/** How many rows of which length there are, and the position at which each example begins. */
interface Layout {
  rows: number
  seq: number
  offsets: number[]
}

/** Every example in a row of its own. */
function apart(lengths: readonly number[], seq: number): Layout {
  return { rows: lengths.length, seq, offsets: lengths.map((_, r) => r * seq) }
}

/** All examples in one row, which costs nothing where attention skips what lies in other examples. */
function inOneRow(lengths: readonly number[]): Layout {
  let end = 0
  const offsets = lengths.map((length) => (end += length) - length)
  return { rows: 1, seq: wideBucket(Math.max(1, end)), offsets }
}

/** Rows as long as the longest example, filled by first fit from the longest on: where attention looks at all pairs of a row. */
function inFewRows(lengths: readonly number[], seq: number): Layout {
  const filled: number[] = []
  const offsets = new Array<number>(lengths.length).fill(0)
  const order = lengths.map((_, r) => r).sort((a, b) => lengths[b]! - lengths[a]! || a - b)
  for (const r of order) {
    const length = lengths[r]!
    let row = filled.findIndex((used) => used + length <= seq)
    if (row < 0) row = filled.push(0) - 1
    offsets[r] = row * seq + filled[row]!
    filled[row]! += length
  }
  return { rows: filled.length, seq, offsets }
}

/** Where examples begin and how far each position is into its own; what is left of a row counts as one more example. */
function borders({ rows, seq, offsets }: Layout, lengths: readonly number[]): Batch['packed'] {
  const starts = new Int32Array(rows * seq)
  const within = new Int32Array(rows * seq)
  const ends = new Int32Array(rows)
  const place = (offset: number, length: number): void => {
    for (let i = 0; i < length; i++) {
      starts[offset + i] = offset % seq
      within[offset + i] = i
    }
  }
  offsets.forEach((offset, r) => {
    place(offset, lengths[r]!)
    const row = Math.floor(offset / seq)
    ends[row] = Math.max(ends[row]!, (offset % seq) + lengths[r]!)
  })
  // Padding is looked at by nobody; each of its positions is an example of one token.
  ends.forEach((end, row) => {
    for (let column = end; column < seq; column++) starts[row * seq + column] = column
  })
  return { starts, within }
}

/**
 * Packs rows for next-token prediction: position t predicts token t + 1, and what follows a row's last label is left out,
 * because nothing that is trained depends on it.
 * @param exact takes lengths as they are; else they are rounded up so that shapes are few, and packed examples share one row.
 * @param together puts several examples into one row; each still sees only itself, so the numbers stay the same.
 * @param virtual positions that go before every example.
 */
export function packBatch(rows: readonly EncodedRow[], exact: boolean, together = false, virtual = 0): Batch {
  const lengths = rows.map((row) => virtual + usedLength(row))
  const longest = Math.max(1, ...lengths)
  const layout = !together
    ? apart(lengths, exact ? longest : bucket(longest))
    : exact
      ? inFewRows(lengths, longest)
      : inOneRow(lengths)
  const { seq, offsets } = layout
  const ids = new Int32Array(layout.rows * seq)
  const positions: number[] = []
  const targets: number[] = []
  rows.forEach((row, r) => {
    const length = (lengths[r] as number) - virtual
    const offset = (offsets[r] as number) + virtual
    ids.set(row.inputIds.subarray(0, length), offset)
    for (let t = 0; t < length; t++) {
      const target = row.labels[t + 1] as number
      if (target < 0) continue
      positions.push(offset + t)
      targets.push(target)
    }
  })
  const labels = positions.length
  const slots = Math.max(1, exact ? labels : bucket(labels))
  const places = new Int32Array(ids.length).fill(slots)
  positions.forEach((position, place) => {
    places[position] = place
  })
  return {
    rows: layout.rows,
    seq,
    longest,
    packed: together ? borders(layout, lengths) : null,
    virtual: virtual > 0 ? { count: virtual, offsets } : null,
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
  readonly packed: Packed | null
  readonly virtual: VirtualPositions | null
}

/** Puts a batch on the device; the recorder owns it until the next batch. */
export function uploadBatch(batch: Batch, recorder: Recorder): DeviceBatch {
  const up = (name: string, values: Int32Array): tf.Tensor1D => recorder.put(name, values) as tf.Tensor1D
  const numbers = (name: string, host: Int32Array): RowNumbers => ({ host, device: up(name, host) })
  return {
    ids: up('ids', batch.ids),
    positions: numbers('positions', batch.positions),
    targets: up('targets', batch.targets),
    places: numbers('places', batch.places),
    packed: batch.packed && {
      starts: numbers('starts', batch.packed.starts),
      within: numbers('within', batch.packed.within),
      longest: batch.longest,
    },
    virtual: batch.virtual && uploadVirtual(batch.ids.length, batch.virtual, recorder),
  }
}

function uploadVirtual(
  size: number,
  { count, offsets }: NonNullable<Batch['virtual']>,
  recorder: Recorder,
): VirtualPositions {
  const { select, keep } = virtualMasks(size, count, offsets)
  return {
    select: recorder.put('virtual positions', select, [size, count]) as tf.Tensor2D,
    keep: recorder.put('real positions', keep, [size, 1]) as tf.Tensor2D,
  }
}

/** Tells batches apart whose steps differ in more than values; as a key for the recorder. */
export function shapeKey({ rows, seq, slots, packed, virtual }: Batch): string {
  return `${rows} ${packed ? 'packed rows' : 'rows'} of ${seq}, ${slots} slots${virtual ? ', virtual' : ''}`
}
