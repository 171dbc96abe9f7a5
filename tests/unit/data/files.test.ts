/** Several files as one dataset: chosen together, in a zip, in a folder with its dataset_info.json, and one by its address. */
import { openAsBlob, readdirSync } from 'node:fs'
import { deflateRawSync } from 'node:zlib'
import { resolve } from 'node:path'
import { downloadZip } from 'client-zip'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { importFiles, mapRow, type DataFile, type RawRow } from '../../../src/data'
import { zipFiles } from '../../../src/engine/formats/zip'
import { datasetFile, isAddress } from '../../../src/hub'
import { COMMIT, startHub, TOKEN, type HubServer } from '../../support/hub-server'
import { refusal, sharedData } from './support'

/** A file in memory that counts how often it is read. */
function file(name: string, content: string | Uint8Array): DataFile & { opened: number } {
  const blob = new Blob([content as BlobPart])
  const made = {
    name,
    size: blob.size,
    opened: 0,
    open() {
      made.opened++
      return blob.stream()
    },
  }
  return made
}
const lines = (rows: unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('')
const alpaca = (count: number, word = 'a') =>
  Array.from({ length: count }, (_, i) => ({ instruction: `${word} ask ${i}`, output: `${word} say ${i}` }))
const chat = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    messages: [
      { role: 'user', content: `hello ${i}` },
      { role: 'assistant', content: `hi ${i}` },
    ],
  }))
const answers = (rows: RawRow[], mapping: Parameters<typeof mapRow>[1]) =>
  rows.map((row) => {
    const example = mapRow(row, mapping)
    return example.kind === 'chat' ? example.messages.at(-1)?.content : 'completion' in example && example.completion
  })

describe('several files', () => {
  it('of one form are merged as they are, each row noting its file', async () => {
    const data = await importFiles([
      file('b/one.jsonl', lines(alpaca(3))),
      file('two.json', JSON.stringify(alpaca(2, 'b'))),
    ])
    expect([data.count, data.mapping.format, data.problems]).toEqual([5, 'alpaca', []])
    expect(data.rows[0]).toEqual({ instruction: 'a ask 0', output: 'a say 0', source: 'one.jsonl' })
    expect(data.rows[4]).toEqual({ instruction: 'b ask 1', output: 'b say 1', source: 'two.json' })
    expect(data.columns).toEqual(['instruction', 'output', 'source'])
    expect(data.why).toContain('2 files were merged; "source"')
  })

  it('of several spellings become conversations; a column of that name is left alone', async () => {
    const csv = 'prompt,completion,source\nwhat,this,web\nwho,me,book\n'
    const data = await importFiles([
      file('a.jsonl', lines(alpaca(2))),
      file('b.jsonl', lines(chat(2))),
      file('c.csv', csv),
    ])
    expect(data.mapping).toEqual({ format: 'chat', columns: { messages: 'messages', tools: 'tools' } })
    expect(answers(data.rows, data.mapping)).toEqual(['a say 0', 'a say 1', 'hi 0', 'hi 1', 'this', 'me'])
    expect(data.rows.map((row) => row.source_file)).toEqual([
      'a.jsonl',
      'a.jsonl',
      'b.jsonl',
      'b.jsonl',
      'c.csv',
      'c.csv',
    ])
  })

  it('hand their rows to a sink, and set bad rows and unreadable files aside with their names', async () => {
    const many = alpaca(5000)
    const rows: RawRow[] = []
    const files = [
      file('good.jsonl', `${lines(many)}{"instruction": \n`),
      file('broken.json', 'This is no JSON at all'),
      file('half.jsonl', lines([...alpaca(9), { instruction: 'no answer' }])),
    ]
    const data = await importFiles(files, undefined, undefined, (batch) => void rows.push(...batch))
    expect([data.rows, data.count, rows.length]).toEqual([[], 5010, 5010])
    expect(data.problems.map(({ reason }) => reason.split(':')[0])).toEqual(['broken.json', 'good.jsonl'])
    expect(data.problems[1]).toMatchObject({ line: 5001 })
    const mixed = await importFiles([files[2]!, file('c.jsonl', lines(chat(1)))])
    expect(mixed.problems).toMatchObject([{ line: 10, reason: 'half.jsonl: The column "output" is missing.' }])
    expect(mixed.count).toBe(10)
  })

  it('that are not alike are refused, with what each is', async () => {
    const report = await refusal(importFiles([file('a.jsonl', lines(alpaca(2))), file('b.jsonl', lines([{ text: 'x' }, { text: 'y' }]))])) // prettier-ignore
    expect(report).toMatchObject({ code: 'data.columns', where: 'a.jsonl is alpaca, b.jsonl is text' })
    expect(await refusal(importFiles([file('a.bin', 'x'), file('b.png', 'y')]))).toMatchObject({ code: 'data.empty' })
    const broken = importFiles([file('a.json', 'no'), file('b.json', 'no')])
    expect(await refusal(broken)).toMatchObject({ code: 'data.not-json' })
  })

  it('keep rows for validation out of training, and say so', async () => {
    const names = ['train.jsonl', 'valid.jsonl', 'data-test.jsonl', 'README.md', 'latest.jsonl']
    const data = await importFiles(names.map((name) => file(name, lines(alpaca(2, name)))))
    expect([...new Set(data.rows.map((row) => row.source))]).toEqual(['train.jsonl', 'latest.jsonl'])
    expect(data.why).toContain('Left out as rows for validation: "valid.jsonl", "data-test.jsonl"')
    expect((await importFiles([file('test.jsonl', lines(alpaca(2)))])).count).toBe(2)
  })

  it('follow their dataset_info.json: mappings, roles of their own, pictures left out', async () => {
    const info = {
      mine: {
        file_name: 'talk.json',
        formatting: 'sharegpt',
        columns: { messages: 'talk' },
        tags: { role_tag: 'role', content_tag: 'content', user_tag: 'visitor', assistant_tag: 'guide' },
      },
      seen: { file_name: 'seen.json', columns: { prompt: 'q', response: 'a', images: 'images' } },
    }
    const talk = [{ talk: [{ role: 'visitor', content: 'where' }, { role: 'guide', content: 'there' }] }] // prettier-ignore
    const data = await importFiles([
      file('data/dataset_info.json', JSON.stringify(info)),
      file('data/talk.json', JSON.stringify(talk)),
      file('data/seen.json', JSON.stringify([{ q: 'x', a: 'y', images: ['z.png'] }])),
    ])
    expect([data.count, data.why]).toEqual([1, 'dataset_info.json says so.'])
    expect(answers(data.rows, data.mapping)).toEqual(['there'])
  })
})

