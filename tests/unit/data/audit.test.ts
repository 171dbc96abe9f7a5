import { describe, expect, it } from 'vitest'
import {
  audit,
  findPersonal,
  isCard,
  isIban,
  languageOf,
  maskPersonal,
  sharedRows,
  type AuditOptions,
  type FindingKind,
} from '../../../src/data'
import { NearIndex } from '../../../src/data/audit/near'
import { isRefusal, placeholderIn } from '../../../src/data/audit/phrases'
import type { Mapping } from '../../../src/shared/records'
import { Planter, type Row } from './planted'
import { byteModel, CHATML, importBytes } from './support'

const PAIRS: Mapping = { format: 'pair', columns: { prompt: 'prompt', completion: 'completion' } }
const options: AuditOptions = { maxLength: 400, trainOn: 'completion', evalFraction: 0, seed: 1, batchSize: 8 }

/** A clean set with faults planted at known rows. */
function planted(seed: number) {
  const planter = new Planter(seed)
  const clean = Array.from({ length: 1500 }, (_, i) => {
    const row = planter.row()
    return i % 3 ? row : { ...row, completion: `${row.completion} ${planter.harmless()}` }
  })
  const rows: Row[] = [...clean]
  const truth = new Map<FindingKind, Set<number>>()
  const plant = (kind: FindingKind, count: number, make: (source: Row) => Row) => {
    const places = new Set<number>()
    for (let i = 0; i < count; i++) places.add(rows.push(make(clean[planter.below(clean.length)] as Row)) - 1)
    truth.set(kind, places)
  }
  plant('exact-duplicate', 60, (row) => ({ ...row }))
  plant('near-duplicate', 150, (row) => planter.nearly(row))
  plant('conflict', 60, (row) => ({ prompt: row.prompt, completion: planter.row().completion }))
  plant('no-trained-tokens', 40, () => ({ prompt: planter.sentence(90), completion: 'Lost.' }))
  plant('unusable', 40, () =>
    planter.below(2) ? { ...planter.row(), completion: ' ' } : ({ prompt: 'Alone?' } as Row),
  )
  for (const make of [
    () => planter.email(),
    () => planter.phone(),
    () => planter.card(),
    () => planter.iban(),
    () => planter.key(),
  ]) {
    const before = truth.get('personal') ?? new Set<number>()
    plant('personal', 30, () => ({
      ...planter.row(),
      completion: `${planter.sentence(10)} ${make()} ${planter.sentence(5)}.`,
    }))
    truth.set('personal', new Set([...before, ...(truth.get('personal') as Set<number>)]))
  }
  plant('placeholder', 30, () => ({
    ...planter.row(),
    completion: `${planter.sentence(8)} ${planter.pick(['{{name}}', '[Your Name]', '<insert date>', 'lorem ipsum'])} ${planter.sentence(8)}`,
  }))
  plant('refusal', 30, () => ({
    ...planter.row(),
    completion: `${planter.pick(['I am sorry, but I cannot', "I'm sorry, but I can't", 'As an AI language model, I do not'])} ${planter.sentence(9)}`,
  }))
  return { rows, truth, clean: clean.length, planter }
}

