/** A run's promises: repeatable, resumable at any step with the same numbers, leak-free, stopping when it should. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  checkpointAdapter,
  createSession,
  type Model,
  type SessionEvent,
  type SessionOutcome,
  type TrainSession,
} from '../../src/engine'
import { CodedError } from '../../src/shared/errors'
import { defaultJob, type Job } from '../../src/shared/job'
import type { Checkpoint, EncodedRow } from '../../src/shared/records'
import { tf } from '../../src/engine/tf'
import { onWebGPU } from '../support/backends'
import { encodedRows, goldenJob, goldenModel, inOrder, readGolden, type Golden } from '../support/golden'

let model: Model
let golden: Golden
let rows: EncodedRow[]

beforeAll(async () => {
  golden = await readGolden('llama-gqa-tied')
  model = await goldenModel('llama-gqa-tied')
  rows = encodedRows(golden)
})
afterAll(() => model?.dispose())

const PROMPT = [1, 19, 38]

function start(change: Partial<Job>, checkpoint?: Checkpoint, evalRows = rows.slice(4)): Promise<TrainSession> {
  const job = goldenJob(golden, { steps: 8, sampleTokens: 6, evalEvery: 3, saveEvery: 4, ...change })
  return createSession({
    model,
    job,
    batches: inOrder(rows.slice(0, 4), job.batchSize),
    evalRows,
    samplePrompt: PROMPT,
    ...(checkpoint ? { checkpoint: structuredClone(checkpoint) } : {}),
  })
}

/** Everything that happened, without times and memory, and what a chart would show at the end. */
interface Story {
  events: unknown[]
  outcome: SessionOutcome | null
  last: Checkpoint | null
}

const numbersOf = (event: SessionEvent): unknown => {
  if (event.kind === 'stage') return null
  if (event.kind === 'checkpoint') return { kinds: event.kinds, step: event.checkpoint.meta.step }
  if (event.kind !== 'step') return event
  const { stepTime: _stepTime, memory: _memory, ...rest } = event
  return rest
}

async function play(session: TrainSession, until?: (event: SessionEvent) => boolean): Promise<Story> {
  const story: Story = { events: [], outcome: null, last: null }
  const run = session.run()
  for (;;) {
    const turn = await run.next()
    if (turn.done) {
      story.outcome = turn.value
      break
    }
    const shown = numbersOf(turn.value)
    if (shown) story.events.push(shown)
    if (turn.value.kind === 'checkpoint') story.last = turn.value.checkpoint
    if (until?.(turn.value)) {
      // As a worker pauses: no further pull, then a checkpoint.
      await run.return(undefined as never)
      story.last = await session.checkpoint()
      break
    }
  }
  return story
}

function isPlainCheckpoint(event: unknown, step: number): boolean {
  const { kinds, step: at } = event as { kinds?: string[]; step?: number }
  return at === step && kinds?.join() === 'last'
}

async function whole(change: Partial<Job>): Promise<Story> {
  const session = await start(change)
  const story = await play(session)
  story.last ??= await session.checkpoint()
  session.dispose()
  return story
}

const floats = (checkpoint: Checkpoint, name: string): Float32Array =>
  new Float32Array(checkpoint.tensors[name]!.bytes.slice().buffer)

