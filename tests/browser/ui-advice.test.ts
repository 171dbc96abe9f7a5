/** Advice on the page: recommendations that are taken, and a change that a diagnosis proposes for the next run. */
import { beforeEach, describe, expect, it } from 'vitest'
import { diagnose } from '../../src/insight/diagnosis'
import { recommend, type RowFacts } from '../../src/insight/recipe'
import { draft } from '../../src/stores/draft.svelte'
import { models } from '../../src/stores/models.svelte'
import { nextFrom } from '../../src/stores/next'
import { training } from '../../src/stores/training.svelte'
import { defaultJob } from '../../src/shared/job'
import { MetricBuffer } from '../../src/shared/metrics'
import CompareRuns from '../../src/ui/components/CompareRuns.svelte'
import Diagnosis from '../../src/ui/components/Diagnosis.svelte'
import Field from '../../src/ui/components/Field.svelte'
import Recommendations from '../../src/ui/components/Recommendations.svelte'
import * as storage from '../../src/storage'
import { freshId, modelRecord, runRecord } from './support/records'
import { show } from './support/show'
import '../../src/ui/styles/tokens.css'
import '../../src/ui/styles/base.css'

const FACTS: RowFacts = {
  ...{ rows: 120, trainRows: 120, tokens: 6000, trainedTokens: 3000 },
  lengths: { min: 5, median: 40, p95: 70, max: 90, histogram: [] },
}

beforeEach(() => {
  draft.resetAll()
  models.list = [{ ...modelRecord('m'), parameters: 3_000_000, context: 256 }]
  models.choose('m')
  draft.facts = FACTS
  draft.memory = [0.1, 0.2, 0.4]
})

describe('recommendations', () => {
  it('are all in use until the person says otherwise, and come back one by one or all at once', async () => {
    const page = show(Recommendations, {})
    const wanted = recommend(modelRecord('m'), FACTS).reasons.length
    expect(draft.recommendations).toHaveLength(wanted)
    await expect.element(page.getByText(`All ${wanted} settings below are as recommended.`)).toBeVisible()
    draft.set('learningRate', 1)
    draft.set('batchSize', 2)
    draft.set('dropout', 0.5)
    await expect.element(page.getByText('differ from what is recommended')).toBeVisible()
    await page.getByRole('button', { name: 'Take 0.005 for Learning rate' }).click()
    expect(draft.job.learningRate).toBe(0.005)
    expect(draft.job.batchSize).toBe(2)
    await page.getByRole('button', { name: 'Take all recommended' }).click()
    expect(draft.changed).toEqual([])
    expect(draft.job).toMatchObject({ dropout: 0.05, batchSize: 3 })
    for (const { key, value } of draft.recommendations) expect(draft.job[key]).toBe(value)
  })

  it('say why, and where that comes from', async () => {
    draft.set('rank', 3)
    const page = show(Recommendations, {})
    await expect.element(page.getByText(/tokens to learn fit into/)).toBeVisible()
    await expect.element(page.getByText('LoRA Without Regret.')).toBeVisible()
    await expect.element(page.getByText('yours: 3')).toBeVisible()
  })

  it('are put back by undo', () => {
    draft.set('learningRate', 0.3)
    const undo = draft.follow(draft.recommendations)
    expect(draft.job.learningRate).toBe(0.005)
    undo()
    expect(draft.job.learningRate).toBe(0.3)
  })
})

/** Falls, and from step 60 on rises: a rate that is too high. */
function diverging(): MetricBuffer {
  const metrics = new MetricBuffer()
  for (let step = 1; step <= 120; step++) {
    const loss = step < 60 ? 3 - step / 40 : 1.5 + (step - 60) / 20
    metrics.push({ step, epoch: step / 40, time: step, loss, gradNorm: 2, learningRate: 0.03 })
  }
  return metrics
}

describe('what a diagnosis proposes', () => {
  it('is applied to the next run: with that run’s settings from its page, to the draft from Train', async () => {
    const job = { ...defaultJob(), model: 'm', learningRate: 0.03, rank: 7, schedule: 'constant' as const }
    const run = runRecord('diverged', { job, model: { ...modelRecord('m') } })
    const diagnosis = diagnose(diverging(), job)
    expect(diagnosis).toMatchObject({ verdict: 'diverging', change: { learningRate: 0.01 } })
    draft.set('rank', 5)
    let page = show(Diagnosis, { diagnosis })
    await page.getByRole('button', { name: /Try this next: Use a third/ }).click()
    expect(draft.job).toMatchObject({ learningRate: 0.01, rank: 5 })
    draft.resetAll()
    page = show(Diagnosis, { diagnosis, run })
    await page
      .getByRole('button', { name: /Try this next: Use a third/ })
      .last()
      .click()
    expect(draft.job).toMatchObject({ learningRate: 0.01, rank: 7, schedule: 'constant' })
    expect(location.hash).toContain('train')
    nextFrom(run)
    expect(draft.job.learningRate).toBe(0.03)
  })

  it('shows a setting on the curve of the last run', async () => {
    training.run = runRecord('r', { job: { ...defaultJob(), learningRate: 0.03, schedule: 'constant' } })
    training.metrics = diverging()
    training.version++
    const page = show(Field, { key: 'learningRate' })
    await page.getByText(/Too low, too high, on your last run/).click()
    await expect
      .element(page.getByText(/At 0.03: since step \d+ the loss rises: the learning rate is too high/))
      .toBeVisible()
    expect(document.querySelectorAll('figure rect').length).toBe(1)
    training.forget('r')
  })
})

describe('runs compared', () => {
  it('draws each with its dashes, and lists what differs and how they did', async () => {
    const runs = [
      runRecord(freshId('run'), { name: 'Gentle', bestEvalLoss: 1.5 }),
      runRecord(freshId('run'), { name: 'Bold', bestEvalLoss: 0.75, job: { ...defaultJob(), learningRate: 0.01 } }),
    ]
    for (const run of runs) {
      await storage.putRun(run)
      await storage.replaceMetrics(run.id, diverging().slice())
    }
    const page = show(CompareRuns, { runs })
    await expect
      .element(page.getByRole('img', { name: 'Gentle: best validation loss 1.50; Bold: best validation loss 0.750' }))
      .toBeVisible()
    const dashes = [...document.querySelectorAll('polyline.train')].map((line) => line.getAttribute('stroke-dasharray'))
    expect(new Set(dashes).size).toBe(2)
    await expect.element(page.getByRole('row', { name: 'Learning rate 2e-4 0.01' })).toBeVisible()
    await expect.element(page.getByRole('row', { name: 'Best validation loss 1.50 0.750' })).toBeVisible()
    expect(page.getByRole('row').elements()).toHaveLength(4)
    for (const { id } of runs) await storage.deleteRun(id)
  })
})
