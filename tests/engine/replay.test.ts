/** Recorded steps against the same steps through the ops: equal to the last bit, no more memory, and dropped when they must be. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { evaluate, loadTrainable, type Model, type TrainSession } from '../../src/engine'
import { inArithmetic } from '../../src/engine/ops/arithmetic'
import { gemm, kLast } from '../../src/engine/ops/gemm'
import { tileOverride } from '../../src/engine/ops/gemm-tile'
import { gpuBackend } from '../../src/engine/ops/gpu'
import { Recorder } from '../../src/engine/ops/replay'
import { ReplayPool } from '../../src/engine/ops/replay-pool'
import { store } from '../../src/engine/ops/store'
import { tf } from '../../src/engine/tf'
import { deviceBytes } from '../../src/engine/train/session'
import type { Job } from '../../src/shared/job'
import type { EncodedRow } from '../../src/shared/records'
import { onWebGPU, random, roundsHere } from '../support/backends'
import {
  encodedRows,
  goldenAdapter,
  goldenJob,
  goldenModel,
  readGolden,
  sessionOver,
  type Golden,
} from '../support/golden'

let model: Model
let golden: Golden
let rows: EncodedRow[]

beforeAll(async () => {
  golden = await readGolden('llama-gqa-tied')
  model = await goldenModel('llama-gqa-tied')
  // Two lengths in turn, so that batches come in two shapes.
  const cut = (row: EncodedRow, length: number): EncodedRow => ({
    ...row,
    inputIds: row.inputIds.subarray(0, length),
    labels: row.inputIds.slice(0, length),
  })
  const all = encodedRows(golden)
  const longest = [...all].sort((a, b) => b.inputIds.length - a.inputIds.length)
  rows = [longest[0]!, cut(longest[1]!, 9), longest[2]!, cut(longest[3]!, 8)]
})
afterAll(() => model?.dispose())

function start(replay: boolean, change: Partial<Job> = {}): Promise<TrainSession> {
  const job = goldenJob(golden, { steps: 24, batchSize: 1, gradAccum: 1, dropout: 0.2, weightDecay: 0.01, ...change })
  return sessionOver(rows, { model, job, evalRows: rows, replay })
}

/** Losses and norms of all steps, evaluation losses in between, and the adapter at the end. */
async function story(
  replay: boolean,
  change: Partial<Job> = {},
): Promise<{ numbers: number[]; session: TrainSession }> {
  const session = await start(replay, change)
  const numbers: number[] = []
  while (session.step < session.totalSteps) {
    const { event } = await session.advance()
    numbers.push(event.loss, event.gradNorm)
    if (session.step % 5 === 0) {
      const { recorder, adapter } = session
      numbers.push((await evaluate(model, adapter, rows, undefined, undefined, recorder)).loss)
    }
  }
  const { tensors } = await session.checkpoint()
  for (const { bytes } of Object.values(tensors)) numbers.push(...bytes)
  return { numbers, session }
}

