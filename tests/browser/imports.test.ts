/** What comes in through the real workers: models, adapters and datasets, whole, broken and hostile. On wasm, in Chromium. */
import { downloadZip } from 'client-zip'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { data, engine, terminateData, terminateEngine } from '../../src/client'
import { defaultJob, type Job } from '../../src/shared/job'
import { DEFAULT_SAMPLING } from '../../src/shared/protocol'
import type { DatasetRecord, ModelRecord } from '../../src/shared/records'
import * as storage from '../../src/storage'
import { goldenAdapter, goldenGguf, goldenModel, pairs } from './support/golden'

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
  const chosen = { model: model.id, data: dataset.id, backend: 'wasm' as const, maxLength: 32, rank: 4, alpha: 8 }
  return { ...defaultJob(), ...chosen, ...change }
}

function fileOf(text: string, name: string): File {
  return new File([text], name)
}

describe('a model folder', () => {
  it('is checked, stored and listed', async () => {
    expect(model).toMatchObject({ name: 'tiny-llama', family: 'llama', vocabulary: 101, layers: 2, dtype: 'F32' })
    expect((await engine().listModels()).some(({ id }) => id === model.id)).toBe(true)
    expect(await engine().openModel(model.id, () => {})).toEqual(model)
    expect(await engine().forecast(job(), 32)).toMatchObject({ fits: true, total: expect.any(Number) })
  })

  it.each([
    [
      'cut short',
      async () => ({ 'model.safetensors': (await bytesOf('model.safetensors')).slice(0, 5000) }),
      'model.truncated',
    ],
    ['with a header that lies', async () => ({ 'model.safetensors': new Uint8Array(64).fill(255) }), 'model.header'],
    ['of an unknown family', async () => ({ 'config.json': '{"model_type":"abacus"}' }), 'model.unsupported'],
    ['without a readable config', async () => ({ 'config.json': 'nope' }), 'model.config'],
    ['with a tokenizer larger than its embedding', withMoreTokens, 'model.tokenizer'],
    [
      'with a field missing',
      async () => ({ 'config.json': await withField('hidden_size', undefined) }),
      'model.config',
    ],
    ['with an absurd field', async () => ({ 'config.json': await withField('num_hidden_layers', 1e9) }), 'model.config'], // prettier-ignore
    ['with a number that is none', async () => ({ 'model.safetensors': await withNaN() }), 'model.not-finite'],
  ])('%s is refused and nothing of it is stored', async (_, replace, code) => {
    const before = (await storage.listModels()).length
    const failing = engine().importModel(await goldenModel(await replace()), () => {})
    await expect(failing).rejects.toMatchObject({ code, fix: expect.stringMatching(/\w/) })
    expect((await storage.listModels()).length).toBe(before)
  })

  it('with pickled weights is refused', async () => {
    const files = (await goldenModel()).filter(({ path }) => !path.endsWith('.safetensors'))
    const pickle = { path: 'tiny-llama/pytorch_model.bin', file: fileOf('x', 'pytorch_model.bin') }
    await expect(engine().importModel([...files, pickle], () => {})).rejects.toMatchObject({ code: 'model.pickle' })
    await expect(engine().importModel(files, () => {})).rejects.toMatchObject({ code: 'file.missing' })
  })

  it('that is none is refused', async () => {
    const file = fileOf('x', 'cat.txt')
    await expect(engine().importModel([{ path: 'photos/cat.txt', file }], () => {})).rejects.toMatchObject({
      code: 'model.config',
    })
  })
})

async function bytesOf(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const file = (await goldenModel()).find(({ path }) => path.endsWith(name))?.file as File
  return new Uint8Array(await file.arrayBuffer())
}

async function withField(field: string, value: unknown): Promise<string> {
  const config = JSON.parse(new TextDecoder().decode(await bytesOf('config.json'))) as Record<string, unknown>
  return JSON.stringify({ ...config, [field]: value })
}

async function withMoreTokens(): Promise<Record<string, string>> {
  const tokenizer = JSON.parse(new TextDecoder().decode(await bytesOf('tokenizer.json'))) as { added_tokens: object[] }
  const extra = { id: 101, content: '<extra>', special: false, single_word: false, lstrip: false, rstrip: false, normalized: false } // prettier-ignore
  return { 'tokenizer.json': JSON.stringify({ ...tokenizer, added_tokens: [...tokenizer.added_tokens, extra] }) }
}

