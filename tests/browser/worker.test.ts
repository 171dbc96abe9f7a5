/** A run through the real workers: train, kill, resume, talk, export. On wasm, in Chromium. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { data, engine, terminateData, terminateEngine } from '../../src/client'
import { WorkerClient } from '../../src/client/worker-client'
import { splitRows } from '../../src/data'
import { readZip } from '../../src/engine/formats/zip'
import { defaultJob, type Job } from '../../src/shared/job'
import { METRIC_COLUMNS, MetricBuffer, type MetricColumns, type MetricName } from '../../src/shared/metrics'
import type { EngineApi, GenerateRequest, TrainEvent } from '../../src/shared/protocol'
import { DEFAULT_SAMPLING } from '../../src/shared/protocol'
import type { DatasetRecord, ModelRecord, RunRecord } from '../../src/shared/records'
import * as storage from '../../src/storage'
import { goldenAdapter, goldenModel, pairs } from './support/golden'
import { putDataset } from './support/records'

let model: ModelRecord
let dataset: DatasetRecord

beforeAll(async () => {
  await engine().openDevice('wasm')
  model = await engine().importModel(await goldenModel(), () => {})
  dataset = await data().importDataset({ name: 'pairs.jsonl', text: pairs(40) }, () => {})
})
afterAll(() => {
  terminateEngine()
  terminateData()
})

function job(change: Partial<Job> = {}): Job {
  return {
    ...{ ...defaultJob(), model: model.id, data: dataset.id, backend: 'wasm', steps: 30, batchSize: 2, gradAccum: 2 },
    ...{ maxLength: 32, rank: 4, alpha: 8, dropout: 0.1, learningRate: 1e-2, warmupSteps: 3, evalFraction: 0.2 },
    ...{ evalEvery: 5, saveEvery: 4, earlyStop: 0, sampleTokens: 4 },
    ...change,
  }
}

const begin = (change: Partial<Job> = {}, name = 'test') => engine().createRun(job(change), name)

/** Trains to the end; events and all metrics that were told. */
async function follow(id: string, on: (event: TrainEvent) => void = () => {}) {
  const events: TrainEvent[] = []
  const told = new MetricBuffer()
  const run = await engine().train(id, (event) => {
    events.push(event)
    if (event.kind === 'metrics') told.append(event.columns)
    on(event)
  })
  return { run, events, told: told.slice() }
}

/** Trains a step or a few, and pauses. */
const brieflyFollow = (id: string) => follow(id, (event) => event.kind === 'metrics' && void engine().pause())

/** What must be the same whenever and however often a run was interrupted: all but clocks and memory. */
const EXACT: MetricName[] = METRIC_COLUMNS.filter((name) => !['time', 'stepTime', 'memory'].includes(name))

function expectSame(actual: MetricColumns | null, wanted: MetricColumns | null, tolerance: number): void {
  expect([...(actual?.step ?? [])]).toEqual([...(wanted?.step ?? [])])
  for (const name of EXACT) {
    for (const [row, value] of (wanted?.[name] ?? []).entries()) {
      const got = actual?.[name][row] ?? Number.POSITIVE_INFINITY
      if (Number.isNaN(value)) expect(got, `${name} ${row}`).toBeNaN()
      else expect(Math.abs(got - value), `${name} ${row}`).toBeLessThanOrEqual(tolerance)
    }
  }
}

