import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  addStep,
  applySteps,
  fillTemplate,
  NO_STEPS,
  readDatasetInfo,
  readRecipe,
  redoStep,
  removeStep,
  resolveStep,
  SteppedRows,
  toRecipe,
  undoStep,
  type AuditOptions,
  type RawRow,
  type Step,
} from '../../../src/data'
import type { Mapping } from '../../../src/shared/records'
import { sharedData } from './support'

const PAIRS: Mapping = { format: 'pair', columns: { prompt: 'prompt', completion: 'completion' } }
const options: AuditOptions = { maxLength: 100, trainOn: 'completion', evalFraction: 0, seed: 1, batchSize: 4 }
const apply = (rows: RawRow[], ...steps: Step[]) => applySteps(rows, PAIRS, steps, options)

describe('steps', () => {
  it.each<[Step, RawRow, RawRow]>([
    [
      { kind: 'template', column: 'prompt', template: 'Q: {q} {{x}}\nA:' },
      { q: 'why?' },
      { q: 'why?', prompt: 'Q: why? {x}\nA:' },
    ],
    [
      { kind: 'rename-column', from: 'a', to: 'b' },
      { x: 1, a: 2, b: 3 },
      { x: 1, b: 2 },
    ],
    [
      { kind: 'trim' },
      { a: ' x ', turns: [{ role: 'user', content: ' y' }], n: 1 },
      { a: 'x', turns: [{ role: 'user', content: 'y' }], n: 1 },
    ],
    [
      { kind: 'replace', find: 'a$', replacement: '$&', columns: ['p'] },
      { p: 'a$ b', q: 'a$' },
      { p: '$& b', q: 'a$' },
    ],
    [{ kind: 'mask-personal', kinds: ['email'] }, { p: 'to a.b@c.org' }, { p: 'to [email]' }],
    [
      { kind: 'rename-role', from: 'bob', to: 'user' },
      { m: [{ role: 'bob', content: 'bob' }] },
      { m: [{ role: 'user', content: 'bob' }] },
    ],
  ])('%j', async (step, row, expected) => {
    const before = structuredClone(row)
    expect((await apply([row], step)).rows).toEqual([expected])
    expect(row).toEqual(before)
  })

  it('leave out rows, keep a sample, edit, delete and add', async () => {
    const rows = Array.from({ length: 10 }, (_, i) => ({ prompt: `question number ${i}`, completion: `answer ${i}` }))
    const extra = { prompt: 'new', completion: 'row' }
    const {
      rows: result,
      counts,
      mapping,
    } = await apply(
      [...rows, rows[0] as RawRow, { prompt: 'alone' }],
      { kind: 'drop-findings', findings: ['exact-duplicate', 'unusable'] },
      { kind: 'edit-row', row: 1, value: extra },
      { kind: 'delete-rows', rows: [0, 2] },
      { kind: 'add-rows', rows: [extra] },
      { kind: 'system-prompt', text: 'Be kind.' },
      { kind: 'sample', rows: 5, seed: 3 },
    )
    expect(counts).toEqual([10, 10, 8, 9, 9, 5])
    expect(result).toHaveLength(5)
    expect(mapping).toEqual({ ...PAIRS, systemPrompt: 'Be kind.' })
    expect(new Set(result.map((row) => rows.findIndex((other) => other.prompt === row.prompt)))).not.toContain(2)
  })

  it('of rows that contradict each other keep the first, or the longest answer', async () => {
    const rows = [
      { prompt: 'What is the capital of France?', completion: 'Paris.' },
      { prompt: 'Name a colour that is warm.', completion: 'Red.' },
      { prompt: 'What is the capital of France?', completion: 'It is Paris, on the Seine.' },
      { prompt: 'What is the capital of France?', completion: 'Lyon.' },
    ]
    const kept = async (keep: 'first' | 'longest') =>
      (await apply(rows, { kind: 'drop-findings', findings: ['conflict'], keep })).rows.map((row) =>
        rows.indexOf(row as never),
      )
    expect(await kept('first')).toEqual([0, 1])
    expect(await kept('longest')).toEqual([1, 2])
  })

  it('leave out rows that another dataset has too, and ask for it anew on other rows', async () => {
    const rows = [1, 2, 3].map((i) => ({ prompt: `What is question number ${i}?`, completion: `It is ${i}.` }))
    const step: Step = { kind: 'drop-shared', with: 'local:v', name: 'held.csv' }
    const other = async (id: string) => ({ rows: id === 'local:v' ? [rows[1] as RawRow] : [], mapping: PAIRS })
    const applied = await applySteps(rows, PAIRS, [step], { ...options, other })
    expect(applied.rows).toEqual([rows[0], rows[2]])
    await expect(apply(rows, step)).rejects.toMatchObject({ code: 'usage' })
    const recipe = toRecipe({ done: [{ ...step, rows: Uint32Array.of(1) }], undone: [] })
    expect(recipe.steps).toEqual([step])
    expect(readRecipe(recipe)).toEqual(recipe)
  })

  it('follow a renamed column in the mapping', async () => {
    const { mapping } = await apply([{ prompt: 'a', completion: 'b' }], {
      kind: 'rename-column',
      from: 'prompt',
      to: 'question',
    })
    expect(mapping.columns).toEqual({ prompt: 'question', completion: 'completion' })
  })

  it('fill templates with nothing for columns that are not there', () => {
    expect(fillTemplate('{a}-{b}-{c.0.d}', { a: 1, c: [{ d: 'x' }] })).toBe('1--x')
  })
})

