/** Optimisers, weight averages and smoothed labels against numbers recorded from PyTorch. */
import { describe, expect, it } from 'vitest'
import { FrozenMatrix } from '../../src/engine/ops'
import {
  crossEntropyWithGrad,
  crossEntropyWithGradReference,
  chunk as chunkOfLogits,
} from '../../src/engine/ops/cross-entropy'
import { evenNoise } from '../../src/engine/ops'
import { WeightAverage } from '../../src/engine/optim/average'
import { createOptimiser, type NamedVariable } from '../../src/engine/optim/optimiser'
import { wholePart } from '../../src/engine/ops/flat'
import { Recorder } from '../../src/engine/ops/replay'
import { tf } from '../../src/engine/tf'
import { completeJob, type Job } from '../../src/shared/job'
import { goldenJson } from '../support/golden'

type Rule = Job['optimizer']
interface Golden {
  optimisers: Record<'adamw' | 'sgd' | 'lion' | 'muon', number[][][]> & {
    shapes: [number, number][]
    rate: number
    weight_decay: number
    momentum: number
    starts: number[][]
    gradients: number[][][]
    ema: { decay: number; after: number[][][] }
  }
  smoothing: {
    smoothing: number
    shape: [number, number, number]
    hidden: number[]
    head: number[]
    labels: number[]
    cases: { softcap: number | null; loss: number[]; gradient: number[] }[]
  }
}
const golden = await goldenJson<Golden>('training.json')
const { optimisers: recorded, smoothing } = golden

function parameters(): NamedVariable[] {
  return recorded.starts.map((start, i) => ({
    name: `p${i}`,
    variable: tf.tidy(() => tf.variable(tf.tensor2d(start, recorded.shapes[i]!), false)),
  }))
}

function expectClose(actual: ArrayLike<number>, wanted: readonly number[], digits: number, what: string): void {
  expect(actual.length).toBe(wanted.length)
  wanted.forEach((value, i) => expect(actual[i], `${what}, element ${i}`).toBeCloseTo(value, digits))
}

const recorder = new Recorder({ enabled: false })

describe('optimisers', () => {
  it.each(['adamw', 'sgd', 'lion', 'muon'] as const satisfies readonly Rule[])('move as %s does', async (optimizer) => {
    const { rate, weight_decay: weightDecay, momentum } = recorded
    const variables = parameters()
    const optimiser = createOptimiser(completeJob({ optimizer, weightDecay, momentum }), variables)
    for (const [step, gradients] of recorded.gradients.entries()) {
      // Twice the gradient at half the clip: the factor must reach every rule.
      const tensors = gradients.map((values, i) => tf.tidy(() => tf.mul(tf.tensor2d(values, recorded.shapes[i]!), 2)))
      optimiser.update(tensors.map(wholePart), rate, 0.5, recorder)
      tf.dispose(tensors)
      for (const [i, { variable }] of variables.entries())
        expectClose(await variable.data(), recorded[optimizer][step]![i]!, 4, `step ${step + 1}, tensor ${i}`)
    }
    optimiser.dispose()
    for (const { variable } of variables) variable.dispose()
  })

  it('take a variable with a rate of its own further', async () => {
    const variables = parameters().map((one, i) => ({ ...one, rate: i === 0 ? 1 : 4 }))
    const optimiser = createOptimiser(completeJob({ optimizer: 'sgd', weightDecay: 0, momentum: 0 }), variables)
    const gradients = recorded.gradients[0]!.map((values, i) => tf.tensor2d(values, recorded.shapes[i]!))
    optimiser.update(gradients.map(wholePart), recorded.rate, 1, recorder)
    const moved = await variables[1]!.variable.data()
    const wanted = recorded.starts[1]!.map((start, i) => start - 4 * recorded.rate * recorded.gradients[0]![1]![i]!)
    expectClose(moved, wanted, 5, 'moved')
    tf.dispose(gradients)
    optimiser.dispose()
    for (const { variable } of variables) variable.dispose()
  })
})

describe('the average of weights', () => {
  it('is that of torch.optim.swa_utils, and gives the weights back', async () => {
    const { decay, after } = recorded.ema
    const variables = parameters()
    const average = new WeightAverage(variables, decay)
    average.follow()
    recorded.gradients.forEach((values) => {
      values.forEach((value, i) =>
        tf.tidy(() => variables[i]!.variable.assign(tf.tensor2d(value, recorded.shapes[i]!))),
      )
      average.follow()
    })
    const held = await average.during(async () => variables[0]!.variable.data())
    expectClose(held, after.at(-1)![0]!, 5, 'average')
    expectClose(await variables[0]!.variable.data(), recorded.gradients.at(-1)![0]!, 5, 'weights')
    average.dispose()
    for (const { variable } of variables) variable.dispose()
  })
})

describe('cross-entropy with smoothed labels', () => {
  it.each(smoothing.cases)('is that of PyTorch, softcap $softcap', async ({ softcap, loss, gradient }) => {
    const [n, d, vocabulary] = smoothing.shape
    const hidden = tf.tensor2d(smoothing.hidden, [n, d])
    const head = FrozenMatrix.from(Float32Array.from(smoothing.head), vocabulary, d)
    const labels = tf.tensor1d(smoothing.labels, 'int32')
    const before = chunkOfLogits.elements
    for (const elements of [before, 2 * vocabulary]) {
      chunkOfLogits.elements = elements
      for (const compute of [crossEntropyWithGrad, crossEntropyWithGradReference]) {
        const result = compute(hidden, head, labels, 1, softcap ?? undefined, smoothing.smoothing)
        expectClose(await result.loss.data(), loss, 4, 'loss')
        expectClose(await result.dHidden.data(), gradient, 4, 'gradient')
        tf.dispose([result.loss, result.dHidden])
      }
    }
    chunkOfLogits.elements = before
    tf.dispose([hidden, labels])
    head.dispose()
  })
})

describe('even noise', () => {
  it('fills the range evenly, repeats with its seed and differs between places', () => {
    const noise = evenNoise(20_000, 7, 1)
    expect(Math.max(...noise)).toBeLessThan(1)
    expect(Math.min(...noise)).toBeGreaterThanOrEqual(-1)
    expect(Math.abs(noise.reduce((sum, value) => sum + value, 0) / noise.length)).toBeLessThan(0.02)
    expect(noise.reduce((sum, value) => sum + value * value, 0) / noise.length).toBeCloseTo(1 / 3, 1)
    expect(evenNoise(20_000, 7, 1)).toEqual(noise)
    expect(evenNoise(20_000, 7, 2)).not.toEqual(noise)
  })
})