async function withNaN(): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await bytesOf('model.safetensors')
  new DataView(bytes.buffer).setFloat32(bytes.length - 4, Number.NaN, true)
  return bytes
}

describe('a GGUF file', () => {
  it('comes in as a model, is kept as it is, and can be talked to and exported', async () => {
    const files = await goldenGguf('llama-gqa-tied-q4_0')
    const own = await engine().importModel(files, () => {})
    expect(own).toMatchObject({ name: 'llama-gqa-tied-q4_0', family: 'llama', bytes: files[0]!.file.size })
    const ask = { ...DEFAULT_SAMPLING, modelId: own.id, runId: null, checkpoint: 'last' as const, strength: 1 }
    const answer = await engine().generate({ ...ask, prompt: 'the', maxNewTokens: 4, temperature: 0 }, () => {})
    expect(answer.ids.length).toBeGreaterThan(0)
    const run = await engine().importAdapter(own.id, await goldenAdapter())
    const out = await engine().exportRun(
      { runId: run.id, checkpoint: 'last', format: 'merged', dtype: 'f32' },
      () => {},
    )
    expect(out.verification).toMatch(/20 tensors; largest difference 0\./)
    await storage.deleteRun(run.id)
    await engine().deleteModel(own.id)
  })
})

describe('an adapter from elsewhere', () => {
  it('comes in as a folder, can be talked to and trained on', async () => {
    const run = await engine().importAdapter(model.id, await goldenAdapter())
    expect(run).toMatchObject({
      status: 'imported',
      name: 'my-adapter',
      job: { rank: 4, alpha: 8 },
      model: { id: model.id },
    })
    const further = await engine().createRun(job({ initAdapter: run.id, steps: 2 }), 'further')
    expect(await engine().train(further.id, () => {})).toMatchObject({ status: 'done', error: null })
  })

  it('that does not fit is refused with every bad tensor, and nothing is stored', async () => {
    const before = (await storage.listRuns()).length
    const other = await engine().importModel(await goldenModel({}, 'llama-untied-llama3-rope'), () => {})
    await expect(engine().importAdapter(other.id, await goldenAdapter())).rejects.toMatchObject({
      code: 'adapter.mismatch',
      what: expect.stringMatching(/layers\.0\.self_attn\.q_proj.*layers\.1\.mlp\.down_proj/),
    })
    await expect(
      engine().importAdapter(model.id, [{ path: 'x/readme.md', file: fileOf('x', 'readme.md') }]),
    ).rejects.toMatchObject({ code: 'model.config' })
    const zipped = async (files: { name: string; input: Uint8Array<ArrayBuffer> | string }[]) =>
      [{ path: 'a.zip', file: new File([await downloadZip(files).blob()], 'a.zip') }] // prettier-ignore
    const climbing = await zipped([{ name: 'a/../../adapter_config.json', input: '{}' }])
    await expect(engine().importAdapter(model.id, climbing)).rejects.toMatchObject({ code: 'file.unreadable', what: expect.stringContaining('leads out') }) // prettier-ignore
    const [bomb] = await zipped([{ name: 'adapter_config.json', input: new Uint8Array(20 * 2 ** 20) }])
    const bytes = new Uint8Array(await bomb!.file.arrayBuffer())
    // The list at the end says that a stored megabyte unpacks to four gigabytes.
    const list = bytes.length - 22 - 46 - 'adapter_config.json'.length - 0
    for (const [at, size] of [[list + 10, 2], [list + 24, 4]] as const) bytes.set(size === 2 ? [8, 0] : [255, 255, 255, 254], at) // prettier-ignore
    const huge = [{ path: 'a.zip', file: new File([bytes], 'a.zip') }]
    await expect(engine().importAdapter(model.id, huge)).rejects.toMatchObject({
      code: expect.stringMatching(/^file\./),
    })
    const damaged = await goldenAdapter()
    const weights = new Uint8Array(await damaged[1]!.file.arrayBuffer())
    weights.set([0, 0, 0xc0, 0x7f], weights.length - 4)
    damaged[1] = { path: damaged[1]!.path, file: new File([weights], 'adapter_model.safetensors') }
    await expect(engine().importAdapter(model.id, damaged)).rejects.toMatchObject({ code: 'adapter.mismatch', what: expect.stringContaining('NaN') }) // prettier-ignore
    expect((await storage.listRuns()).length).toBe(before)
    await engine().deleteModel(other.id)
    expect((await engine().listModels()).some(({ id }) => id === other.id)).toBe(false)
  })
})