describe.skipIf(!onWebGPU())('recorded steps', () => {
  it.each([
    ['two shapes in turn, dropout, evaluations between', {}],
    ['accumulation over two shapes', { gradAccum: 3 }],
  ])('give the numbers of the ops: %s', async (_, change) => {
    const plain = await story(false, change)
    const replayed = await story(true, change)
    expect(replayed.numbers).toEqual(plain.numbers)
    expect(plain.session.recorder.replayed.runs).toBe(0)
    expect(replayed.session.recorder.replayed.runs).toBeGreaterThan(40)
    plain.session.dispose()
    replayed.session.dispose()
  })

  it('give the numbers of the ops where products are cut into slices', async () => {
    tileOverride.slices = 2
    const [plain, replayed] = [await story(false, { steps: 8 }), await story(true, { steps: 8 })]
    tileOverride.slices = null
    expect(replayed.numbers).toEqual(plain.numbers)
    expect(replayed.session.recorder.replayed.runs).toBeGreaterThan(3)
    for (const { session } of [plain, replayed]) session.dispose()
  })

  it('of many lengths in turn lie in the buffers of the longest, and give the numbers of the ops', async () => {
    const longest = rows[0]!.inputIds
    const many = [60, 90, 30, 75, 15, 45].map((length, index): EncodedRow => {
      const inputIds = Int32Array.from({ length }, (_, i) => longest[(i + index) % longest.length]!)
      return { index, inputIds, labels: inputIds.slice() }
    })
    const play = async (replay: boolean, batches: readonly EncodedRow[], steps: number) => {
      const job = goldenJob(golden, { steps, batchSize: 1, gradAccum: 1, dropout: 0.2 })
      const session = await sessionOver(batches, { model, job, replay })
      const numbers: number[] = []
      while (session.step < steps) {
        const { loss, gradNorm } = (await session.advance()).event
        numbers.push(loss, gradNorm)
      }
      const { runs } = session.recorder.replayed
      const { arenaBytes } = ReplayPool.of(gpuBackend())
      session.dispose()
      return { numbers, runs, arenaBytes }
    }
    const [plain, replayed] = [await play(false, many, 30), await play(true, many, 30)]
    expect(replayed.numbers).toEqual(plain.numbers)
    // Norm and update of all steps but the first two, and the steps of two rounds of the five at least.
    expect(replayed.runs).toBeGreaterThanOrEqual(2 * 28 + 2 * many.length)
    const alone = await play(true, many.slice(1, 2), 4)
    expect(replayed.arenaBytes).toBeLessThan(2 * alone.arenaBytes)
  })

  it.each((['f16', 'matrix'] as const).filter(roundsHere))('give the numbers of the ops in %s', async (arithmetic) => {
    const change = { arithmetic, steps: 8 }
    const [plain, replayed] = [await story(false, change), await story(true, change)]
    expect(replayed.numbers).toEqual(plain.numbers)
    expect(replayed.session.recorder.replayed.runs).toBeGreaterThan(3)
    for (const { session } of [plain, replayed]) session.dispose()
  })

  it('need no more memory than the ops', async () => {
    const peak = async (replay: boolean): Promise<number> => {
      const session = await start(replay)
      let most = 0
      while (session.step < 8) most = Math.max(most, (await session.advance()).event.memory)
      session.dispose()
      return most
    }
    // Twice, for what the backend's own pool once held counts until a recording begins.
    for (const replay of [true, false]) await peak(replay)
    const replayed = await peak(true)
    expect(replayed).toBeLessThanOrEqual(await peak(false))
  })

  it('give their buffers back', async () => {
    const round = async (): Promise<string> => {
      const { session } = await story(true)
      session.dispose()
      return `${tf.memory().numTensors} tensors, ${deviceBytes()} bytes`
    }
    await round()
    const settled = await round()
    expect(await round()).toBe(settled)
  })

  it('follow an adapter whose values are replaced', async () => {
    const losses = async (replay: boolean): Promise<number[]> => {
      const session = await start(replay, { learningRate: 1e-8, dropout: 0 })
      const numbers: number[] = []
      const other = loadTrainable(model, await goldenAdapter('llama-gqa-tied', golden.runs[0]!.adapter))
      for (let i = 0; i < 16; i++) {
        if (i === 8) {
          session.adapter.variables.forEach(({ variable }, n) => {
            const { variable: from } = other.variables[n % 2]!
            tf.tidy(() => variable.assign(tf.fill(variable.shape, 0.01 * ((from.size % 7) + n))))
          })
        }
        numbers.push((await session.advance()).event.loss)
      }
      other.dispose()
      session.dispose()
      return numbers
    }
    expect(await losses(true)).toEqual(await losses(false))
  })
})

