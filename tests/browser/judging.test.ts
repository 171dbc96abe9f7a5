/** Judging through the real worker: a run beside its base, its change, rehearsals, cancelling. On wasm, in Chromium. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { data, engine, terminateData, terminateEngine } from '../../src/client'
import { defaultJob, type Job } from '../../src/shared/job'
import type { RunRecord } from '../../src/shared/records'
import type { JudgeRequest } from '../../src/shared/protocol'
import * as storage from '../../src/storage'
import { goldenModel, pairs } from './support/golden'

let job: Job
let run: RunRecord

beforeAll(async () => {
  await engine().openDevice('wasm')
  const model = await engine().importModel(await goldenModel(), () => {})
  const dataset = await data().importDataset({ name: 'pairs.jsonl', text: pairs(40) }, () => {})
  job = {
    ...{ ...defaultJob(), model: model.id, data: dataset.id, backend: 'wasm', steps: 60, batchSize: 8 },
    ...{ maxLength: 32, rank: 4, alpha: 8, learningRate: 2e-2, evalFraction: 0.2, sampleTokens: 0 },
  }
  const created = await engine().createRun(job, 'to be judged')
  run = await engine().train(created.id, () => {})
  expect(run.error).toBeNull()
})
afterAll(() => {
  terminateEngine()
  terminateData()
})

const request = (change: Partial<JudgeRequest> = {}): JudgeRequest => ({
  ...{ runId: run.id, checkpoint: 'best', datasetId: null, rows: 100, answers: 4, shots: 2, pattern: '' },
  ...change,
})

describe('a run that is judged', () => {
  it('keeps scores of the rows it held back, whose loss is the one of its best checkpoint', async () => {
    const stages = new Set<string>()
    await engine().judge(request(), ({ stage }) => stages.add(stage))
    const { judgement } = (await storage.getRun(run.id)) as RunRecord
    expect(judgement).toMatchObject({ rows: 'held back', measured: 8, task: 'answers', answered: 4, shots: 2 })
    const of = (key: string) => judgement?.scores.find((score) => score.key === key)
    expect(of('loss')?.tuned.value).toBeCloseTo(run.bestEvalLoss ?? 0, 4)
    expect(of('loss')?.base.value).toBeGreaterThan((run.bestEvalLoss ?? 0) + 1)
    expect(of('rougeL')?.shots?.value).toBeGreaterThanOrEqual(0)
    expect(judgement?.forgetting).toMatchObject({ passages: 24 })
    expect(judgement?.best[0]?.answers?.tuned).toEqual(expect.any(String))
    expect([...stages]).toEqual(
      expect.arrayContaining(['Measuring losses', 'Letting both answer', 'Reading general text']),
    )
  })

  it('ends when it is cancelled, and keeps what was there', async () => {
    const before = (await storage.getRun(run.id))?.judgement?.at
    const judging = engine().judge(request({ answers: 100 }), ({ stage }) => {
      if (stage === 'Letting both answer') void engine().cancelJudging()
    })
    await expect(judging).rejects.toMatchObject({ code: 'cancelled' })
    expect((await storage.getRun(run.id))?.judgement?.at).toBe(before)
  })

  it('shows how far each layer was moved', async () => {
    const { change } = await engine().measureChange(run.id, 'best', () => {})
    expect(change?.modules.length).toBe(14)
    for (const { ratio } of change?.modules ?? []) expect(ratio).toBeGreaterThan(0)
  })

  it('that is gone is said to be', async () => {
    await expect(engine().judge(request({ runId: 'none' }), () => {})).rejects.toMatchObject({ code: 'run.missing' })
  })
})

describe('prompting instead of tuning', () => {
  it('lets the base answer held-back rows with and without examples, and keeps nothing', async () => {
    const stages = new Set<string>()
    const found = await engine().tryPrompting(job, ({ stage }) => stages.add(stage))
    expect(found).toMatchObject({ shots: 3, answered: 8 })
    expect(found.rows).toHaveLength(6)
    for (const { wanted, prompt } of found.rows)
      expect([prompt, wanted]).toEqual([expect.stringMatching(/^say/), expect.stringMatching(/^(abc)+$/)])
    expect(found.rows.some(({ without, withExamples }) => without !== withExamples)).toBe(true)
    expect([...stages]).toContain('Letting the base answer')
  })
})

describe('a rehearsal', () => {
  it('measures the time of a run, and keeps no run', async () => {
    const before = (await storage.listRuns()).length
    const result = await engine().rehearse(
      'time',
      job,
      () => {},
      () => {},
    )
    expect(result).toMatchObject({ kind: 'time', totalSteps: 60 })
    expect(result.seconds).toBeGreaterThan(0.06 * result.stepTime - 1e-6)
    expect((await storage.listRuns()).length).toBe(before)
  })

  it('runs small, tells each step, and learns', async () => {
    const told: number[] = []
    const result = await engine().rehearse(
      'smoke',
      job,
      ({ loss }) => told.push(loss),
      () => {},
    )
    expect(told.length).toBe(20)
    expect(result.steps.map(({ loss }) => loss)).toEqual(told)
    expect(told.at(-1)).toBeLessThan(told[0] ?? 0)
  })

  it('finds a learning rate between those that do nothing and those that do harm', async () => {
    const result = await engine().rehearse(
      'range',
      job,
      () => {},
      () => {},
    )
    const rates = result.steps.map(({ learningRate }) => learningRate)
    expect(rates[0]).toBeCloseTo(1e-5, 9)
    expect(rates).toEqual(rates.toSorted((a, b) => a - b))
    expect(result.suggested).toBeGreaterThan(5e-4)
    expect(result.suggested).toBeLessThan(0.3)
  })
})
