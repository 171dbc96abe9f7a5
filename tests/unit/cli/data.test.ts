/** `finetab data …` as a person runs it: what each command says, writes and refuses. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Interrupt } from '../../../src/cli/interrupt'
import { execute } from '../../../src/cli/main'
import { parseArguments } from '../../../src/cli/flags'
import { commandHelp, groupHelp, overview } from '../../../src/cli/help'
import { COMMANDS, type CommandName } from '../../../src/cli/options'
import { Output, type Streams } from '../../../src/cli/output'

const MODEL = join(import.meta.dirname, '../../golden/llama-gqa-tied')

class Sink {
  text = ''
  isTTY = false
  write(piece: string | Uint8Array): boolean {
    this.text += typeof piece === 'string' ? piece : new TextDecoder().decode(piece)
    return true
  }
}

/** One for all: each listens to the process. */
const interrupt = new Interrupt(new Output(false))

/** Runs `finetab data` with arguments; what it wrote, and its events where it was asked for JSON. */
async function data(...argv: string[]) {
  const [stdout, stderr] = [new Sink(), new Sink()]
  const output = new Output(argv.includes('--json'), { stdout, stderr } as unknown as Streams)
  const code = await execute(['data', ...argv], output, interrupt)
  const events = argv.includes('--json')
    ? stdout.text.split('\n').filter(Boolean).map((line) => JSON.parse(line) as Record<string, unknown>) // prettier-ignore
    : []
  return { code, out: stdout.text, err: stderr.text, events, event: events.at(-1) ?? {} }
}

let folder: string
const at = (name: string) => join(folder, name)
const lines = async (name: string) =>
  (await readFile(at(name), 'utf8')).split('\n').filter(Boolean).map((line) => JSON.parse(line) as Record<string, unknown>) // prettier-ignore

const ROWS = Array.from({ length: 60 }, (_, i) => ({
  instruction: `Say the number ${i} in other words, please.`,
  input: '',
  output: i === 7 ? 'Write to jane.doe@example.com for it.' : `It is ${i} and nothing else.`,
  topic: `t${i % 6}`,
}))

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'finetab-data-'))
  const text = [...ROWS, ROWS[3]].map((row) => JSON.stringify(row)).join('\n')
  await writeFile(at('rows.jsonl'), `${text}\n{"instruction": "broken"\n`)
  const steps = [
    { kind: 'drop-findings', findings: ['exact-duplicate'] },
    { kind: 'mask-personal', kinds: ['email'] },
  ]
  await writeFile(at('recipe.json'), JSON.stringify({ version: 1, steps }))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe('data inspect', () => {
  it('says what a file is taken for, in words and as JSON', async () => {
    const told = await data('inspect', '--data', at('rows.jsonl'))
    expect(told.code).toBe(0)
    expect(told.out).toMatch(/Rows +61 \(1 set aside\)/)
    expect(told.out).toContain('Instructions (Alpaca)')
    expect(told.err).toContain('line 62')
    const { event } = await data('inspect', '--data', at('rows.jsonl'), '--json')
    expect(event).toMatchObject({ event: 'data', kind: 'jsonl', rows: 61, mapping: { format: 'alpaca' } })
    expect(event.problems).toMatchObject([{ line: 62 }])
    expect(event.examples).toHaveLength(3)
  })

  it('ends with 2 for a file that is not there, and for a file without rows', async () => {
    expect((await data('inspect', '--data', at('nothing.jsonl'))).code).toBe(2)
    await writeFile(at('empty.jsonl'), '')
    const { code, events } = await data('inspect', '--data', at('empty.jsonl'), '--json')
    expect([code, events[0]]).toMatchObject([2, { event: 'error', code: 'data.empty' }])
  })
})