describe('the audit of a set with planted faults', () => {
  it.each([1, 2, 3])(
    'finds nearly all of them, and accuses hardly a clean row (seed %i)',
    async (seed) => {
      const { rows, truth, clean, planter } = planted(seed)
      const evaluation = Array.from({ length: 100 }, (_, i) => (i < 50 ? { ...(rows[i * 7] as Row) } : planter.row()))
      const { tokenizer, template } = await byteModel()
      const report = await audit(rows, PAIRS, {
        ...options,
        model: { tokenizer, template },
        evaluation: { rows: evaluation, mapping: PAIRS },
      })
      const found = (kind: FindingKind, side = 'train') =>
        new Set(
          report.findings
            .filter((finding) => finding.kind === kind && finding.side === side)
            .map((finding) => finding.row),
        )
      for (const [kind, places] of truth) {
        const hits = [...places].filter((row) => found(kind).has(row)).length
        expect(hits / places.size, kind).toBeGreaterThanOrEqual(kind === 'near-duplicate' ? 0.95 : 0.99)
      }
      const leaks = found('leak', 'eval')
      expect([...Array(50).keys()].filter((row) => leaks.has(row)).length).toBeGreaterThanOrEqual(49.5)
      expect([...leaks].filter((row) => row >= 50)).toEqual([])
      for (const kind of Object.keys(report.counts) as FindingKind[]) {
        const alarms = [...found(kind)].filter((row) => row < clean)
        expect(
          alarms.length / clean,
          `${kind}: ${alarms
            .slice(0, 5)
            .map((row) => JSON.stringify(rows[row]))
            .join('\n')}`,
        ).toBeLessThanOrEqual(0.01)
      }
      expect(report.rows).toBe(rows.length)
      expect(report.verdict).toContain('Mend first')
    },
    60_000,
  )

  it('has broken lines set aside by the import, each with its line', async () => {
    const { clean, rows, planter } = planted(4)
    const lines = rows.slice(0, clean).map((row) => JSON.stringify(row))
    const broken = new Set(Array.from({ length: 40 }, () => planter.below(lines.length)))
    for (const at of broken) lines[at] = (lines[at] as string).slice(0, -1 - planter.below(20))
    const result = await importBytes('a.jsonl', lines.join('\n'))
    expect(new Set(result.problems.map((problem) => problem.line - 1))).toEqual(broken)
    expect(result.count).toBe(clean - broken.size)
  })

  it.each(['training', 'validation'] as const)('has no leak left when %s loses what both have', async (side) => {
    const planter = new Planter(6)
    const training = Array.from({ length: 300 }, () => planter.row())
    const taken = (at: number) => training[at] as Row
    const validation = [
      ...Array.from({ length: 60 }, () => planter.row()),
      ...Array.from({ length: 20 }, (_, i) => ({ ...taken(i) })),
      ...Array.from({ length: 20 }, (_, i) => planter.nearly(taken(20 + i))),
      ...Array.from({ length: 20 }, (_, i) => ({ ...taken(40 + i), completion: planter.row().completion })),
    ]
    // Copies of what leaks, within one side, must not hide behind the first of them.
    training.push(...training.slice(0, 60).map((row) => ({ ...row })))
    validation.push(...validation.slice(60).map((row) => ({ ...row })))
    const leaks = async (train: Row[], held: Row[]) =>
      (await audit(train, PAIRS, { ...options, evaluation: { rows: held, mapping: PAIRS } })).counts.leak
    expect(await leaks(training, validation)).toBeGreaterThanOrEqual(58)
    const [loser, other] = side === 'training' ? [training, validation] : [validation, training]
    const shared = new Set(await sharedRows(loser, PAIRS, { rows: other, mapping: PAIRS }))
    expect(shared.size).toBeGreaterThanOrEqual(116)
    expect(shared.size).toBeLessThanOrEqual(120)
    const kept = loser.filter((_, i) => !shared.has(i))
    expect(await leaks(...((side === 'training' ? [kept, validation] : [training, kept]) as [Row[], Row[]]))).toBe(0)
  })

  it('finds leaks across the seeded split', async () => {
    const planter = new Planter(5)
    const rows = Array.from({ length: 200 }, () => planter.row())
    const all = [...rows, ...rows]
    const report = await audit(all, PAIRS, { ...options, evalFraction: 0.5 })
    expect(report.counts['exact-duplicate']).toBe(200)
    expect(report.counts.leak).toBeGreaterThan(60)
    expect(report.counts.leak).toBeLessThan(140)
    expect((await audit(all, PAIRS, options)).counts.leak).toBe(0)
  })
})

