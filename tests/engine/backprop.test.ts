/** Layer-by-layer gradients against the whole model on one tape, and what becomes of batches on the way. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Model, Trainable } from '../../src/engine'
import { createLora } from '../../src/engine/adapters/lora'
import { logits } from '../../src/engine/ops'
import { Recorder } from '../../src/engine/ops/replay'
import { tf } from '../../src/engine/tf'
import { trainingPass } from '../../src/engine/train/backprop'
import { countLabels, IGNORED, packBatch, uploadBatch, type Batch } from '../../src/engine/train/batch'
import { expectClose, values } from '../support/backends'
import { gradientsOf } from '../support/gradients'
import { encodedRows, goldenModel, readGolden } from '../support/golden'

let model: Model
let rows: ReturnType<typeof encodedRows>

beforeAll(async () => {
  model = await goldenModel('llama-gqa-tied')
  rows = encodedRows(await readGolden('llama-gqa-tied'))
})
afterAll(() => model?.dispose())

/** An adapter whose B is not zero, so that no gradient is. */
function livelyAdapter(
  dropout = 0,
  targets = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
): Trainable {
  const adapter = createLora(model, { rank: 3, alpha: 6, dropout, targets }, 11)
  adapter.variables.forEach(({ variable }, i) =>
    tf.tidy(() => variable.assign(tf.tensor(values(variable.size, i, 0.3), variable.shape))),
  )
  return adapter
}

/** The same loss and gradients with every layer on one tape and plain cross-entropy: what the product never does. */
function oracle(
  adapter: Trainable,
  batch: Batch,
  scale: number,
  seed: number,
): { loss: tf.Tensor; grads: tf.Tensor[] } {
  return tf.tidy(() => {
    const { network } = model
    const recorder = new Recorder({ enabled: false })
    const on = uploadBatch(batch, recorder)
    const pass = trainingPass(adapter, batch, on, seed)
    const variables = adapter.variables.map(({ variable }) => variable as tf.Tensor)
    const { value, grads } = tf.engine().gradients(() => {
      let x = network.embed(tf.tensor1d(batch.ids, 'int32'), pass)
      for (let i = 0; i < network.layers; i++) x = network.layer(i, x, pass)
      const all = tf.logSoftmax(logits(network.finish(x, pass), network.head(pass)))
      const chosen = new Float32Array(all.size)
      batch.targets.forEach((target, i) => {
        if (target !== IGNORED) chosen[batch.positions[i]! * network.vocabulary + target] = -scale
      })
      return tf.sum(tf.mul(all, tf.tensor2d(chosen, all.shape))) as tf.Scalar
    }, variables)
    return { loss: value, grads }
  })
}

describe('backprop', () => {
  it.each([
    ['all layers', 0, undefined],
    ['dropout', 0.3, undefined],
    ['attention only', 0, ['q_proj', 'v_proj']],
  ] as const)('equals the whole-model tape: %s', async (_, dropout, targets) => {
    const adapter = livelyAdapter(dropout, targets && [...targets])
    for (const exact of [true, false]) {
      const batch = packBatch(rows.slice(1, 4), exact)
      const wanted = oracle(adapter, batch, 0.25, 5)
      const { lossSum, gradients } = gradientsOf(model, adapter, batch, 0.25, 5)
      await expectClose(tf.mul(lossSum, 0.25), wanted.loss, 1e-5, 'loss')
      expect(gradients.length).toBe(adapter.variables.length)
      for (const [i, { name }] of adapter.variables.entries())
        await expectClose(gradients[i]!, wanted.grads[i]!, 1e-5, name)
    }
    adapter.dispose()
  })

  it('gives the same bits with tapes kept, and frees them', async () => {
    const adapter = livelyAdapter(0.3)
    const batch = packBatch(rows.slice(1, 4), false)
    const before = tf.memory().numTensors
    const all = [0, 2000, 2 ** 40].map((spare) => gradientsOf(model, adapter, batch, 0.25, 5, spare))
    expect(tf.memory().numTensors - before).toBe(3 * (1 + adapter.variables.length))
    const [plain, ...others] = all
    for (const other of others) {
      for (const [i, gradient] of plain!.gradients.entries())
        expect([...(await other.gradients[i]!.data())]).toEqual([...(await gradient.data())])
    }
    for (const { lossSum, gradients } of all) tf.dispose([lossSum, ...gradients])
    adapter.dispose()
  })

  it('does not depend on padding', async () => {
    const adapter = livelyAdapter()
    const [tight, loose] = [true, false].map((exact) => gradientsOf(model, adapter, packBatch(rows, exact), 1, 0))
    for (const [i, gradient] of tight!.gradients.entries()) await expectClose(loose!.gradients[i]!, gradient, 1e-5)
    adapter.dispose()
  })

  it('gives the same loss and gradients for packed rows', async () => {
    const adapter = livelyAdapter()
    const apart = gradientsOf(model, adapter, packBatch(rows, true), 0.5, 0)
    for (const exact of [true, false]) {
      const batch = packBatch(rows, exact, true)
      expect(batch.rows).toBeLessThan(rows.length)
      const packed = gradientsOf(model, adapter, batch, 0.5, 0)
      await expectClose(packed.lossSum, apart.lossSum, 1e-5, 'loss')
      for (const [i, { name }] of adapter.variables.entries())
        await expectClose(packed.gradients[i]!, apart.gradients[i]!, 1e-5, name)
    }
    adapter.dispose()
  })

  it('gives another mask to another step', async () => {
    const adapter = livelyAdapter(0.5)
    const batch = packBatch(rows.slice(0, 2), true)
    const losses = await Promise.all(
      [1, 1, 2].map((seed) => gradientsOf(model, adapter, batch, 1, seed).lossSum.data()),
    )
    expect(losses[0]![0]).toBe(losses[1]![0])
    expect(losses[0]![0]).not.toBe(losses[2]![0])
    adapter.dispose()
  })

  it('frees everything but its results', () => {
    const adapter = livelyAdapter()
    const batch = packBatch(rows, true)
    const once = (): void => {
      const { lossSum, gradients } = gradientsOf(model, adapter, batch, 1, 0)
      for (const tensor of [lossSum, ...gradients]) tensor.dispose()
    }
    once()
    const before = tf.memory().numTensors
    once()
    expect(tf.memory().numTensors).toBe(before)
    adapter.dispose()
  })
})