describe('data audit', () => {
  it('gives the whole report as one JSON line', async () => {
    const { code, event } = await data('audit', '--data', at('rows.jsonl'), '--eval-fraction', '0', '--json')
    expect(code).toBe(0)
    expect(event).toMatchObject({
      event: 'audit',
      rows: 61,
      counts: { 'exact-duplicate': 1, personal: 1 },
      lengths: null,
    })
    expect(event.findings).toContainEqual(
      expect.objectContaining({ kind: 'exact-duplicate', row: 60, of: 3, side: 'train' }),
    )
    expect(event.set_aside).toHaveLength(1)
    expect(event.verdict).toContain('rows')
  })

  it('counts tokens with a model, and is better after a recipe', async () => {
    const flags = ['--data', at('rows.jsonl'), '--model', MODEL, '--eval-fraction', '0', '--json']
    const before = (await data('audit', ...flags)).event
    expect(before).toMatchObject({ counts: { 'exact-duplicate': 1, personal: 1 } })
    const { padding, lengths } = before as { padding: Record<string, number>; lengths: object }
    expect(lengths).not.toBeNull()
    expect(padding.packed).toBeLessThanOrEqual(padding.shuffled!)
    const after = (await data('audit', ...flags, '--recipe', at('recipe.json'))).event
    expect(after).toMatchObject({ rows: 60, counts: { 'exact-duplicate': 0, personal: 0 } })
  })

  it('lists findings for a person', async () => {
    const { out } = await data('audit', '--data', at('rows.jsonl'))
    expect(out).toContain('personal: 1\n  row 8: The row holds personal data: email.')
  })
})

describe('data convert', () => {
  it('writes another format that reads back as the same', async () => {
    const flags = ['--data', at('rows.jsonl'), '--recipe', at('recipe.json'), '--json']
    const { code, event } = await data('convert', ...flags, '--to', 'chat', '--out-file', at('chat.csv'))
    expect([code, event]).toMatchObject([0, { event: 'converted', rows: 60, problems: [], steps: [60, 60] }])
    const back = (await data('inspect', '--data', at('chat.csv'), '--json')).event
    expect(back).toMatchObject({ rows: 60, mapping: { format: 'chat' } })
    expect(JSON.stringify(back.examples)).toContain('Say the number 0 in other words, please.')
    await data('convert', '--data', at('chat.csv'), '--to', 'alpaca', '--out-file', at('again.jsonl'))
    const again = await lines('again.jsonl')
    expect(again[7]).toMatchObject({ instruction: ROWS[7]!.instruction, output: 'Write to [email] for it.' })
  })

  it('leaves out what another file has too, also at the place that a recipe gives', async () => {
    const held = [
      ROWS[1],
      { ...ROWS[2], output: 'Another answer.' },
      { instruction: 'Quite new?', output: 'Yes, it is.' },
    ]
    await writeFile(at('held.jsonl'), held.map((row) => JSON.stringify(row)).join('\n'))
    const pair = ['--data', at('rows.jsonl'), '--eval-data', at('held.jsonl'), '--json']
    expect((await data('audit', ...pair)).event).toMatchObject({ rows: 61, counts: { leak: 2 } })
    expect((await data('audit', ...pair, '--without', at('held.jsonl'))).event).toMatchObject({ rows: 59, counts: { leak: 0 } }) // prettier-ignore
    const other = await data('convert', '--data', at('held.jsonl'), '--without', at('rows.jsonl'), '--to', 'pair')
    expect(other.out.trim()).toBe('{"prompt":"Quite new?","completion":"Yes, it is."}')
    const steps = [{ kind: 'drop-shared', with: 'local:7', name: 'held' }]
    await writeFile(at('leaks.json'), JSON.stringify({ version: 1, steps }))
    const alone = await data('audit', ...pair, '--recipe', at('leaks.json'))
    expect([alone.code, alone.events[0]]).toMatchObject([2, { code: 'usage', fix: 'Give its file with --without.' }])
    const both = await data('audit', ...pair, '--recipe', at('leaks.json'), '--without', at('held.jsonl'))
    expect(both.event).toMatchObject({ rows: 59, counts: { leak: 0 } })
  })

  it('writes JSON Lines on stdout without a file, and nothing else there', async () => {
    const { out, code } = await data('convert', '--data', at('rows.jsonl'), '--to', 'pair')
    expect(code).toBe(0)
    expect(
      out
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))[0],
    ).toEqual({
      // prettier-ignore
      prompt: ROWS[0]!.instruction,
      completion: ROWS[0]!.output,
    })
    expect((await data('convert', '--data', at('rows.jsonl'), '--json')).code).toBe(2)
  })

  it('refuses formats and endings that it does not know, and rows that a format cannot hold', async () => {
    const flags = ['convert', '--data', at('rows.jsonl')]
    expect((await data(...flags, '--to', 'xml')).err).toContain('Use one of alpaca')
    expect((await data(...flags, '--out-file', at('rows.xlsx'))).code).toBe(2)
    const tokens = await data(...flags, '--to', 'tokens', '--out-file', at('t.jsonl'))
    expect([tokens.code, tokens.err]).toMatchObject([2, expect.stringContaining('None of the 61 rows')])
    await writeFile(at('bad.json'), '{"version": 1, "steps": [{"kind": "dance"}]}')
    expect((await data(...flags, '--recipe', at('bad.json'))).err).toContain('"dance" is not known')
  })
})