describe('what depends on tokens', () => {
  it('tells lengths, padding, a maximum length and what is cut', async () => {
    const { tokenizer, template } = await byteModel()
    const rows = Array.from({ length: 100 }, (_, i) => ({
      prompt: `${i}`.padStart(3, '0'),
      completion: 'x'.repeat(i % 2 ? 20 : 120),
    }))
    const report = await audit(rows, PAIRS, { ...options, maxLength: 100, model: { tokenizer, template } })
    expect(report.counts.truncated).toBe(50)
    expect(report.counts['missing-end']).toBe(0)
    expect(report.suggestedMaxLength).toBe(128)
    expect(report.lengths?.rows).toMatchObject({ min: 25, max: 125 })
    expect(report.padding?.bucketed).toBeLessThan(0.1)
    expect(report.padding?.shuffled).toBeGreaterThan(0.2)
    expect(report.padding?.packed).toBeLessThan(report.padding?.shuffled as number)
  })

  it('finds answers without an end token', async () => {
    const { tokenizer, template } = await byteModel(
      "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
    )
    const chats = [
      {
        messages: [
          { role: 'user', content: 'q' },
          { role: 'assistant', content: 'a' },
        ],
      },
    ]
    const mapping: Mapping = { format: 'chat', columns: { messages: 'messages' } }
    expect((await audit(chats, mapping, { ...options, model: { tokenizer, template } })).counts['missing-end']).toBe(1)
    const chatml = await byteModel(CHATML)
    expect((await audit(chats, mapping, { ...options, model: chatml })).counts['missing-end']).toBe(0)
  })
})

describe('in total', () => {
  it('counts classes and languages, and points at the odd rows', async () => {
    const english = Array.from({ length: 60 }, (_, i) => ({
      text: `This is the number ${i} of the texts that you have here`,
      label: i < 55 ? 'a' : 'b',
    }))
    const german = [{ text: 'Das ist nicht der Text, den wir hier mit den anderen haben', label: 'a' }]
    const report = await audit(
      [...english, ...german],
      { format: 'label', columns: { text: 'text', label: 'label' } },
      options,
    )
    expect(report.classes).toEqual({ a: 56, b: 5 })
    expect(report.languages).toEqual({ en: 60, de: 1 })
    expect(report.findings.filter((finding) => finding.kind === 'language').map((finding) => finding.row)).toEqual([60])
    expect(report.verdict).toContain('"a" has 56 rows and "b" only 5')
  })

  it('finds stock phrases', async () => {
    const planter = new Planter(6)
    const rows = Array.from({ length: 100 }, (_, i) => {
      const row = planter.row()
      return i < 30
        ? { ...row, completion: `Sure, here is your answer: ${row.completion} Let me know if you need more!` }
        : row
    })
    const report = await audit(rows, PAIRS, options)
    expect(report.phrases.map((phrase) => phrase.text)).toEqual([
      'Sure, here is your answer:',
      'Let me know if you need more!',
    ])
    expect(report.counts.boilerplate).toBe(30)
  })
})

describe('personal data', () => {
  it('masks what it finds and nothing else', () => {
    const text =
      'Write to jane.doe+x@mail.example.co.uk or +44 20 7946 0958, card 4111 1111 1111 1111, IBAN GB82 WEST 1234 5698 7654 32, key sk-abcdefghijklmnopqrstuvwx.'
    expect(maskPersonal(text)).toBe('Write to [email] or [phone], card [card], IBAN [iban], key [key].')
    expect(maskPersonal(text, ['email'])).toContain('4111 1111')
    expect(maskPersonal(maskPersonal(text))).toBe(maskPersonal(text))
    for (const harmless of [
      '2024-01-15',
      '3.14159265358979',
      '192.168.10.254',
      'a@b',
      '@name',
      '1234567890123456',
      '10:30-11:45',
      '2 + 2 = 4',
      '1,000,000,000',
    ]) {
      expect(findPersonal(`It is ${harmless} here`), harmless).toEqual([])
    }
  })

  it('knows the checksums', () => {
    expect([isCard('5500 0000 0000 0004'), isCard('5500 0000 0000 0005'), isCard('0000000000000000')]).toEqual([
      true,
      false,
      false,
    ])
    expect([
      isIban('DE89370400440532013000'),
      isIban('FR14 2004 1010 0505 0001 3M02 606'),
      isIban('DE88370400440532013000'),
    ]).toEqual([true, true, false])
  })
})

