/** A messy file through the real data worker and IndexedDB: looked through, mended by steps, undone, kept, written out, trained on. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { data, engine, terminateData, terminateEngine } from '../../src/client'
import { defaultJob } from '../../src/shared/job'
import type { AuditRequest, StepChange } from '../../src/shared/protocol'
import type { DatasetRecord } from '../../src/shared/records'
import { goldenModel } from './support/golden'

const quiet = () => {}
const word = (i: number) => String.fromCharCode(97 + (i % 7), 97 + ((i * 3) % 5), 97 + ((i * 5) % 11))
const clean = Array.from({ length: 12 }, (_, i) => [
  `${word(i)} ${word(i + 40)}`,
  `${word(i + 3)} ${word(i + 9)} ${word(i + 20)}`,
])
const messy = [
  ...clean,
  clean[0],
  clean[1],
  [clean[2]?.[0], 'a longer other answer than that'],
  ['mail', 'to bee.gee@cab.org'],
  ['nothing', ''],
]
const csv = `prompt,completion\n${messy.map((row) => row?.map((text) => `"${text}"`).join(',')).join('\n')}\n`

let dataset: DatasetRecord
beforeAll(async () => {
  dataset = await data().importDataset({ name: 'messy.csv', text: csv }, quiet)
})
afterAll(() => {
  terminateData()
  terminateEngine()
})

async function request(): Promise<AuditRequest> {
  const { maxLength, trainOn, evalSplit, splitBy, seed, batchSize } = defaultJob()
  const { revision = '' } = await now()
  const settings = {
    maxLength,
    trainOn,
    evalFraction: 0,
    evalSplit,
    splitBy,
    seed,
    batchSize,
    evalData: '',
    evalRevision: '',
  }
  return { datasetId: dataset.id, revision, modelId: null, ...settings }
}
async function now(): Promise<DatasetRecord> {
  return (await data().listDatasets()).find(({ id }) => id === dataset.id) as DatasetRecord
}
const change = async (what: StepChange) => data().changeSteps(await request(), what, quiet)
const audit = async () => data().audit(await request(), quiet, quiet)
const prompts = async (positions: number[]) =>
  (await data().tableRows(dataset.id, positions)).map(({ prompt }) => prompt)

describe('a messy file', () => {
  it('is looked through, and each finding gives its rows with the reason', async () => {
    const summary = await audit()
    expect(summary).toMatchObject({ rows: 17, complete: true })
    expect(summary.counts).toMatchObject({ 'exact-duplicate': 2, conflict: 1, personal: 1, unusable: 1 })
    const query = { datasetId: dataset.id, search: '', order: 'file' as const }
    const found = await data().query({ ...query, finding: 'exact-duplicate' }, quiet)
    expect([...(found ?? [])]).toEqual([12, 13])
    const [row] = await data().tableRows(dataset.id, [12])
    expect(row?.findings.map(({ text }) => text)).toEqual(['The row repeats row 1 word for word.'])
    expect(await data().query({ ...query, finding: null }, quiet)).toBeNull()
    expect([...((await data().query({ ...query, finding: null, search: 'BEE.GEE' }, quiet)) ?? [])]).toEqual([15])
    const byLength = await data().query({ ...query, finding: null, order: 'longest' }, quiet)
    expect(byLength?.[0]).toBe(14)
    expect(byLength?.at(-1)).toBe(16)
  })

  it('is mended by steps, and what an audit found stays found', async () => {
    const list = await change({
      add: [
        { kind: 'drop-findings', findings: ['unusable', 'exact-duplicate'] },
        { kind: 'mask-personal', kinds: ['email'] },
        { kind: 'drop-findings', findings: ['conflict'], keep: 'longest' },
      ],
    })
    expect(list.done.map(({ rows }) => rows)).toEqual([14, 14, 13])
    expect(await now()).toMatchObject({ rows: 13, changes: 3 })
    expect((await audit()).counts).toMatchObject({ 'exact-duplicate': 0, conflict: 0, personal: 0, unusable: 0 })
    expect(await data().wholeRow(dataset.id, 12)).toEqual({ prompt: 'mail', completion: 'to [email]' })
  })

  it('takes edits, deletions and new rows, and forgets a step taken out of the middle', async () => {
    const [row] = await data().tableRows(dataset.id, [12])
    await change({ add: [{ kind: 'edit-row', row: row?.number ?? 0, value: { prompt: 'edited', completion: 'x' } }] })
    await change({ add: [{ kind: 'add-rows', rows: [{ prompt: 'mine', completion: 'y' }] }] })
    await change({ add: [{ kind: 'delete-rows', rows: [0] }] })
    expect(await prompts([0, 11, 12])).toEqual([clean[1]?.[0], 'edited', 'mine'])
    const list = await change({ remove: 0 })
    expect(list.done.map(({ rows }) => rows)).toEqual([17, 16, 16, 17, 16])
    expect((await prompts([13, 14, 15])).includes('edited')).toBe(true)
    expect(await change('undo')).toMatchObject({ undone: 1 })
    expect(await change('redo')).toMatchObject({ undone: 0 })
  })

  it('loses what a validation dataset has too, on either side, as a step', async () => {
    const text = `prompt,completion\n${[clean[3], clean[4], ['quite', 'new']].map((row) => row?.join(',')).join('\n')}`
    const held = await data().importDataset({ name: 'held.csv', text }, quiet)
    const asked = async () => ({ ...(await request()), evalData: held.id })
    expect((await data().audit(await asked(), quiet, quiet)).counts.leak).toBe(2)
    const query = { datasetId: dataset.id, search: '', order: 'file' as const, finding: 'leak' as const }
    const shown = (await data().query(query, quiet)) ?? []
    expect((await prompts([...shown])).sort()).toEqual([clean[3]?.[0], clean[4]?.[0]].sort())
    const { rows } = await now()
    const step = (other: DatasetRecord) => ({ kind: 'drop-shared' as const, with: other.id, name: other.name })
    await change({ add: [step(held)] })
    expect((await now()).rows).toBe(rows - 2)
    expect((await data().audit(await asked(), quiet, quiet)).counts.leak).toBe(0)
    await change('undo')
    await data().changeSteps({ ...(await request()), datasetId: held.id }, { add: [step(dataset)] }, quiet)
    expect((await data().listDatasets()).find(({ id }) => id === held.id)?.rows).toBe(1)
    expect((await data().audit(await asked(), quiet, quiet)).counts.leak).toBe(0)
    await data().deleteDataset(held.id)
  })

  it('keeps its steps when the worker is gone', async () => {
    const before = await data().steps(dataset.id)
    const revision = (await now()).revision
    terminateData()
    expect(await data().steps(dataset.id)).toEqual(before)
    expect((await now()).revision).toBe(revision)
  })

  it('gives a recipe that runs on another file', async () => {
    const recipe = await data().recipe(dataset.id)
    expect(recipe.steps.map(({ kind }) => kind)).toEqual(['mask-personal', 'drop-findings'])
    const read = await data().readRecipe(new File([JSON.stringify(recipe)], 'r.json'))
    expect(read).toEqual(recipe)
    await expect(data().readRecipe(new File(['{'], 'r.json'))).rejects.toMatchObject({ code: 'data.row' })
  })

  it.each([
    ['columns', 'csv', /^prompt,completion\r\n/],
    ['pair', 'jsonl', /^\{"prompt":/],
    ['chat', 'json', /^\[\n\{"messages":\[\{"role":"user"/],
    ['alpaca', 'tsv', /^instruction\tinput\toutput/],
  ] as const)('is written as %s in a %s file that imports again', async (format, file, begins) => {
    const { blob } = await data().exportRows(dataset.id, { format, file }, quiet)
    const text = await blob.text()
    expect(text).toMatch(begins)
    const again = await data().importDataset(new File([text], `again.${file}`), quiet)
    // The row whose answer is empty is left out where the format must have one.
    expect(again.rows + again.problems).toBe(format === 'columns' ? 16 : 15)
    await data().deleteDataset(again.id)
  })

  it('is trained on as the steps leave it, also after they are changed', async () => {
    await engine().openDevice('wasm')
    const model = await engine().importModel(await goldenModel(), quiet)
    await change({ add: [{ kind: 'drop-findings', findings: ['unusable'] }] })
    const { rows, revision } = await now()
    const job = {
      ...{ ...defaultJob(), model: model.id, data: dataset.id, backend: 'wasm' as const, steps: 3, batchSize: 2 },
      ...{ maxLength: 32, rank: 2, evalFraction: 0, evalEvery: 0, saveEvery: 1, earlyStop: 0, sampleTokens: 0 },
    }
    const run = await engine().createRun(job, 'stepped')
    expect(run.dataset).toMatchObject({ rows, revision })
    await change('clear')
    expect((await now()).rows).toBe(17)
    expect(await engine().train(run.id, quiet)).toMatchObject({ status: 'done', trainRows: rows })
  })
})