describe('a run', () => {
  it('repeats exactly with the same seed, and differs with another', async () => {
    const [first, second, other] = [await whole({ dropout: 0.2 }), await whole({ dropout: 0.2 }), await whole({ dropout: 0.2, seed: 7 })] // prettier-ignore
    expect(second.events).toEqual(first.events)
    expect(other.events).not.toEqual(first.events)
  })

  // Each of these compiles nothing new: one place to stop is enough where shaders run on the processor.
  it.each(onWebGPU() ? [3] : [1, 2, 3, 4, 7])(
    'that stops after step %i goes on with the same numbers',
    async (stopAt) => {
      const change = { dropout: 0.2 }
      const uninterrupted = await whole(change)
      const first = await start(change)
      const before = await play(first, (event) => event.kind === 'step' && event.step === stopAt)
      first.dispose()
      const second = await start(change, before.last!)
      expect(second.step).toBe(stopAt)
      const after = await play(second)
      // The pause's own checkpoint stands for the one that was due at that step.
      const due = uninterrupted.events.filter((event) => !isPlainCheckpoint(event, stopAt))
      expect([...before.events, ...after.events]).toEqual(due)
      expect(after.outcome).toEqual(uninterrupted.outcome)
      const [a, b] = [after.last!, uninterrupted.last!]
      expect(Object.keys(a.tensors)).toEqual(Object.keys(b.tensors))
      for (const name of Object.keys(b.tensors)) expect(a.tensors[name]!.bytes, name).toEqual(b.tensors[name]!.bytes)
      expect(a.meta.metrics.loss).toEqual(b.meta.metrics.loss)
      expect(a.meta.metrics.evalLoss).toEqual(b.meta.metrics.evalLoss)
      expect(a.meta.samples).toEqual(b.meta.samples)
      expect(a.meta.marks).toEqual(b.meta.marks)
      expect(a.meta.tokensSeen).toBe(b.meta.tokensSeen)
      second.dispose()
    },
  )

  // The moment after an evaluation matters for the plateau, and after some updates for the average.
  const KINDS: [string, Partial<Job>][] = [
    ['SGD', { optimizer: 'sgd' }],
    ['Lion', { optimizer: 'lion' }],
    ['Muon', { optimizer: 'muon' }],
    ['a weight average', { ema: 0.5 }],
    ['noise and smoothed labels', { neftune: 5, labelSmoothing: 0.1 }],
    ['a plateau', { schedule: 'plateau', plateauPatience: 0, learningRate: 1, evalEvery: 2 }],
  ]
  it.each(onWebGPU() ? KINDS.slice(2, 5) : KINDS)('with %s goes on with the same numbers', async (_, change) => {
    const uninterrupted = await whole(change)
    const first = await start(change)
    const before = await play(first, (event) => event.kind === 'step' && event.step === 5)
    first.dispose()
    const second = await start(change, before.last!)
    const after = await play(second)
    second.dispose()
    expect([...before.events, ...after.events]).toEqual(
      uninterrupted.events.filter((event) => !isPlainCheckpoint(event, 5)),
    )
    const [a, b] = [after.last!, uninterrupted.last!]
    expect(Object.keys(a.tensors)).toEqual(Object.keys(b.tensors))
    for (const name of Object.keys(b.tensors)) expect(a.tensors[name]!.bytes, name).toEqual(b.tensors[name]!.bytes)
    const plain = await whole({})
    expect(uninterrupted.events).not.toEqual(plain.events)
  })

  it('judges and keeps the average, and trains on without it', async () => {
    const [plain, averaged] = [await whole({}), await whole({ ema: 0.5 })]
    const losses = ({ events }: Story): unknown[] =>
      (events as { kind?: string; loss?: number }[]).filter(({ kind }) => kind === 'step')
    expect(losses(averaged)).toEqual(losses(plain))
    const [last] = Object.keys(plain.last!.tensors).filter((name) => name.startsWith('adapter/'))
    const trained = last!.replace('adapter/', 'trained/')
    expect(floats(averaged.last!, trained)).toEqual(floats(plain.last!, last!))
    expect(floats(averaged.last!, last!)).not.toEqual(floats(plain.last!, last!))
  })

  it('tells steps, evaluations, samples and checkpoints where they are due', async () => {
    const { events, outcome } = await whole({})
    const at = (kind: string): number[] =>
      (events as { kind?: string; step: number }[]).filter((event) => event.kind === kind).map((event) => event.step)
    expect(at('step')).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect(at('eval')).toEqual([3, 6, 8])
    const saves = (events as { kinds?: string[]; step: number }[]).filter((event) => event.kinds)
    expect(saves.filter(({ kinds }) => kinds!.includes('last')).map(({ step }) => step)).toEqual([4, 8])
    const best = saves.filter(({ kinds }) => kinds!.includes('best')).map(({ step }) => step)
    expect(best.at(-1)).toBe(outcome!.bestStep)
    expect(outcome!.reason).toBe('finished')
  })

  it('knows its best without evaluations: the last step', async () => {
    const session = await start({}, undefined, [])
    const { events, outcome } = await play(session)
    expect(outcome).toEqual({ reason: 'finished', step: 8, bestStep: 8, bestEvalLoss: null })
    expect(events.at(-1)).toEqual({ kinds: ['last', 'best'], step: 8 })
    session.dispose()
  })

  it('stops early when the validation loss gets no better, and keeps the best', async () => {
    // A rate that throws the adapter about: the first evaluation stays the best.
    const session = await start({ learningRate: 1, steps: 60, warmupSteps: 0, evalEvery: 2, earlyStop: 2, clip: 0 })
    const { outcome, events } = await play(session)
    expect(outcome!.reason).toBe('early-stop')
    expect(outcome!.step).toBe(outcome!.bestStep + 4)
    expect(events).toContainEqual(expect.objectContaining({ kind: 'mark', mark: expect.objectContaining({ kind: 'early-stop' }) })) // prettier-ignore
    session.dispose()
  })

  it('leaves nothing behind', async () => {
    const cycle = async (): Promise<number> => {
      const session = await start({ steps: 2 })
      await play(session)
      session.dispose()
      return tf.memory().numTensors
    }
    const before = await cycle()
    expect(await cycle()).toBe(before)
  })

  it('accumulates by tokens: two batches of two are one batch of four', async () => {
    const losses = async (batchSize: number, gradAccum: number): Promise<number[]> => {
      const story = await whole({ batchSize, gradAccum, evalEvery: 1000, saveEvery: 1000 })
      return (story.events as { loss?: number }[]).flatMap((event) => (event.loss === undefined ? [] : [event.loss]))
    }
    const [split, together] = [await losses(2, 2), await losses(4, 1)]
    split.forEach((loss, i) => expect(Math.abs(loss / together[i]! - 1)).toBeLessThan(1e-5))
  })

  it('refuses a checkpoint of another job', async () => {
    const { last } = await whole({ steps: 2 })
    const reason = await start({ steps: 2, learningRate: 0.1 }, last!).catch((error: unknown) => error)
    expect(reason).toBeInstanceOf(CodedError)
    expect((reason as CodedError).code).toBe('checkpoint.mismatch')
    expect((reason as CodedError).what).toContain('learningRate')
  })

  it('skips steps that are not finite, and after three in a row goes back at half the rate, three times', async () => {
    const session = await start({ schedule: 'constant', warmupSteps: 0, warmupRatio: 0, steps: 40 })
    const { variable, name } = session.adapter.variables[0]!
    const { event: first } = await session.advance()
    const good = await session.checkpoint()
    const spoil = (): void => tf.tidy(() => variable.assign(tf.fill(variable.shape, Number.NaN)))
    for (let round = 1; round <= 3; round++) {
      spoil()
      const { step } = session
      for (const [i, kind] of ['skipped', 'skipped', 'rolled-back'].entries()) {
        const { event, mark } = await session.advance()
        expect(event.loss).toBeNaN()
        expect(mark).toMatchObject({ step: step + i + 1, kind })
      }
      const back = await session.checkpoint()
      for (const key of Object.keys(good.tensors))
        expect(back.tensors[key]!.bytes, key).toEqual(good.tensors[key]!.bytes)
      expect(session.marks.at(-1)!.text).toContain('back to the weights of step')
    }
    const resumed = await start({ schedule: 'constant', warmupSteps: 0, warmupRatio: 0, steps: 40 }, await session.checkpoint()) // prettier-ignore
    const { event: after } = await session.advance()
    expect(after.loss).toBeGreaterThan(0)
    expect(after.learningRate).toBeCloseTo(first.learningRate / 8, 12)
    expect((await resumed.advance()).event).toMatchObject({ loss: after.loss, learningRate: after.learningRate })
    spoil()
    await session.advance()
    await session.advance()
    expect(floats(await session.checkpoint(), `adapter/${name}`)[0]).toBeNaN()
    await expect(session.advance()).rejects.toMatchObject({ code: 'train.not-finite' })
    session.dispose()
    resumed.dispose()
  })

  it('refuses rows without a trained token', async () => {
    const bad = rows.map((row) => ({ ...row, labels: row.labels.map(() => -100) }))
    const job = goldenJob(golden)
    const session = await createSession({ model, job, batches: inOrder(bad, 2), evalRows: [], samplePrompt: null })
    await expect(session.advance()).rejects.toMatchObject({ code: 'data.no-trained-tokens' })
    session.dispose()
  })

  it('adapts every linear layer of a family with other names, and says so in what PEFT reads', async () => {
    const gpt2 = await goldenModel('gpt2')
    const job = goldenJob(golden, { targets: defaultJob().targets, steps: 1 })
    const session = await createSession({
      model: gpt2,
      job,
      batches: inOrder(rows, 2),
      evalRows: [],
      samplePrompt: null,
    })
    expect(session.adapter.config).toMatchObject({ target_modules: ['c_attn', 'c_proj', 'c_fc'] })
    await session.advance()
    const { config, tensors } = checkpointAdapter(await session.checkpoint(), 'gpt2')
    expect(config).toMatchObject({ fan_in_fan_out: true, target_modules: ['c_attn', 'c_proj', 'c_fc'] })
    expect(Object.keys(tensors)).toContain('base_model.model.transformer.h.0.attn.c_attn.lora_A.weight')
    session.dispose()
    const long = { index: 0, inputIds: new Int32Array(200).fill(7), labels: new Int32Array(200).fill(7) }
    const other = await createSession({
      model: gpt2,
      job,
      batches: inOrder([long], 1),
      evalRows: [],
      samplePrompt: null,
    })
    await expect(other.advance()).rejects.toMatchObject({ code: 'job.invalid', fix: expect.stringContaining('128') })
    other.dispose()
    gpt2.dispose()
  })
})