describe('stepped rows', () => {
  const source = (count: number) => {
    const rows = Array.from({ length: count }, (_, i) => ({ prompt: `p${i}`, completion: `c${i}` }))
    return { count, slice: async (from: number, to: number) => rows.slice(from, to) }
  }
  const prompts = (rows: RawRow[]) => rows.map((row) => row.prompt)
  const steps: Step[] = [
    { kind: 'delete-rows', rows: [0, 5000] },
    { kind: 'edit-row', row: 3, value: { prompt: ' mended ', completion: 'c' } },
    { kind: 'add-rows', rows: [{ prompt: ' own ', completion: 'c', note: 'n' }], first: 9000 },
    { kind: 'trim' },
    { kind: 'edit-row', row: 9000, value: { prompt: 'own, mended', completion: 'c' } },
  ]

  it('are read at any place as they are read in order', async () => {
    const rows = SteppedRows.of(source(9000), PAIRS, ['prompt', 'completion'], steps)
    expect(rows.counts).toEqual([8998, 8998, 8999, 8999, 8999])
    expect(rows.columns).toEqual(['prompt', 'completion', 'note'])
    const all: RawRow[] = []
    for await (const row of rows) all.push(row)
    expect(prompts(all.slice(0, 4))).toEqual(['p1', 'p2', 'mended', 'p4'])
    expect(prompts(all.slice(4998, 5000))).toEqual(['p4999', 'p5001'])
    expect(prompts(all.slice(-2))).toEqual(['p8999', 'own, mended'])
    expect(await rows.slice(4000, 4100)).toEqual(all.slice(4000, 4100))
    const positions = [8998, 4, 4, 7000, 2]
    expect(await rows.pick(positions)).toEqual(positions.map((position) => all[position]))
  })

  it('mean the same rows when a step before them is taken out', async () => {
    const history = removeStep({ done: steps, undone: [] }, 0)
    const rows = SteppedRows.of(source(9000), PAIRS, [], history.done)
    expect(prompts(await rows.slice(0, 4))).toEqual(['p0', 'p1', 'p2', 'mended'])
    expect(rows.count).toBe(9001)
  })

  it('number rows written by hand on from the file, and find again what an audit found', async () => {
    const rows = SteppedRows.of(source(20), PAIRS, [])
    const first = await resolveStep(rows, { kind: 'add-rows', rows: [{ prompt: 'p1', completion: 'c1' }] }, options)
    expect(first).toMatchObject({ first: 20 })
    const drop = await resolveStep(rows.after(first), { kind: 'drop-findings', findings: ['exact-duplicate'] }, options)
    expect(drop).toMatchObject({ rows: Uint32Array.of(20) })
    expect(() => rows.after({ kind: 'drop-findings', findings: ['conflict'] })).toThrow('not been worked out')
    expect(removeStep({ done: [first, drop], undone: [] }, 0).done).toEqual([
      { kind: 'drop-findings', findings: ['exact-duplicate'] },
    ])
    expect(toRecipe({ done: [first, drop], undone: [] }).steps).toEqual([
      { kind: 'drop-findings', findings: ['exact-duplicate'] },
    ])
  })
})

