/** AdamW with moments in 8 bits: against numbers recorded from PyTorch, under replay, and through a checkpoint. */
import { describe, expect, it } from 'vitest'
import { adamw8bitUpdate, momentMaps, momentShapes } from '../../src/engine/ops/adamw-8bit'
import { wholePart } from '../../src/engine/ops/flat'
import { Recorder } from '../../src/engine/ops/replay'
import { createOptimiser, type NamedVariable } from '../../src/engine/optim/optimiser'
import { tf } from '../../src/engine/tf'
import { halvesToFloats } from '../../src/engine/formats/float16'
import { completeJob, type Job } from '../../src/shared/job'
import type { TensorData } from '../../src/shared/records'
import { onWebGPU, values } from '../support/backends'
import { readQuantised } from '../support/golden'

const { adamw8bit: golden } = await readQuantised()
const floats = (bits: readonly number[]): Float32Array => halvesToFloats(Uint16Array.from(bits))
const variable = (make: () => tf.Tensor): tf.Variable => tf.tidy(() => tf.variable(make(), false))

it('moves as bitsandbytes does', async () => {
  const size = golden.p.length
  const shapes = momentShapes(size)
  const param = variable(() => tf.tensor1d(floats(golden.p)))
  const codes = variable(() => tf.fill(shapes.codes, 0, 'int32'))
  const scales = variable(() => tf.fill(shapes.scales, 0))
  const maps = momentMaps()
  const { lr: learningRate, beta1, beta2, eps: epsilon, decay: weightDecay } = golden
  for (const [i, bits] of golden.grads.entries()) {
    const grad = tf.tidy(() => tf.mul(tf.tensor1d(floats(bits)), 4))
    const hyper = { learningRate, beta1, beta2, epsilon, weightDecay, step: i + 1, clip: 0.25 }
    adamw8bitUpdate(param, grad, { codes, scales }, maps, hyper)
    grad.dispose()
  }
  const moved = await param.data()
  golden.after.forEach((wanted, i) => expect(Math.abs(moved[i]! - wanted), `value ${i}`).toBeLessThan(2e-6))
  const most = await scales.data()
  const blocks = golden.m_scales.length
  ;[...golden.m_scales, ...golden.v_scales].forEach((wanted, i) => expect(most[i]! / wanted).toBeCloseTo(1, 5))
  expect(most).toHaveLength(2 * blocks)
  const bytes = new Uint8Array((await codes.data()).slice().buffer)
  const half = bytes.length / 2
  const off = [golden.m, golden.v].map((wanted, which) =>
    wanted.map((code, i) => Math.abs(bytes[which * half + i]! - code)),
  )
  // Where shaders may fuse a product with a sum, a value between two numbers can go to the other one.
  for (const distances of off) {
    expect(Math.max(...distances)).toBeLessThanOrEqual(onWebGPU() ? 1 : 0)
    expect(distances.filter((distance) => distance > 0).length).toBeLessThan(size / 100)
  }
  tf.dispose([param, codes, scales, maps])
})

describe('as an optimiser', () => {
  const job = (optimizer: Job['optimizer']): Job => completeJob({ optimizer, weightDecay: 0.1 })
  const SHAPES: [number, number][] = [
    [70, 61],
    [3, 5],
  ]
  const parameters = (): NamedVariable[] =>
    SHAPES.map((shape, i) => ({
      name: `p${i}`,
      variable: variable(() => tf.tensor2d(values(shape[0] * shape[1], i), shape)),
    }))

  /** All values after so many updates, from a checkpoint where there is one, and the checkpoint there. */
  async function play(
    optimizer: Job['optimizer'],
    [from, to]: [number, number],
    given?: { tensors: Record<string, TensorData>; weights: Float32Array[] },
    recorder = new Recorder(),
  ) {
    const variables = parameters()
    const optimiser = createOptimiser(job(optimizer), variables)
    if (given) {
      optimiser.restore(given.tensors)
      given.weights.forEach((data, i) => tf.tidy(() => variables[i]!.variable.assign(tf.tensor2d(data, SHAPES[i]!))))
    }
    for (let step = from; step < to; step++) {
      const fresh = SHAPES.map(([a, b], i) => recorder.put(`g${i}`, values(a * b, 10 * step + i), [a, b]))
      optimiser.update(fresh.map(wholePart), 0.01 / (step + 1), 0.5, recorder)
    }
    const weights = await Promise.all(variables.map(async (one) => Float32Array.from(await one.variable.data())))
    const tensors = await optimiser.save()
    const { bytes } = optimiser
    optimiser.dispose()
    tf.dispose(variables.map((one) => one.variable))
    const replayed = recorder.replayed.runs
    recorder.dispose()
    return { weights, tensors, bytes, replayed }
  }

  it('is near AdamW, gives it small tensors, and keeps two bytes a value', async () => {
    const [exact, rounded] = [await play('adamw', [0, 6]), await play('adamw-8bit', [0, 6])]
    expect(rounded.weights[1]).toEqual(exact.weights[1])
    expect(rounded.weights[0]).not.toEqual(exact.weights[0])
    const off = rounded.weights[0]!.map((value, i) => Math.abs(value - exact.weights[0]![i]!))
    expect(off.reduce((sum, value) => sum + value, 0) / off.length).toBeLessThan(1e-3)
    expect(exact.bytes).toBe(8 * (70 * 61 + 15))
    expect(rounded.bytes).toBe(2 * (4 * Math.ceil((70 * 61) / 4) + 4 * 17) + 8 * 15)
  })

  it('goes on from a checkpoint with the same numbers', async () => {
    const whole = await play('adamw-8bit', [0, 6])
    const resumed = await play('adamw-8bit', [3, 6], await play('adamw-8bit', [0, 3]))
    expect(resumed.weights).toEqual(whole.weights)
    expect(resumed.tensors).toEqual(whole.tensors)
    expect(Object.keys(whole.tensors)).toEqual([
      ...['adam8bit/codes/p0', 'adam8bit/scales/p0', 'adam8bit/m/p1', 'adam8bit/v/p1', 'adam8bit/step'],
    ])
  })

  it('gives the same numbers replayed', async () => {
    const plain = await play('adamw-8bit', [0, 6], undefined, new Recorder({ enabled: false }))
    const replayed = await play('adamw-8bit', [0, 6])
    expect(replayed.weights).toEqual(plain.weights)
    expect(replayed.tensors).toEqual(plain.tensors)
    // The first uploads the parameters; the second and third have to agree.
    if (onWebGPU()) expect(replayed.replayed).toBe(3)
  })

  it('leaves nothing behind', async () => {
    const before = tf.memory().numTensors
    await play('adamw-8bit', [0, 2])
    expect(tf.memory().numTensors).toBe(before)
  })
})
