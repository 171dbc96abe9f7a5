/** Methods beside LoRA and the classification head through the real workers: trained, asked, judged, exported and read back. On wasm, in Chromium. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { data, engine, terminateData, terminateEngine } from '../../src/client'
import { readPeft } from '../../src/engine/formats/peft'
import { readZip } from '../../src/engine/formats/zip'
import { exportFormatsOf } from '../../src/shared/exports'
import { defaultJob, type Job } from '../../src/shared/job'
import { DEFAULT_SAMPLING, type GenerateRequest } from '../../src/shared/protocol'
import type { DatasetRecord, ModelRecord, RunRecord } from '../../src/shared/records'
import { goldenModel, pairs } from './support/golden'

let model: ModelRecord
let questions: DatasetRecord
let feelings: DatasetRecord

beforeAll(async () => {
  await engine().openDevice('wasm')
  model = await engine().importModel(await goldenModel(), () => {})
  questions = await data().importDataset({ name: 'pairs.jsonl', text: pairs(20) }, () => {})
  const rows = Array.from({ length: 30 }, (_, i) => JSON.stringify({ text: `row ${i} is ${['up', 'down'][i % 2]}`, label: ['good', 'bad'][i % 2] })) // prettier-ignore
  feelings = await data().importDataset({ name: 'feelings.jsonl', text: rows.join('\n') }, () => {})
})
afterAll(() => {
  terminateEngine()
  terminateData()
})

async function train(change: Partial<Job>): Promise<RunRecord> {
  const job: Job = {
    ...{ ...defaultJob(), model: model.id, data: questions.id, backend: 'wasm', steps: 4, batchSize: 4 },
    ...{ maxLength: 32, learningRate: 3e-2, evalFraction: 0.2, evalEvery: 2, earlyStop: 0, sampleTokens: 4 },
    ...change,
  }
  const { id } = await engine().createRun(job, 'test')
  const run = await engine().train(id, () => {})
  expect(run.error).toBeNull()
  expect(run).toMatchObject({ status: 'done', step: 4 })
  return run
}

async function ask(run: RunRecord, strength: number): Promise<string> {
  const request: GenerateRequest = {
    ...{ ...DEFAULT_SAMPLING, temperature: 0, maxNewTokens: 6, modelId: model.id, runId: run.id },
    ...{ checkpoint: 'best', strength, prompt: 'row 3 is up' },
  }
  return (await engine().generate(request, () => {})).text
}

describe.each(['ia3', 'bottleneck', 'prompt', 'prefix'] as const)('%s', (method) => {
  it('is trained, asked, judged, exported and imported', { timeout: 120_000 }, async () => {
    const run = await train({ method, virtualTokens: 3, bottleneckSize: 4 })
    const base = await engine().generate(
      { ...DEFAULT_SAMPLING, temperature: 0, maxNewTokens: 6, modelId: model.id, runId: null, checkpoint: 'best', strength: 1, prompt: 'row 3 is up' }, // prettier-ignore
      () => {},
    )
    expect(await ask(run, 0)).toBe(base.text)
    expect(typeof (await ask(run, 1))).toBe('string')
    const request = { runId: run.id, checkpoint: 'best' as const, datasetId: null, rows: 4, answers: 2, shots: 0, pattern: '' } // prettier-ignore
    const judged = await engine().judge(request, () => {})
    expect(judged.judgement?.measured).toBe(4)
    for (const format of exportFormatsOf(run.job)) {
      const { blob, verification } = await engine().exportRun({ runId: run.id, checkpoint: 'best', format }, () => {})
      expect(verification).toContain('Read back and compared')
      if (format !== 'peft') continue
      const file = new File([blob as Blob], 'adapter.zip')
      const imported = await engine().importAdapter(model.id, [{ path: 'adapter.zip', file }])
      expect(imported.job.method).toBe(method)
      expect(await ask(imported, 1)).toBe(await ask(run, 1))
    }
    const refused = engine().exportRun({ runId: run.id, checkpoint: 'best', format: 'mlx' }, () => {})
    await expect(refused).rejects.toMatchObject({ code: 'adapter.unsupported' })
  })
})

describe('a classification head', () => {
  it(
    'is trained, names classes with probabilities, is judged by class, and exported',
    { timeout: 120_000 },
    async () => {
      const run = await train({ objective: 'classification', data: feelings.id })
      expect(run.samples.at(-1)?.text).toMatch(/^(good|bad) \d+%\n/)
      expect(await ask(run, 1)).toMatch(/^(good|bad) \d+%\n(good|bad) /)
      expect(await ask(run, 0)).not.toMatch(/%/)
      const request = { runId: run.id, checkpoint: 'best' as const, datasetId: null, rows: 6, answers: 6, shots: 0, pattern: '' } // prettier-ignore
      const { judgement } = await engine().judge(request, () => {})
      expect(judgement?.task).toBe('labels')
      expect(judgement?.labels?.classes.map(({ label }) => label).sort()).toEqual(['bad', 'good'])
      const { blob } = await engine().exportRun({ runId: run.id, checkpoint: 'best', format: 'peft' }, () => {})
      const adapter = await readPeft(await readZip(blob as Blob))
      expect(adapter.config).toMatchObject({
        task_type: 'SEQ_CLS',
        modules_to_save: ['score'],
        classes: ['bad', 'good'],
      })
      const merged = engine().exportRun({ runId: run.id, checkpoint: 'best', format: 'merged' }, () => {})
      await expect(merged).rejects.toMatchObject({ code: 'adapter.unsupported' })
    },
  )
})