describe('the list of steps', () => {
  const trim: Step = { kind: 'trim' }
  const system: Step = { kind: 'system-prompt', text: 's' }
  const edit: Step = { kind: 'edit-row', row: 0, value: {} }

  it('can be undone, done again and thinned out', () => {
    const two = addStep(addStep(NO_STEPS, trim), system)
    expect(undoStep(two)).toEqual({ done: [trim], undone: [system] })
    expect(redoStep(undoStep(two))).toEqual(two)
    expect(redoStep(two)).toBe(two)
    expect(undoStep(NO_STEPS)).toBe(NO_STEPS)
    expect(addStep(undoStep(two), edit).undone).toEqual([])
    expect(removeStep(two, 0).done).toEqual([system])
  })

  it('is saved as a recipe without what fits only this file', () => {
    const recipe = toRecipe(addStep(addStep(NO_STEPS, trim), edit))
    expect(recipe).toEqual({ version: 1, steps: [trim] })
    expect(readRecipe(JSON.parse(JSON.stringify(recipe)))).toEqual(recipe)
  })

  it.each([
    [{}, 'not a data recipe'],
    [{ version: 1, steps: [{ kind: 'explode' }] }, '"explode" is not known'],
    [{ version: 1, steps: [{ kind: 'constructor' }] }, '"constructor" is not known'],
    [{ version: 1, steps: [trim, { kind: 'replace', find: 'x' }] }, 'has no "replacement"'],
  ])('refuses the recipe %j', (value, reason) => {
    expect(() => readRecipe(value)).toThrow(reason)
  })
})

describe('dataset_info.json', () => {
  it('gives mappings and role names', () => {
    const info = {
      plain: { file_name: 'a.json' },
      corpus: { file_name: 'c.txt', columns: { prompt: 'text' } },
      named: { file_name: 'b.json', columns: { prompt: 'q', query: 'i', response: 'a', system: 's', history: 'h' } },
      dpo: {
        file_name: 'd.json',
        ranking: true,
        formatting: 'sharegpt',
        columns: { messages: 'conv', chosen: 'c', rejected: 'r' },
      },
      own: {
        hf_hub_url: 'x/y',
        formatting: 'sharegpt',
        columns: { messages: 'm' },
        tags: { role_tag: 'role', content_tag: 'content', user_tag: 'bob', assistant_tag: 'assistant' },
      },
      seen: { file_name: 'v.json', formatting: 'sharegpt', columns: { messages: 'm', images: 'i' } },
    }
    const read = Object.fromEntries(readDatasetInfo(info).map((entry) => [entry.name, entry]))
    expect(read.plain).toEqual({
      name: 'plain',
      file: 'a.json',
      steps: [],
      mapping: { format: 'alpaca', columns: { instruction: 'instruction', input: 'input', output: 'output' } },
    })
    expect(read.corpus?.mapping).toEqual({ format: 'text', columns: { text: 'text' } })
    expect(read.named?.mapping.columns).toEqual({
      instruction: 'q',
      input: 'i',
      output: 'a',
      system: 's',
      history: 'h',
    })
    expect(read.dpo?.mapping).toEqual({ format: 'preference', columns: { prompt: 'conv', chosen: 'c', rejected: 'r' } })
    expect(read.own).toMatchObject({
      hub: 'x/y',
      mapping: { format: 'chat', columns: { messages: 'm' } },
      steps: [{ kind: 'rename-role', from: 'bob', to: 'user' }],
    })
    expect(read.seen?.refused).toContain('images')
    expect(() => readDatasetInfo([1])).toThrow('no dataset_info.json')
  })

  const real = sharedData('datasets/llamafactory-demo/dataset_info.json')
  if (!real) console.log('skipped: the public dataset_info.json is not here')
  it.skipIf(!real)('reads a real one', () => {
    const read = readDatasetInfo(JSON.parse(readFileSync(real as string, 'utf8')))
    const find = (name: string) => read.find((entry) => entry.name === name)
    expect(read.length).toBeGreaterThan(50)
    expect(find('glaive_toolcall_en_demo')?.mapping).toEqual({
      format: 'sharegpt',
      columns: { conversations: 'conversations', tools: 'tools' },
    })
    expect(find('dpo_en_demo')?.mapping).toEqual({
      format: 'preference',
      columns: { prompt: 'conversations', chosen: 'chosen', rejected: 'rejected' },
    })
    expect(find('kto_en_demo')?.mapping).toEqual({ format: 'kto', columns: { messages: 'messages', label: 'label' } })
    expect(find('mllm_demo')?.refused).toBeDefined()
  })
})
