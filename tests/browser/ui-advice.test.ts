/** Advice on the page: recommendations that are taken, and a change that a diagnosis proposes for the next run. */
import { beforeEach, describe, expect, it } from 'vitest'
import { recommend, type RowFacts } from '../../src/insight/recipe'
import { draft } from '../../src/stores/draft.svelte'
import { models } from '../../src/stores/models.svelte'
import Recommendations from '../../src/ui/components/Recommendations.svelte'
import { modelRecord } from './support/records'
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