describe('texts', () => {
  it.each([
    ['en', 'What is the best way to learn how to play the piano at home?'],
    ['de', 'Wie kann ich am besten zu Hause Klavier spielen lernen und was ist dafür nötig?'],
    ['fr', 'Quelle est la meilleure façon de apprendre le piano dans une petite maison ?'],
    ['es', '¿Cuál es la mejor manera de aprender a tocar el piano en casa con los niños?'],
    ['zh', '学习弹钢琴的最好方法是什么？'],
    ['ja', 'ピアノを学ぶ一番いい方法は何ですか？'],
    ['ru', 'Как лучше всего научиться играть на пианино?'],
    ['', 'xyz 123'],
  ])('in %j are told apart', (language, text) => {
    expect(languageOf(text)).toBe(language)
  })

  it('that hold placeholders or refuse are told from those that do not', () => {
    for (const text of ['Dear [Your Name],', 'I am {{name}}', 'N/A', 'lorem ipsum dolor'])
      expect(placeholderIn(text), text).toBeDefined()
    for (const text of ['a[0] = b[i]', 'if (x < y) { return {} }', 'The name is Bond.', '[1, 2, 3]'])
      expect(placeholderIn(text), text).toBeUndefined()
    for (const text of ["I'm sorry, but I can't help with that.", 'As an AI language model, I have no body.'])
      expect(isRefusal(text), text).toBe(true)
    for (const text of [
      'Sorry to hear that! Rest well.',
      'She said she cannot help it.',
      'Unfortunately the train was late.',
    ])
      expect(isRefusal(text), text).toBe(false)
  })

  it('that carry a licence note are told from those that speak of rights', async () => {
    const noted = [
      '© 2019 Anna Example. Cooking for two.',
      'Copyright (c) 2021 by the authors',
      'All rights reserved.',
      'This work is under CC BY-NC-SA.',
      '// SPDX-License-Identifier: MIT',
      'Licensed under the Apache License, Version 2.0',
    ]
    const plain = [
      'The right to copy was granted in 2019.',
      'Everyone has rights, all of them reserved for people.',
      'Send a copy (cc) by Monday; by 2020 all was done.',
      'A creative common room for all.',
      'Get a driving licence.',
    ]
    const rows = [...noted, ...plain].map((completion, i) => ({ prompt: `p${i}`, completion }))
    const mapping = { format: 'pair' as const, columns: { prompt: 'prompt', completion: 'completion' } }
    const options = { maxLength: 64, trainOn: 'completion' as const, evalFraction: 0, seed: 1, batchSize: 4 }
    const { findings } = await audit(rows, mapping, options)
    expect(findings.filter(({ kind }) => kind === 'licence').map(({ row }) => row)).toEqual([0, 1, 2, 3, 4, 5])
  })

  it('that differ only in a number are not nearly the same', () => {
    const index = new NearIndex()
    expect(index.add('What is the sum of the numbers 12 and 7? It is 19.')).toBeUndefined()
    expect(index.add('What is the sum of the numbers 12 and 8? It is 20.')).toBeUndefined()
    expect(index.add('what is the sum of the numbers 12 and 7 ? It is 19!')).toMatchObject({ of: 0, similarity: 1 })
  })
})

describe('pairs of answers and rated answers', () => {
  const row = (i: number) => ({ prompt: `Question number ${i}, please?`, chosen: `Answer ${i}.`, rejected: `No ${i}.` })

  it('are looked through as what they teach, and none is called useless', async () => {
    const rows = [...Array.from({ length: 20 }, (_, i) => row(i)), row(3)]
    const mapping: Mapping = {
      format: 'preference',
      columns: { prompt: 'prompt', chosen: 'chosen', rejected: 'rejected' },
    }
    const report = await audit(rows, mapping, options)
    expect(report).toMatchObject({ rows: 21, goodRows: 20, counts: { unusable: 0, 'exact-duplicate': 1 } })
    const rated = rows.map(({ prompt, chosen }, i) => ({ prompt, completion: chosen, label: i % 2 === 0 }))
    const kto: Mapping = { format: 'kto', columns: { prompt: 'prompt', completion: 'completion', label: 'label' } }
    expect((await audit(rated, kto, options)).counts).toMatchObject({ unusable: 0, 'exact-duplicate': 1 })
  })
})