describe('a recorder', () => {
  const fixed = (): tf.Tensor => tf.keep(tf.tidy(() => tf.fill([3], 0)))

  it('reads what changes from where it was put', async () => {
    const recorder = new Recorder()
    const target = fixed()
    const seen: number[][] = []
    for (let i = 1; i <= 6; i++) {
      const x = recorder.put('x', Float32Array.of(i, 2 * i, 3 * i))
      const factor = recorder.number('factor', 10 * i)
      recorder.run('work', () => tf.tidy(() => store(target, tf.mul(tf.add(x, 1), factor))))
      seen.push([...((await target.data()) as Float32Array)])
    }
    expect(seen).toEqual([1, 2, 3, 4, 5, 6].map((i) => [1, 2, 3].map((n) => (n * i + 1) * 10 * i)))
    if (onWebGPU()) expect(recorder.replayed.runs).toBe(4)
    recorder.dispose()
    target.dispose()
  })

  it.skipIf(!roundsHere('f16'))('never replays in one arithmetic what it recorded in another', async () => {
    const recorder = new Recorder()
    const [a, b] = [random<tf.Rank.R2>([12, 20], 1), random<tf.Rank.R2>([8, 20], 2)]
    const target = tf.fill<tf.Rank.R2>([12, 8], 0)
    const modes = (['f32', 'f16', 'matrix'] as const).filter((mode) => mode === 'f32' || roundsHere(mode))
    const seen = modes.map((): number[][] => [])
    tf.dispose([tf.add(a, 0), tf.add(b, 0)]) // on the device from here on: recordings hold no upload
    const work = (): void => void gemm({ a: kLast(a), b: kLast(b), rows: { count: 12, into: target } })
    for (let i = 0; i < 4; i++) {
      for (const [m, mode] of modes.entries()) {
        inArithmetic(mode, () => recorder.run('product', work))
        seen[m]!.push([...((await target.data()) as Float32Array)])
      }
    }
    for (const [m, mode] of modes.entries()) {
      inArithmetic(mode, work)
      const wanted = [...((await target.data()) as Float32Array)]
      expect(seen[m], mode).toEqual([wanted, wanted, wanted, wanted])
    }
    expect(recorder.replayed.runs).toBe(2 * modes.length)
    expect(seen[1]![3], 'something was rounded').not.toEqual(seen[0]![3])
    recorder.dispose()
    tf.dispose([a, b, target])
  })

  it('never replays work whose constants change', async () => {
    const recorder = new Recorder()
    const target = fixed()
    for (let i = 1; i <= 8; i++) {
      recorder.run('work', () => tf.tidy(() => store(target, tf.mul(tf.fill([3], 2), tf.scalar(i)))))
      expect([...((await target.data()) as Float32Array)]).toEqual([2 * i, 2 * i, 2 * i])
    }
    expect(recorder.replayed.runs).toBe(0)
    recorder.dispose()
    target.dispose()
  })

  it('never replays work that leaves tensors behind', async () => {
    const recorder = new Recorder()
    const left: tf.Tensor[] = []
    for (let i = 0; i < 5; i++) recorder.run('work', () => left.push(tf.fill([5], 3)))
    expect(recorder.replayed.runs).toBe(0)
    for (const tensor of left) expect([...((await tensor.data()) as Float32Array)]).toEqual([3, 3, 3, 3, 3])
    recorder.dispose()
    tf.dispose(left)
  })

  it('is whole again after work that failed', async () => {
    const recorder = new Recorder()
    const target = fixed()
    const fail = (): void => recorder.run('work', () => tf.tidy(() => {
      store(target, tf.fill([3], 1))
      throw new Error('no')
    })) // prettier-ignore
    expect(fail).toThrow('no')
    for (let i = 0; i < 4; i++) recorder.run('work', () => tf.tidy(() => store(target, tf.fill([3], 7))))
    expect([...((await target.data()) as Float32Array)]).toEqual([7, 7, 7])
    recorder.dispose()
    target.dispose()
  })
})