describe('a zip', () => {
  const blobOf = async (files: Record<string, string>) =>
    downloadZip(Object.entries(files).map(([name, input]) => ({ name, input }))).blob()

  it('is read file by file', async () => {
    const blob = await blobOf({
      'set/README.md': '# About',
      'set/a.jsonl': lines(alpaca(3)),
      'set/b.csv': 'instruction,output\nx,y\n',
    })
    const data = await importFiles(await zipFiles(blob))
    expect(data.rows.map((row) => row.source)).toEqual(['a.jsonl', 'a.jsonl', 'a.jsonl', 'b.csv'])
    expect((await importFiles(await zipFiles(await blobOf({ 'a.md': '# One\n\nA text.\n' })))).mapping.format).toBe(
      'text',
    )
  })

  it('unpacks as it streams, and is refused where its checksum does not fit', async () => {
    const content = new TextEncoder().encode(lines(alpaca(4000)))
    const zip = await blobOf({ 'a.jsonl': lines(alpaca(4000)) })
    const bytes = new Uint8Array(await zip.arrayBuffer())
    const at = bytes.indexOf(0x7b, 30)
    bytes[at + 20] = 0x58
    expect(await refusal(importFiles(await zipFiles(new Blob([bytes]))))).toMatchObject({ code: 'file.unreadable' })
    expect((await importFiles(await zipFiles(zip))).count).toBe(4000)
    expect(deflateRawSync(content).length).toBeLessThan(content.length)
  })
})

