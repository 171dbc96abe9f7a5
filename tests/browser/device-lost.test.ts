/** A graphics device that goes away under a run: the run fails with what happened and goes on from its last checkpoint. */
import { expect, it } from 'vitest'
import { checkModel } from '../../src/engine'
import { tf } from '../../src/engine/tf'
import { folderOf, pickedSource } from '../../src/hub'
import { defaultJob } from '../../src/shared/job'
import type { TrainEvent } from '../../src/shared/protocol'
import * as storage from '../../src/storage'
import { runJob, Wish } from '../../workers/run-job'
import { Workshop } from '../../workers/workshop'
import { onWebGPU } from '../support/backends'
import { goldenModel, pairs } from './support/golden'
import { datasetRecord, freshId, putDataset, runRecord } from './support/records'

it.skipIf(!onWebGPU())('a lost device fails the run, which resumes on a new one with the same losses', async () => {
  const workshop = new Workshop()
  const [modelId, dataId] = [freshId('local:model'), freshId('local:set')]
  await workshop.device('webgpu')
  const source = await folderOf(pickedSource(await goldenModel()), 'config.json')
  const model = await checkModel(source, { id: modelId, name: 'tiny' })
  await storage.storeModel(model, source)
  const rows = pairs(12).split('\n').map((line) => JSON.parse(line) as object) // prettier-ignore
  const columns = { prompt: 'prompt', completion: 'completion' }
  const dataset = { ...datasetRecord(dataId, 12), mapping: { format: 'pair' as const, columns } }
  await putDataset(dataset, rows)

  const job = {
    ...{ ...defaultJob(), model: modelId, data: dataId, backend: 'webgpu' as const, steps: 6, batchSize: 2, rank: 4 },
    ...{ maxLength: 32, evalEvery: 3, saveEvery: 1000, sampleTokens: 0, learningRate: 1e-2 },
  }
  // No checkpoint is due before the end: those there are come from time alone, here after every step.
  const train = async (id: string, on: (event: TrainEvent) => void = () => {}) =>
    runJob(workshop, id, on, new Wish(), { saveEvery: 0 })
  const losses = async (id: string) => [...((await storage.getMetrics(id))?.loss ?? [])].filter(Number.isFinite)

  const whole = freshId('run')
  await storage.putRun(runRecord(whole, { job, model, dataset }))
  expect(await train(whole)).toMatchObject({ status: 'done', backend: 'webgpu', error: null })

  const broken = freshId('run')
  await storage.putRun(runRecord(broken, { job, model, dataset }))
  const failed = await train(broken, (event) => {
    const steps = event.kind === 'metrics' ? event.columns.step : []
    if (steps.some((step) => step >= 3)) (tf.backend() as unknown as { device: GPUDevice }).device.destroy()
  })
  expect(failed).toMatchObject({
    status: 'failed',
    error: { code: 'device.lost', fix: expect.stringMatching(/[Rr]esume/) },
  })
  expect(failed.checkpoints.find(({ kind }) => kind === 'last')?.step).toBeGreaterThanOrEqual(2)

  expect(await train(broken)).toMatchObject({ status: 'done', step: 6, error: null })
  const [wanted, got] = [await losses(whole), await losses(broken)]
  expect(got.length).toBe(wanted.length)
  for (const [i, loss] of wanted.entries()) expect(Math.abs((got[i] as number) - loss)).toBeLessThan(1e-5)
})
