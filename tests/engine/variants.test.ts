/** LoRA's variants against numbers recorded with PEFT: losses, gradients, training, and that a run goes on exactly. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createSession, evaluate, loadTrainable, loadModel, type Model, type TrainSession } from '../../src/engine'
import { rowNorms, FrozenMatrix } from '../../src/engine/ops'
import type { Weights } from '../../src/engine/formats/checkpoint-index'
import { openWeights } from '../../src/engine/formats/checkpoint-index'
import { mergeWeights } from '../../src/engine/formats/merge'
import { asLora, plainDeltas, readPeft, writePeft, type PeftAdapter } from '../../src/engine/formats/peft'
import { readSafetensorsHeader, readTensor, toFloat32, writeSafetensors } from '../../src/engine/formats/safetensors'
import { checkpointAdapter } from '../../src/engine/train/checkpoint'
import { countLabels, packBatch } from '../../src/engine/train/batch'
import { gradientsOf } from '../support/gradients'
import { tf } from '../../src/engine/tf'
import type { FileSource } from '../../src/shared/files'
import type { Job } from '../../src/shared/job'
import type { Checkpoint } from '../../src/shared/records'
import { onWebGPU } from '../support/backends'
import {
  encodedRows,
  goldenFolder,
  goldenJob,
  goldenJson,
  goldenModel,
  goldenSource,
  inOrder,
  readGolden,
  type Golden,
} from '../support/golden'

interface Variant {
  case: string
  ratio: number
  row_losses: { loss: number }[]
  row_losses_after: { loss: number }[]
  steps: { loss: number; grad_norm: number }[]
}

const NAMES = ['dora', 'dora-gpt2', 'rslora-patterns', 'loraplus', 'pissa']
const SETTINGS: Record<string, Partial<Job>> = {
  loraplus: { loraPlus: 4 },
  pissa: { loraInit: 'pissa' },
}

const off = (actual: number, wanted: number): number => Math.abs(actual / wanted - 1)

describe.each(NAMES)('%s', (name) => {
  let variant: Variant
  let golden: Golden
  let model: Model
  let adapter: PeftAdapter | undefined

  beforeAll(async () => {
    variant = await goldenJson<Variant>(`methods/${name}/golden.json`)
    golden = await readGolden(variant.case)
    model = await goldenModel(variant.case)
    if (name !== 'pissa')
      adapter = await readPeft(
        await goldenFolder(`methods/${name}`, ['adapter_config.json', 'adapter_model.safetensors']),
      )
  })
  afterAll(() => model?.dispose())

  function start(change: Partial<Job> = {}, checkpoint?: Checkpoint): Promise<TrainSession> {
    const job = goldenJob(golden, {
      rank: 3,
      alpha: 6,
      steps: variant.steps.length,
      ...SETTINGS[name],
      ...change,
    })
    return createSession({
      model,
      job,
      batches: inOrder(encodedRows(golden), job.batchSize),
      evalRows: [],
      samplePrompt: null,
      ...(adapter && !checkpoint ? { initAdapter: adapter } : {}),
      ...(checkpoint ? { checkpoint: structuredClone(checkpoint) } : {}),
    })
  }

  it.skipIf(name === 'pissa')('gives the losses and gradients of PEFT', async () => {
    const loaded = loadTrainable(model, adapter!)
    const rows = encodedRows(golden)
    const { rows: results } = await evaluate(model, loaded, rows)
    variant.row_losses.forEach(({ loss }, i) => expect(off(results[i]!.loss, loss), `row ${i}`).toBeLessThan(1e-4))
    const first = rows.slice(0, golden.settings.batch_size * golden.settings.grad_accum)
    const labels = first.reduce((sum, row) => sum + countLabels(row), 0)
    const { gradients, lossSum } = gradientsOf(model, loaded, packBatch(first, false), 1 / labels, 0)
    const source = await goldenFolder(`methods/${name}`, ['golden.safetensors'])
    const header = await readSafetensorsHeader(source, 'golden.safetensors')
    expect(loaded.variables.map((one) => one.name).sort()).toEqual([...header.tensors.keys()].sort())
    for (const [i, { name: key }] of loaded.variables.entries()) {
      const wanted = toFloat32(await readTensor(source, header, key))
      const values = await gradients[i]!.data()
      const size = Math.max(...wanted.map(Math.abs))
      wanted.forEach((value, at) => expect(Math.abs(values[at]! - value) / size, key).toBeLessThan(1e-3))
    }
    for (const tensor of [...gradients, lossSum]) tensor.dispose()
    loaded.dispose()
  })

  it('trains to the same losses and norms', async () => {
    const session = await start()
    const most = onWebGPU() ? 3 : variant.steps.length
    for (const [i, wanted] of variant.steps.slice(0, most).entries()) {
      const { event } = await session.advance()
      expect(off(event.loss, wanted.loss), `loss of step ${i + 1}`).toBeLessThan(1e-3)
      expect(off(event.gradNorm, wanted.grad_norm), `norm of step ${i + 1}`).toBeLessThan(3e-3)
    }
    if (most === variant.steps.length) {
      const { rows } = await evaluate(model, session.adapter, encodedRows(golden))
      variant.row_losses_after.forEach(({ loss }, i) => expect(off(rows[i]!.loss, loss), `row ${i}`).toBeLessThan(5e-3))
    }
    session.dispose()
  })

  it('goes on from a checkpoint with the same numbers, and leaves nothing behind', async () => {
    const whole = await start({ dropout: 0.1 })
    for (let i = 0; i < 5; i++) await whole.advance()
    const wanted = await whole.checkpoint()
    whole.dispose()
    const before = tf.memory().numTensors
    const first = await start({ dropout: 0.1 })
    for (let i = 0; i < 2; i++) await first.advance()
    const kept = await first.checkpoint()
    first.dispose()
    const second = await start({ dropout: 0.1 }, kept)
    for (let i = 0; i < 3; i++) await second.advance()
    const got = await second.checkpoint()
    second.dispose()
    expect(tf.memory().numTensors).toBe(before)
    expect(Object.keys(got.tensors)).toEqual(Object.keys(wanted.tensors))
    for (const key of Object.keys(got.tensors)) expect(got.tensors[key]!.bytes, key).toEqual(wanted.tensors[key]!.bytes)
  })

  it('is exported so that it reads back the same, and merges into the same model', async () => {
    const session = await start()
    for (let i = 0; i < 3; i++) await session.advance()
    const stored = checkpointAdapter(await session.checkpoint(), variant.case)
    const rows = encodedRows(golden)
    const { loss } = await evaluate(model, session.adapter, rows)
    session.dispose()
    const files = writePeft(stored)
    const read = await readPeft({
      list: async () => files.map((file) => ({ name: file.name, size: file.bytes.length })),
      read: async (file, from, to) => files.find((one) => one.name === file)!.bytes.slice(from, to),
    })
    expect(read).toEqual(stored)
    const again = loadTrainable(model, read)
    expect(off((await evaluate(model, again, rows)).loss, loss)).toBeLessThan(1e-5)
    again.setStrength(0)
    const base = (await evaluate(model, null, rows)).loss
    expect((await evaluate(model, again, rows)).loss).toBe(base)
    again.setStrength(1e-6)
    expect(off((await evaluate(model, again, rows)).loss, base)).toBeLessThan(1e-4)
    again.dispose()
    const source = await goldenSource(variant.case)
    const merged = await mergedModel(source, mergeWeights(await openWeights(source), read))
    expect(off((await evaluate(merged, null, rows)).loss, loss)).toBeLessThan(1e-5)
    merged.dispose()
    if (asLora(read).config.use_dora) expect(() => plainDeltas(read)).toThrow(/no place for a DoRA/)
  })
})

/** A model of the same files with other weights. */
async function mergedModel(source: FileSource, weights: Weights): Promise<Model> {
  const tensors = Object.fromEntries(await Promise.all(weights.names.map(async (n) => [n, await weights.read(n)])))
  const bytes = writeSafetensors(tensors, { format: 'pt' })
  const isWeights = (file: string): boolean => file === 'model.safetensors'
  const files: FileSource = {
    list: async () =>
      (await source.list()).map((file) => (isWeights(file.name) ? { ...file, size: bytes.length } : file)),
    read: async (file, from, to) => (isWeights(file) ? bytes.slice(from, to) : source.read(file, from, to)),
  }
  return loadModel(files, { id: 'local:merged', name: 'merged' })
}

describe('row norms without the merged matrix', () => {
  it('are those of the merged matrix', async () => {
    const values = (count: number, seed: number): Float32Array =>
      Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 1.7 * i))
    const w = FrozenMatrix.from(values(5 * 8, 1), 5, 8)
    const [a, b] = [tf.tensor2d(values(16, 2), [2, 8]), tf.tensor2d(values(10, 3), [5, 2])]
    const norms = rowNorms(w, { a, b, scale: 0.7 })
    const wanted = tf.tidy(() => tf.norm(tf.add(w.natural(), tf.mul(tf.matMul(b, a), 0.7)), 2, 1))
    const [got, want] = [await norms.data(), await wanted.data()]
    got.forEach((value, i) => expect(value).toBeCloseTo(want[i]!, 4))
    tf.dispose([norms, wanted, a, b])
    w.dispose()
  })
})