describe('a file by its address', () => {
  let server: HubServer
  const text = lines(alpaca(3000))
  beforeEach(async () => {
    server = await startHub({ 'train.jsonl': new TextEncoder().encode(text), 'gone.jsonl': new Uint8Array() })
  })
  afterEach(() => server.close())
  const at = (name: string) => `${server.endpoint}/me/tiny/resolve/${COMMIT}/${name}`
  const options = { delay: 1, stall: 1000 }

  it('is fetched by ranges while it is read, and goes on where the connection breaks', async () => {
    const remote = await datasetFile(at('train.jsonl'), options)
    expect(remote).toMatchObject({ name: 'train.jsonl', size: text.length })
    server.troubles.push({ kind: 'break', after: 50_000 }, { kind: 'status', status: 503 })
    const data = await importFiles([remote])
    expect([data.count, data.problems]).toEqual([3000, []])
    expect(server.asked.at(-1)?.range).toBe(`bytes=50000-${text.length - 1}`)
  })

  it.each([
    [401, undefined, '', 'hub.access', 'The hub refused access.', 'give an access token'],
    [401, undefined, 'hf_mine', 'hub.access', 'The token was not accepted.', 'Check the token'],
    [401, 'GatedRepo', '', 'hub.access', 'This dataset is gated: its files need an access token.', 'Accept the conditions on the dataset’s page'], // prettier-ignore
    [401, 'RepoNotFound', '', 'hub.request', 'There is no such dataset, or it is private.', 'a private dataset needs a token'], // prettier-ignore
    [403, 'GatedRepo', 'hf_mine', 'hub.access', 'This dataset is gated, and the account of this token has not been given access to it.', 'Accept'], // prettier-ignore
    [404, 'EntryNotFound', '', 'hub.request', 'There is no such dataset or file.', 'the name of the file'],
  ])('%i %s (token "%s") says what to do', async (status, code, token, kind, what, fix) => {
    server.troubles.push({ kind: 'status', status, ...(code ? { code } : {}) })
    const report = await refusal(datasetFile(at('train.jsonl'), { ...options, token }))
    expect(report).toMatchObject({ code: kind, what, where: at('train.jsonl') })
    expect(report.fix).toContain(fix)
    expect(JSON.stringify(report)).not.toContain('hf_')
  })

  it('sends the token to its own host, and not to the one that it is led on to', async () => {
    server.gated = true
    server.files['stored-train.jsonl'] = new TextEncoder().encode(text)
    const data = await importFiles([await datasetFile(at('stored-train.jsonl'), { ...options, token: TOKEN })])
    expect(data.count).toBe(3000)
    const tokens = (host: string) => new Set(server.asked.filter((one) => one.host === host).map((one) => one.authorization)) // prettier-ignore
    expect(tokens('hub')).toEqual(new Set([`Bearer ${TOKEN}`]))
    expect(tokens('store')).toEqual(new Set(['']))
    await expect(datasetFile('http://example.org/a.jsonl', { token: TOKEN })).rejects.toMatchObject({ code: 'usage' })
  })

  it('needs a token where the set is gated, and is refused where it is not there or is a page', async () => {
    server.gated = true
    expect(await refusal(datasetFile(at('train.jsonl'), options))).toMatchObject({ code: 'hub.access' })
    expect(await refusal(datasetFile(at('train.jsonl'), { ...options, token: 'hf_other' }))).toMatchObject({
      what: 'This dataset is gated, and the account of this token has not been given access to it.',
    })
    expect(await datasetFile(at('train.jsonl'), { ...options, token: TOKEN })).toMatchObject({ size: text.length })
    expect(await refusal(datasetFile(at('nothing.jsonl'), { ...options, token: TOKEN }))).toMatchObject({ code: 'hub.request' }) // prettier-ignore
    for (const page of [
      'https://huggingface.co/datasets/a/b',
      'https://huggingface.co/datasets/a/b/tree/main',
      'http://',
    ])
      expect(await refusal(datasetFile(page)), page).toMatchObject({ code: 'usage' })
    expect([isAddress('https://a/b.csv'), isAddress('a.csv')]).toEqual([true, false])
  })
})

const demo = sharedData('datasets/llamafactory-demo') ?? ''
describe.skipIf(demo === '')('a real folder', () => {
  const real = async (...names: string[]) =>
    Promise.all(names.map(async (name) => {
      const blob = await openAsBlob(resolve(demo, name))
      return { name, size: blob.size, open: () => blob.stream() }
    })) // prettier-ignore

  it('of demo sets merges what is alike and refuses the rest by name', async () => {
    const data = await importFiles(await real('dataset_info.json', 'identity.json', 'alpaca_en_demo.json', 'glaive_toolcall_en_demo.json')) // prettier-ignore
    expect(data.mapping.format).toBe('chat')
    expect(data.problems.map(({ reason }) => reason)).toEqual([])
    expect(data.count).toBe(91 + 999 + 300)
    for (const row of data.rows) mapRow(row, data.mapping)
    const all = await refusal(importFiles(await real(...readdirSync(demo))))
    expect(all).toMatchObject({ code: 'data.columns' })
    expect(all.where).toContain('dpo_en_demo.json is preference')
  })
})
