/** The sample datasets: what the page and the command line start without a touch is what the table of docs/samples.md was measured with. */
import { openAsBlob, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { datasetStats, importFiles } from '../../../src/data'
import { batchShares } from '../../../src/engine/memory'
import { inspectModel } from '../../../src/engine/models/model'
import { loadTokenizer } from '../../../src/engine/tokenizer'
import { loadChatTemplate } from '../../../src/engine/tokenizer/chat-template'
import { recommend } from '../../../src/insight/recipe'
import { completeJob, type Job, type SettingKey } from '../../../src/shared/job'
import type { DeviceReport } from '../../../src/shared/records'
import { diskFolder } from '../../support/folder'

const ROOT = resolve(import.meta.dirname, '../../..')
const read = <T>(path: string): T => JSON.parse(readFileSync(resolve(ROOT, path), 'utf8')) as T
interface Card {
  id: string
  file: string
  suggested: Partial<Job>
}
const cards = read<Card[]>('public/datasets/index.json')
const table = read<Record<string, { suggested: Partial<Job>; steps: number }>>('scripts/samples/results/table.json')
const measured = cards.filter(({ id }) => id in table)
const source = diskFolder(resolve(ROOT, 'public/models/stories-3m'))
const device = { backend: 'wasm', budget: 2 ** 31 } as DeviceReport

/** The whole job of a sample, with what is recommended beside what was measured for it. */
async function jobOf({ file, suggested }: Card, given: Partial<Job>): Promise<Job> {
  const model = await inspectModel(source, 'bundled:stories-3m', 'Stories 3M')
  const tokenizer = await loadTokenizer(source)
  const template = await loadChatTemplate(source, tokenizer)
  const blob = await openAsBlob(resolve(ROOT, 'public/datasets', file))
  const data = await importFiles([{ name: file, size: blob.size, open: () => blob.stream() }])
  const before = completeJob({ ...suggested, ...given })
  const stats = await datasetStats(data.rows, data.mapping, tokenizer, template, before)
  const memory = batchShares(model, before, stats.lengths.max, device)
  const { change } = recommend(model, stats, { given: { ...suggested, ...given }, memory })
  return completeJob({ ...change, ...suggested, ...given })
}

describe('the sample datasets', () => {
  it('are six with a measured result', () => {
    expect(measured).toHaveLength(6)
  })

  it.each(measured)('$id is started with the settings that its results were measured with', async (card) => {
    expect(table[card.id]?.suggested).toEqual(card.suggested)
    expect(table[card.id]?.steps).toBe(card.suggested.steps)
    // The table holds its own tenth out and gives it apart; nothing else may differ from what a person starts.
    const own = await jobOf(card, {})
    const held = await jobOf(card, { evalData: 'held out', evalFraction: 0 })
    const differing = (Object.keys(own) as SettingKey[]).filter((key) => String(own[key]) !== String(held[key]))
    expect(differing.sort()).toEqual(['evalData', 'evalFraction'])
    for (const [key, value] of Object.entries(card.suggested)) expect(own[key as SettingKey], key).toEqual(value)
  })
})