describe('packBatch', () => {
  const row = (ids: number[], labels: number[]) => ({ index: 0, inputIds: Int32Array.from(ids), labels: Int32Array.from(labels) }) // prettier-ignore

  it('predicts the next token and leaves out what comes after the last label', () => {
    const batch = packBatch([row([5, 6, 7, 8], [-100, -100, 7, -100]), row([9, 4], [9, 4])], true)
    expect(batch.seq).toBe(2)
    expect([...batch.ids]).toEqual([5, 6, 9, 0])
    expect([...batch.positions]).toEqual([1, 2])
    expect([...batch.targets]).toEqual([7, 4])
    expect([...batch.places]).toEqual([2, 0, 1, 2])
    expect(batch.labels).toBe(2)
    expect(batch.tokens).toBe(6)
  })

  it('puts examples into few rows, each with its own beginning', () => {
    const four = row([1, 2, 3, 4, 5], [-100, -100, -100, -100, 5])
    const three = row([6, 7, 8, 9], [-100, -100, -100, 9])
    const one = row([10, 11], [-100, 11])
    const batch = packBatch([one, four, three], true, true)
    expect([batch.rows, batch.seq, batch.longest]).toEqual([2, 4, 4])
    expect([...batch.ids]).toEqual([1, 2, 3, 4, 6, 7, 8, 10])
    expect([...batch.packed!.starts]).toEqual([0, 0, 0, 0, 0, 0, 0, 3])
    expect([...batch.packed!.within]).toEqual([0, 1, 2, 3, 0, 1, 2, 0])
    // in the order of the rows that were given, whatever row they went to
    expect([...batch.positions]).toEqual([7, 3, 6])
    expect([...batch.targets]).toEqual([11, 5, 9])
    const long = packBatch([one, four, three], false, true)
    expect([long.rows, long.seq]).toEqual([1, 64])
    expect([...long.packed!.starts.subarray(0, 10)]).toEqual([0, 1, 1, 1, 1, 5, 5, 5, 8, 9])
    expect([...long.packed!.within.subarray(0, 10)]).toEqual([0, 0, 1, 2, 3, 0, 1, 2, 0, 0])
  })

  it('never counts a label on the first token', () => {
    expect(countLabels(row([1, 2, 3], [1, 2, 3]))).toBe(2)
    expect(countLabels(row([1, 2, 3], [1, -100, -100]))).toBe(0)
  })

  it('rounds shapes up so that few differ', () => {
    const long = Array.from({ length: 19 }, (_, i) => i)
    const batch = packBatch([row(long, long)], false)
    expect([batch.seq, batch.slots]).toEqual([32, 32])
    expect([...batch.targets.slice(18)]).toEqual(new Array(14).fill(IGNORED))
    expect(batch.places.filter((place) => place === 32).length).toBe(14)
  })
})