describe('a dataset', () => {
  afterEach(() => terminateData())

  it('is recognised, previewed, counted and corrected', async () => {
    expect(dataset).toMatchObject({
      name: 'pairs',
      file: 'pairs.jsonl',
      rows: 40,
      problems: 0,
      mapping: { format: 'pair' },
    })
    expect((await data().listDatasets()).some(({ id }) => id === dataset.id)).toBe(true)
    const request = {
      ...{ datasetId: dataset.id, mapping: dataset.mapping, modelId: model.id, maxLength: 32 },
      ...{ trainOn: 'completion' as const, revision: '' },
    }
    const rows = await data().preview(request, [3, 4, 5])
    expect(rows.map(({ index }) => index)).toEqual([3, 4, 5])
    const trained = rows[0]?.tokens.filter((token) => token.trained && !token.special).map(({ text }) => text)
    expect(trained?.join('')).toBe('abc'.repeat(4))
    const stats = await data().stats(
      request,
      { evalFraction: 0.2, evalSplit: 'random', splitBy: '', seed: 42 },
      () => {},
    )
    expect(stats).toMatchObject({ rows: 40, trainRows: 32, evalRows: 8 })
    await data().renameDataset(dataset.id, 'Renamed')
    expect((await data().listDatasets()).find(({ id }) => id === dataset.id)).toMatchObject({
      name: 'Renamed',
      rows: 40,
    })
  })

  it('keeps the rows set aside with their reasons', async () => {
    const text = `${pairs(3)}\n{broken\n${pairs(2)}`
    const record = await data().importDataset(new File([text], 'some.jsonl'), () => {})
    expect(record).toMatchObject({ rows: 5, problems: 1 })
    expect(await data().problems(record.id)).toMatchObject([{ line: 4, text: expect.stringContaining('{broken') }])
    await data().deleteDataset(record.id)
    await expect(data().renameDataset(record.id, 'x')).rejects.toMatchObject({ code: 'file.missing' })
  })

  it('whose import is cancelled, or fails, leaves nothing', async () => {
    const before = await storage.listDatasets()
    const large = pairs(400_000)
    let cancelled = false
    const importing = data().importDataset({ name: 'large.jsonl', text: large }, ({ done, total }) => {
      if (cancelled || done < total / 4) return
      cancelled = true
      void data().cancelImport()
    })
    await expect(importing).rejects.toMatchObject({ code: 'cancelled' })
    const dying = data().importDataset({ name: 'large.jsonl', text: large }, ({ done, total }) => {
      if (done > total / 4) terminateData()
    })
    await expect(dying).rejects.toMatchObject({ code: 'worker.died' })
    for (const text of ['', '[1,2', '\ud800']) {
      await expect(data().importDataset({ name: 'bad.json', text }, () => {})).rejects.toMatchObject({
        fix: expect.any(String),
      })
    }
    expect(await storage.listDatasets()).toEqual(before)
    expect((await data().importDataset({ name: 'fine.jsonl', text: pairs(2) }, () => {})).rows).toBe(2)
  })
})

describe('what comes with the page', () => {
  it('is listed and cannot be deleted', async () => {
    const [first] = await engine().listModels()
    expect(first).toMatchObject({ id: expect.stringMatching(/^bundled:/), addedAt: 0, bytes: expect.any(Number) })
    await expect(engine().deleteModel(first?.id ?? '')).rejects.toMatchObject({ code: 'usage' })
    const samples = (await data().listDatasets()).filter(({ id }) => id.startsWith('sample:'))
    for (const sample of samples) expect(sample.rows).toBeGreaterThan(0)
  })
})