describe('data split', () => {
  it('keeps groups whole and follows from the seed', async () => {
    const split = async (name: string, ...more: string[]) => {
      const flags = ['--data', at('rows.jsonl'), '--out', at(name), '--eval-fraction', '0.3', '--json', ...more]
      const { event } = await data('split', ...flags)
      return { event, train: await lines(`${name}/train.jsonl`), held: await lines(`${name}/validation.jsonl`) }
    }
    const grouped = await split('grouped', '--eval-split', 'grouped', '--split-by', 'topic')
    expect(grouped.event).toMatchObject({ event: 'split', train: grouped.train.length, by: 'grouped' })
    expect(grouped.train.length + grouped.held.length).toBe(61)
    const topics = new Set(grouped.held.map((row) => row.topic))
    expect(topics.size).toBe(2)
    expect(grouped.train.filter((row) => topics.has(row.topic))).toEqual([])
    const even = await split('even', '--eval-split', 'stratified', '--split-by', 'topic')
    for (const topic of ['t0', 't1', 't2', 't3', 't4', 't5'])
      expect(even.held.filter((row) => row.topic === topic)).toHaveLength(3)
    expect((await split('again', '--eval-split', 'stratified', '--split-by', 'topic')).held).toEqual(even.held)
    expect((await split('other', '--seed', '3')).held).not.toEqual((await split('seed')).held)
    const wrong = await data('split', '--data', at('rows.jsonl'), '--out', at('x'), '--eval-split', 'grouped', '--split-by', 'no') // prettier-ignore
    expect([wrong.code, wrong.err]).toMatchObject([2, expect.stringContaining('No row has the column "no"')])
  })
})

describe('help', () => {
  it('is there for the group and for each of its commands, from one table', () => {
    expect(parseArguments(['data'])).toEqual({ command: null, group: 'data', help: true })
    expect(parseArguments(['help', 'data'])).toEqual({ command: null, group: 'data', help: true })
    expect(parseArguments(['help', 'data', 'split'])).toEqual({ command: 'data split', help: true })
    const names = (Object.keys(COMMANDS) as CommandName[]).filter((name) => name.startsWith('data '))
    expect(names).toHaveLength(4)
    for (const name of names) {
      expect(groupHelp('data')).toContain(COMMANDS[name].summary.slice(0, 40))
      expect(overview()).toContain(name)
      expect(commandHelp(name)).toContain('--recipe FILE')
    }
    expect(() => parseArguments(['data', 'adit', '--data', 'x'])).toThrow(/data adit/)
  })
})