describe('a run', () => {
  let whole: RunRecord
  let metrics: MetricColumns | null

  beforeAll(async () => {
    whole = await begin({}, 'never interrupted')
    const { run, events, told } = await follow(whole.id)
    whole = run
    metrics = await storage.getMetrics(run.id)
    expect(run.error).toBeNull()
    expectSame(told, metrics, 0)
    const kinds = events.map(({ kind }) => kind)
    expect(kinds.filter((kind) => kind === 'started').length).toBe(1)
    expect(kinds.indexOf('stage')).toBeLessThan(kinds.indexOf('started'))
    expect(kinds.indexOf('started')).toBeLessThan(kinds.indexOf('metrics'))
    expect(kinds.at(-1)).toBe('ended')
  })

  it('trains to its end, keeps what happened, and learns', async () => {
    expect(whole).toMatchObject({
      status: 'done',
      step: 30,
      totalSteps: 30,
      backend: 'wasm',
      trainRows: 32,
      evalRows: 8,
    })
    expect(whole.checkpoints.map(({ kind }) => kind).sort()).toEqual(['best', 'last'])
    expect(whole.samples.length).toBe(6)
    expect(whole.bestEvalLoss).toBeGreaterThan(0)
    expect(await storage.getRun(whole.id)).toEqual(whole)
    const losses = [...(metrics?.loss ?? [])].filter(Number.isFinite)
    expect(losses.length).toBe(30)
    expect(losses.at(-1)).toBeLessThan((losses[0] as number) * 0.7)
    expect([...(metrics?.evalLoss ?? [])].filter(Number.isFinite).length).toBe(6)
    expect((await storage.loadCheckpoint(whole.id, 'last'))?.meta.step).toBe(30)
  })

  it('gives the same numbers again', async () => {
    const { run } = await follow((await begin()).id)
    expectSame(await storage.getMetrics(run.id), metrics, 0)
    expect(run.samples).toEqual(whole.samples)
  })

  it('cannot be trained on after its end', async () => {
    await expect(engine().train(whole.id, () => {})).rejects.toMatchObject({ code: 'usage' })
    await expect(engine().train('no such run', () => {})).rejects.toMatchObject({ code: 'run.missing' })
    expect((await storage.getRun(whole.id))?.status).toBe('done')
  })

  it(
    'that is killed again and again resumes from its last checkpoint with the same losses',
    { timeout: 300_000 },
    async () => {
      const { id } = await begin()
      const kills = [2, 5, 9, 14, 21]
      for (const kill of kills) {
        let step = 0
        const dying = follow(id, (event) => {
          if (event.kind === 'started') step = event.run.step
          if (event.kind === 'metrics') step = event.columns.step.at(-1) as number
          if (step >= kill) terminateEngine()
        })
        const died = await dying.then(
          ({ run }) => run.status,
          (error: { code: string }) => error.code,
        )
        if (died === 'done') break
        expect(died).toBe('worker.died')
        const left = (await storage.listRuns()).find((run) => run.id === id)
        const last = left?.checkpoints.find(({ kind }) => kind === 'last')
        expect(left).toMatchObject({ status: 'paused', step: last?.step ?? 0 })
      }
      const { run, told } = (await storage.getRun(id))?.status === 'done' ? { run: null, told: null } : await follow(id)
      if (run) expect(run).toMatchObject({ status: 'done', step: 30, bestStep: whole.bestStep })
      if (told) expect(told.step.at(-1)).toBe(30)
      expectSame(await storage.getMetrics(id), metrics, 1e-6)
      const samples = (await storage.getRun(id))?.samples
      expect(samples).toEqual(whole.samples)
    },
  )

  it('pauses after a step, and goes on with the same numbers', async () => {
    const { id } = await begin()
    let asked = 0
    const first = await follow(id, (event) => {
      if (event.kind === 'metrics' && asked++ === 0) void engine().pause()
    })
    expect(first.run.status).toBe('paused')
    expect(first.run.step).toBeLessThan(30)
    expect(first.run.checkpoints.find(({ kind }) => kind === 'last')?.step).toBe(first.run.step)
    expect(first.run.marks.at(-1)).toMatchObject({ kind: 'paused', step: first.run.step })
    const second = await follow(id)
    expect(second.run).toMatchObject({ status: 'done', step: 30 })
    expect(second.run.marks).toContainEqual(expect.objectContaining({ kind: 'resume', step: first.run.step }))
    const [started] = second.events.filter((event) => event.kind === 'started')
    expect(started).toMatchObject({ run: { step: first.run.step } })
    const both = new MetricBuffer(first.told)
    both.append(second.told)
    expectSame(both.slice(), metrics, 1e-6)
    expectSame(await storage.getMetrics(id), metrics, 1e-6)
  })

  it('stops, also while it is being prepared', async () => {
    const { id } = await begin()
    const early = await follow(id, (event) => event.kind === 'stage' && void engine().stop())
    expect(early.run).toMatchObject({ status: 'stopped', error: null })
    const later = await begin()
    const { run } = await follow(later.id, (event) => event.kind === 'metrics' && void engine().stop())
    expect(run.status).toBe('stopped')
    expect(run.checkpoints.length).toBeGreaterThan(0)
  })

  it('belongs to one tab at a time', async () => {
    const other = new WorkerClient<EngineApi>(
      () => new Worker(new URL('../../workers/engine.worker.ts', import.meta.url), { type: 'module' }),
    )
    const { id } = await begin({ steps: 1000, saveEvery: 1000 })
    let second: Promise<unknown> | null = null
    const { run } = await follow(id, (event) => {
      if (event.kind !== 'started') return
      second = other.api
        .train(id, () => {})
        .catch((error: unknown) => error)
        .finally(() => engine().pause())
    })
    expect(await second).toMatchObject({ code: 'run.locked' })
    expect(run.status).toBe('paused')
    await expect(engine().train(id, (event) => event.kind === 'started' && void engine().stop())).resolves.toBeDefined()
    other.terminate()
  })

  it('that fails says why, and can be resumed once the cause is gone', async () => {
    const lost = await data().importDataset({ name: 'lost.jsonl', text: pairs(20) }, () => {})
    const { id } = await begin({ data: lost.id })
    await data().deleteDataset(lost.id)
    const { run, events } = await follow(id)
    expect(run).toMatchObject({ status: 'failed', error: { code: 'file.missing', where: lost.id } })
    expect(events.at(-1)).toMatchObject({ kind: 'ended', run: { status: 'failed' } })
    expect(await storage.getRun(id)).toEqual(run)
    await putDataset(lost, JSON.parse(`[${pairs(20).replaceAll('\n', ',')}]`) as object[])
    expect((await follow(id)).run).toMatchObject({ status: 'done', error: null })
  })

  it('does not go on with another set of rows', async () => {
    const set = await data().importDataset({ name: 'set.jsonl', text: pairs(20) }, () => {})
    const { id } = await begin({ data: set.id })
    await follow(id, (event) => event.kind === 'metrics' && void engine().pause())
    await putDataset(set, JSON.parse(`[${pairs(19).replaceAll('\n', ',')}]`) as object[])
    const { run } = await follow(id)
    expect(run).toMatchObject({ status: 'failed', error: { code: 'checkpoint.mismatch' } })
    expect(run.checkpoints.length).toBeGreaterThan(0)
  })

  it('does not go on with as many rows of other content, unless it is too old to have noted them', async () => {
    const rows = JSON.parse(`[${pairs(20).replaceAll('\n', ',')}]`) as { prompt: string; completion: string }[]
    const set = await data().importDataset({ name: 'set.jsonl', text: pairs(20) }, () => {})
    const { id } = await begin({ data: set.id, steps: 1000 })
    await brieflyFollow(id)
    const other = rows.map((row, i) => (i === 3 ? { ...row, completion: 'cab' } : row))
    await putDataset(set, other)
    const { run } = await follow(id)
    expect(run).toMatchObject({
      status: 'failed',
      error: { code: 'checkpoint.mismatch', where: expect.stringContaining('other content') },
    })
    await storage.updateRun(id, { rowsHash: undefined })
    expect((await brieflyFollow(id)).run).toMatchObject({ status: 'paused', error: null })
  })

  it('does not go on where another model has taken the place of the bundled one', { timeout: 300_000 }, async () => {
    const [bundled] = await engine().listModels()
    const { id } = await begin({ model: bundled?.id as string, steps: 1000, sampleTokens: 0, evalEvery: 1000 })
    const first = await brieflyFollow(id)
    const { model: noted } = first.run
    expect(noted.fingerprint).toMatch(/^[0-9a-f]{64}$/)
    await storage.updateRun(id, { model: { ...noted, fingerprint: 'of another day' } })
    const { run } = await follow(id)
    expect(run).toMatchObject({ status: 'failed', error: { code: 'checkpoint.mismatch' } })
    const ask = { modelId: noted.id, runId: id, checkpoint: 'last' as const, strength: 1, prompt: 'a' }
    const asking = engine().generate({ ...DEFAULT_SAMPLING, ...ask }, () => {})
    await expect(asking).rejects.toMatchObject({ code: 'checkpoint.mismatch' })
    const exporting = (format: 'merged' | 'peft') =>
      engine().exportRun({ runId: id, checkpoint: 'last', format }, () => {})
    await expect(exporting('merged')).rejects.toMatchObject({ code: 'checkpoint.mismatch' })
    expect((await exporting('peft')).verification).toContain('same')
    await storage.updateRun(id, { model: { ...noted, fingerprint: undefined } })
    expect((await brieflyFollow(id)).run).toMatchObject({ status: 'paused', error: null })
  })

  it('started from an adapter goes on without it once it has a checkpoint', async () => {
    const from = await engine().importAdapter(model.id, await goldenAdapter())
    const { id } = await begin({ initAdapter: from.id, steps: 1000 })
    await brieflyFollow(id)
    await storage.deleteRun(from.id)
    expect((await brieflyFollow(id)).run).toMatchObject({ status: 'paused', error: null })
  })

  it('is refused where its job is not valid', async () => {
    await expect(begin({ rank: 0 })).rejects.toMatchObject({ code: 'job.invalid' })
    await expect(begin({ data: 'local:none' })).rejects.toMatchObject({ code: 'file.missing' })
    await expect(begin({ model: 'local:none' })).rejects.toMatchObject({ code: 'file.missing' })
  })

  describe('once trained', () => {
    const request = (change: Partial<GenerateRequest> = {}): GenerateRequest => ({
      ...{ ...DEFAULT_SAMPLING, temperature: 0, repetitionPenalty: 1, maxNewTokens: 12 },
      ...{ modelId: model.id, runId: whole.id, checkpoint: 'last', strength: 1, prompt: 'say 3: ' },
      ...change,
    })

    it('answers otherwise than the base, and as the base at strength 0', async () => {
      const ask = async (change: Partial<GenerateRequest>) => {
        let streamed = ''
        const result = await engine().generate(request(change), (delta) => (streamed += delta))
        expect(streamed).toBe(result.text)
        return result
      }
      const [base, tuned, weak] = await Promise.all([ask({ runId: null }), ask({}), ask({ strength: 0 })])
      expect(tuned.text).toContain('abc')
      expect(base.text).not.toBe(tuned.text)
      expect(weak.ids).toEqual(base.ids)
      const chat = await ask({ prompt: [{ role: 'user', content: 'hello' }] })
      expect(chat.ids.length).toBeGreaterThan(0)
    })

    it('acts together with another adapter, each as strongly as asked', async () => {
      const ids = async (change: Partial<GenerateRequest>) =>
        (await engine().generate(request({ maxNewTokens: 24, ...change }), () => {})).ids
      const other = await engine().importAdapter(model.id, await goldenAdapter())
      const beside = { runId: whole.id, checkpoint: 'last' as const, strength: 0.5 }
      const [own, base] = [await ids({}), await ids({ runId: null })]
      expect(await ids({ strength: 0.5, beside })).toEqual(own)
      expect(await ids({ runId: other.id, strength: 0, beside: { ...beside, strength: 1 } })).toEqual(own)
      expect(await ids({ strength: 0, beside: { ...beside, strength: 0 } })).toEqual(base)
      await storage.deleteRun(other.id)
    })

    it('can be silenced', async () => {
      const talking = engine().generate(
        request({ maxNewTokens: 100, runId: null }),
        () => void engine().cancelGenerate(),
      )
      expect((await talking).reason).toBe('cancelled')
    })

    it('answers while another run trains, without touching its numbers', async () => {
      const { id } = await begin()
      let answer: Promise<unknown> | null = null
      await follow(id, (event) => {
        if (event.kind === 'started') answer = engine().generate(request({ maxNewTokens: 40 }), () => {})
      })
      expect(await answer).toMatchObject({ text: expect.stringContaining('abc') })
      expectSame(await storage.getMetrics(id), metrics, 0)
    })

    it('goes out as a zip that was read back, and comes in again as the same adapter', async () => {
      const stages: string[] = []
      const out = await engine().exportRun({ runId: whole.id, checkpoint: 'last', format: 'peft' }, ({ stage }) =>
        stages.push(stage),
      )
      expect(out.name).toBe('never-interrupted-peft.zip')
      expect(out.verification).toMatch(/all 28 tensors are the same .* largest difference 0/)
      expect(stages).toContain('Reading them back')
      const run = await engine().importAdapter(model.id, [{ path: out.name, file: new File([out.blob!], out.name) }])
      expect(run).toMatchObject({ status: 'imported', name: 'never-interrupted-peft', job: { rank: 4, alpha: 8 } })
      const own = await engine().generate(request(), () => {})
      const back = await engine().generate(request({ runId: run.id }), () => {})
      expect(back.ids).toEqual(own.ids)
      await storage.deleteRun(run.id)
    })

    it.each(['merged', 'gguf', 'gguf-lora', 'mlx'] as const)(
      'goes out as %s, compared with what it should hold',
      async (format) => {
        const out = await engine().exportRun({ runId: whole.id, checkpoint: 'last', format }, () => {})
        expect(out.name).toBe(`never-interrupted-${format}.zip`)
        const largest = Number(/largest difference ([\d.e+-]+)/.exec(out.verification)?.[1]?.replace(/\.$/, ''))
        expect(largest).toBeLessThan(1e-5)
        if (format === 'merged') {
          const logits = Number(/by at most ([\d.e+-]+\d)\.$/.exec(out.verification)?.[1])
          expect(logits).toBeLessThan(1e-4)
        }
        const names = (await (await readZip(out.blob!)).list()).map(({ name }) => name)
        expect(names).toEqual(expect.arrayContaining(['README.md', 'job.json', 'metrics.csv', 'trainer_state.json']))
        if (format === 'mlx') {
          const run = await engine().importAdapter(model.id, [
            { path: out.name, file: new File([out.blob!], out.name) },
          ])
          const [own, back] = await Promise.all(
            [whole.id, run.id].map((runId) => engine().generate(request({ runId }), () => {})),
          )
          expect(back?.ids).toEqual(own?.ids)
          await storage.deleteRun(run.id)
        }
      },
    )

    it('goes straight into a picked folder, in the type that was chosen', async () => {
      // The origin's private folder stands for one that the person picked: the same interface.
      const parent = await (await navigator.storage.getDirectory()).getDirectoryHandle('picked', { create: true })
      const ask = { runId: whole.id, checkpoint: 'last' as const, folder: parent }
      const first = await engine().exportRun({ ...ask, format: 'merged', dtype: 'bf16' }, () => {})
      expect(first).toMatchObject({ name: 'picked/never-interrupted-merged-bf16', blob: null })
      expect(first.verification).toMatch(/largest difference [\d.e-]+\. Its logits differ .* at most [\d.e-]+\.$/)
      const again = await engine().exportRun({ ...ask, format: 'gguf', dtype: 'q8_0' }, () => {})
      expect(again.name).toBe('picked/never-interrupted-gguf-q8_0')
      expect((await engine().exportRun({ ...ask, format: 'gguf', dtype: 'q8_0' }, () => {})).name).toMatch(/-2$/)
      const written = await parent.getDirectoryHandle('never-interrupted-merged-bf16')
      const weights = await (await written.getFileHandle('model.safetensors')).getFile()
      expect(await weights.slice(0, 400).text()).toContain('"dtype":"BF16"')
      await expect(engine().exportRun({ ...ask, format: 'merged', dtype: 'q8_0' }, () => {})).rejects.toMatchObject({
        code: 'usage',
      })
      await (await navigator.storage.getDirectory()).removeEntry('picked', { recursive: true })
    })

    it('is cancelled half-way, and leaves nothing in the folder', async () => {
      const root = await navigator.storage.getDirectory()
      const parent = await root.getDirectoryHandle('cancelled', { create: true })
      const ask = { runId: whole.id, checkpoint: 'last' as const, format: 'merged' as const, folder: parent }
      const out = engine().exportRun(ask, ({ stage }) => {
        if (stage.startsWith('Writing')) void engine().cancelExport()
      })
      await expect(out).rejects.toMatchObject({ code: 'cancelled' })
      for await (const name of parent.keys()) expect(name).toBe('none')
      await root.removeEntry('cancelled', { recursive: true })
    })

    it('hands its job on with the very rows it was trained and judged on', async () => {
      const out = await engine().handOff({ runId: whole.id, model: 'owner/base' }, () => {})
      expect(out.name).toBe('never-interrupted-cluster.zip')
      expect(out.verification).toMatch(/all 9 files are the same/)
      const zip = await readZip(out.blob!)
      const text = async (name: string) => new TextDecoder().decode(await zip.read(name))
      const rows = async (name: string) => (await text(name)).trim().split('\n')
      const [train, valid] = [await rows('data/train.jsonl'), await rows('data/valid.jsonl')]
      const all = pairs(40).trim().split('\n')
      const split = splitRows(40, 0.2, defaultJob().seed)
      const parsed = (lines: string[]) => lines.map((line) => JSON.parse(line) as unknown)
      expect(parsed(train)).toEqual(parsed(split.train.map((i) => all[i] as string)))
      expect(parsed(valid)).toEqual(parsed(split.eval.map((i) => all[i] as string)))
      expect(await text('llama_factory.yaml')).toContain('model_name_or_path: "owner/base"')
      expect(await text('train_trl.py')).toContain('"learning_rate": 0.01')
      const asked = engine().handOff({ runId: whole.id, model: 'm' }, () => void engine().cancelExport())
      await expect(asked).rejects.toMatchObject({ code: 'cancelled' })
    })

    it('is not exported without a checkpoint', async () => {
      const fresh = await begin()
      const ask = { runId: fresh.id, checkpoint: 'best' as const, format: 'peft' as const }
      await expect(engine().exportRun(ask, () => {})).rejects.toMatchObject({ code: 'checkpoint.missing' })
      await expect(engine().exportRun({ ...ask, runId: 'none' }, () => {})).rejects.toMatchObject({
        code: 'run.missing',
      })
    })
  })
})
