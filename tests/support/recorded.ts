/** Runs held against recorded numbers: their steps, the losses of their rows, their gradients, and that a checkpoint goes on exactly. */
import { expect } from 'vitest'
import { evaluate, type Model, type StepEvent, type Trainable, type TrainSession } from '../../src/engine'
import { tf } from '../../src/engine/tf'
import { countLabels, type Batch } from '../../src/engine/train/batch'
import type { Checkpoint, EncodedRow } from '../../src/shared/records'
import { onWebGPU, relativeError } from './backends'
import { readGoldenTensors, type Golden } from './golden'
import { gradientsOf } from './gradients'
import { FULL, type Tolerance } from './precision'

export interface RecordedStep {
  loss: number
  grad_norm: number
}

/** What scripts/golden keeps of a run that starts from a stored adapter. */
export interface RecordedRun {
  case: string
  steps: RecordedStep[]
  row_losses: { loss: number }[]
  row_losses_after: { loss: number }[]
}

/** How far a number is from the wanted one, as a share of that; or of `least`, for wanted numbers near zero. */
export function off(actual: number, wanted: number, least = 0): number {
  return Math.abs(actual - wanted) / Math.max(Math.abs(wanted), least)
}

/** Trains as many steps as were recorded, three where shaders run on a processor, and holds each loss and norm against them. */
export async function expectSteps(
  session: TrainSession,
  recorded: readonly RecordedStep[],
  {
    few = onWebGPU(),
    tolerance = FULL,
    norm,
    least = 0,
  }: { few?: boolean; tolerance?: Tolerance; norm?: number; least?: number } = {},
): Promise<{ events: StepEvent[]; whole: boolean }> {
  const wanted = recorded.slice(0, few ? 3 : recorded.length)
  const events: StepEvent[] = []
  for (const [i, { loss, grad_norm }] of wanted.entries()) {
    const { event } = await session.advance()
    expect(off(event.loss, loss, least), `loss of step ${i + 1}`).toBeLessThan(
      i === 0 ? tolerance.firstLoss : tolerance.loss,
    )
    expect(off(event.gradNorm, grad_norm, least), `norm of step ${i + 1}`).toBeLessThan(norm ?? tolerance.norm)
    events.push(event)
  }
  return { events, whole: wanted.length === recorded.length }
}

/** Fails where a row's loss is further from the recorded one than `most`, as a share of it. */
export function expectRowLosses(
  rows: readonly { loss: number }[],
  recorded: readonly { loss: number }[],
  most: number,
  { least = 0, label = '' } = {},
): void {
  recorded.forEach(({ loss }, i) => expect(off(rows[i]!.loss, loss, least), `row ${i} ${label}`).toBeLessThan(most))
}

/** {@link expectSteps}, then the losses of the rows afterwards where all steps were made; the session is disposed. */
export async function expectTraining(
  session: TrainSession,
  recorded: Pick<RecordedRun, 'steps' | 'row_losses_after'>,
  rows: readonly EncodedRow[],
  how: { few?: boolean; tolerance?: Tolerance } = {},
): Promise<void> {
  const { whole } = await expectSteps(session, recorded.steps, how)
  if (whole) {
    const { rows: after } = await evaluate(session.model, session.adapter, rows)
    expectRowLosses(after, recorded.row_losses_after, 5e-3, { label: 'afterwards' })
  }
  session.dispose()
}

/** The rows of the first optimiser step, and how many of their labels count. */
export function firstStep(golden: Golden, rows: readonly EncodedRow[]): { rows: EncodedRow[]; labels: number } {
  const first = rows.slice(0, golden.settings.batch_size * golden.settings.grad_accum)
  return { rows: first, labels: first.reduce((sum, row) => sum + countLabels(row), 0) }
}

/** What PEFT keeps as one tensor, from the parts that are trained here. */
function asStored(names: readonly string[], tensors: readonly tf.Tensor[]): Map<string, tf.Tensor> {
  if (!names[0]?.startsWith('prompt_embeddings.')) return new Map(names.map((name, i) => [name, tensors[i]!.clone()]))
  return new Map([['prompt_embeddings', tf.concat(tensors as tf.Tensor2D[], 1)]])
}

/** Holds the gradients of `scale` times a batch's loss against those of a golden folder: the same tensors, each near. */
export async function expectGradients(
  folder: string,
  { model, adapter, batch, scale }: { model: Model; adapter: Trainable; batch: Batch; scale: number },
): Promise<void> {
  const wanted = await readGoldenTensors(folder)
  const { gradients, lossSum } = gradientsOf(model, adapter, batch, scale, 0)
  const names = adapter.variables.map((one) => one.name)
  const found = asStored(names, gradients)
  expect([...found.keys()].sort()).toEqual([...wanted.keys()].sort())
  for (const [key, { shape, values }] of wanted) {
    expect(found.get(key)!.shape, key).toEqual(shape)
    expect(relativeError(await found.get(key)!.data(), values), key).toBeLessThan(FULL.gradient)
  }
  tf.dispose([...gradients, lossSum, ...found.values()])
}

/** What a session keeps after so many more steps; the session is disposed. */
export async function checkpointAfter(session: TrainSession, steps: number): Promise<Checkpoint> {
  for (let i = 0; i < steps; i++) await session.advance()
  const checkpoint = await session.checkpoint()
  session.dispose()
  return checkpoint
}

/**
 * Fails unless a run that is let go after two steps, and goes on from its checkpoint, comes to the bytes of `whole`, the checkpoint of
 * the same run without a break, and leaves no tensor behind. Gives its last checkpoint.
 */
export async function expectExactResume(
  start: (checkpoint?: Checkpoint) => Promise<TrainSession>,
  whole: Checkpoint,
): Promise<Checkpoint> {
  const before = tf.memory().numTensors
  const kept = await checkpointAfter(await start(), 2)
  const got = await checkpointAfter(await start(kept), whole.meta.step - 2)
  expect(tf.memory().numTensors).toBe(before)
  expect(got.meta.step).toBe(whole.meta.step)
  expect(Object.keys(got.tensors)).toEqual(Object.keys(whole.tensors))
  for (const [key, { bytes }] of Object.entries(got.tensors)) expect(bytes, key).toEqual(whole.tensors[key]!.bytes)
  return got
}
