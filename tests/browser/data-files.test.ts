/** Datasets of several files, of a zip and of an address, through the real workers; and a run that mixes, groups and packs them. */
import { downloadZip } from 'client-zip'
import { afterAll, describe, expect, inject, it } from 'vitest'
import { data, engine, terminateData, terminateEngine } from '../../src/client'
import { defaultJob, type Job } from '../../src/shared/job'
import type { DatasetRecord } from '../../src/shared/records'
import * as storage from '../../src/storage'
import { goldenModel, pairs } from './support/golden'

const endpoint = inject('hub')
/** As in tests/support/hub-server.ts, which needs Node. */
const COMMIT = '0123456789abcdef0123456789abcdef01234567'

afterAll(() => {
  terminateEngine()
  terminateData()
})

const file = (name: string, text: string) => new File([text], name)
const chats = Array.from(
  { length: 5 },
  (_, i) =>
  JSON.stringify({ messages: [{ role: 'user', content: `q${i}` }, { role: 'assistant', content: `a${i}` }] }), // prettier-ignore
).join('\n')
const add = (source: Parameters<ReturnType<typeof data>['importDataset']>[0]): Promise<DatasetRecord> =>
  data().importDataset(source, () => {})

describe('a dataset', () => {
  it('may be several files, or a zip of them', async () => {
    const files = [file('one.jsonl', pairs(10)), file('two.jsonl', pairs(4))]
    const record = await add(files)
    expect(record).toMatchObject({ name: 'one and 1 more', file: 'one.jsonl, two.jsonl', rows: 14, problems: 0 })
    expect((await storage.readRows(record.id, 9, 11)).map((row) => row.source)).toEqual(['one.jsonl', 'two.jsonl'])
    const zip = await downloadZip([{ name: 'set/a.jsonl', input: pairs(6) }, { name: 'set/b.jsonl', input: chats }]).blob() // prettier-ignore
    const packed = await add(new File([zip], 'set.zip'))
    expect(packed).toMatchObject({ name: 'set', rows: 11, mapping: { format: 'chat' } })
  })

  it('may be named by its address', async () => {
    const steer = (state: object) => fetch(`${endpoint}/steer`, { method: 'POST', body: JSON.stringify(state) })
    await steer({ gated: false, troubles: [], replaced: { 'train.jsonl': pairs(6) } })
    const record = await add({ address: ` ${endpoint}/me/tiny/resolve/${COMMIT}/train.jsonl\n`, token: '' })
    await steer({ replaced: {} })
    expect(record).toMatchObject({ name: 'train', file: 'train.jsonl', rows: 6, bytes: pairs(6).length })
    const wrong = add({ address: 'https://huggingface.co/datasets/a/b/tree/main', token: '' })
    await expect(wrong).rejects.toMatchObject({ code: 'usage' })
  })
})

it('trains on a mix in packed groups, and goes on exactly after a pause', { timeout: 240_000 }, async () => {
  await engine().openDevice('wasm')
  const model = await engine().importModel(await goldenModel(), () => {})
  const [main, other] = [
    await add({ name: 'main.jsonl', text: pairs(30) }),
    await add({ name: 'more.jsonl', text: pairs(9) }),
  ]
  const job: Job = {
    ...{ ...defaultJob(), model: model.id, data: main.id, backend: 'wasm', steps: 10, batchSize: 4, maxLength: 32 },
    ...{
      rank: 2,
      alpha: 4,
      dropout: 0,
      learningRate: 1e-2,
      evalEvery: 10,
      saveEvery: 10,
      earlyStop: 0,
      sampleTokens: 0,
    },
    ...{ packing: true, groupByLength: true, mix: `${other.id}=0.3`, evalSplit: 'grouped' },
  }
  const losses = async (pauses: boolean) => {
    const created = await engine().createRun(job, 'mix')
    let asked = !pauses
    const once = () =>
      engine().train(created.id, (event) => {
        if (event.kind === 'metrics' && !asked) {
          asked = true
          void engine().pause()
        }
      })
    let run = await once()
    if (pauses) expect(run.status).toBe('paused')
    if (pauses) run = await once()
    expect([run.status, run.trainRows + run.evalRows]).toEqual(['done', 30])
    const columns = await storage.getMetrics(created.id)
    return [...(columns?.loss ?? [])].filter(Number.isFinite)
  }
  const whole = await losses(false)
  expect(whole).toHaveLength(10)
  expect(await losses(true)).toEqual(whole)
})
