/** Rows for a classification head: the text, its class, and what is refused. */
import { expect, it } from 'vitest'
import { encodeText, prepare } from '../../../src/data'
import { byteModel } from './support'

const mapping = { format: 'label' as const, columns: { text: 'text', label: 'label' } }
const job = { maxLength: 12, trainOn: 'completion', evalFraction: 0.25, seed: 1, objective: 'classification' } as const
const rows = ['joy', 'anger', 'joy', 'fear', 'anger', 'fear', 'joy', 'fear'].map((label, i) => ({ text: `row ${i}`, label })) // prettier-ignore

it('numbers the labels by the alphabet and scores the last token of the text', async () => {
  const { tokenizer, template } = await byteModel()
  const { train, eval: held, classes } = await prepare(rows, mapping, tokenizer, template, job)
  expect(classes).toEqual(['anger', 'fear', 'joy'])
  expect(train.length + held.length).toBe(8)
  for (const { index, inputIds, labels } of [...train, ...held]) {
    expect([...inputIds.slice(0, -1)]).toEqual(encodeText(rows[index]!.text, mapping, tokenizer))
    expect(classes![labels.at(-1)!]).toBe(rows[index]!.label)
    expect([...labels.slice(0, -1)].every((label) => label === -100)).toBe(true)
  }
})

it('cuts long texts and not their class, and leaves out rows of unknown classes', async () => {
  const { tokenizer, template } = await byteModel()
  const more = [...rows, { text: 'x'.repeat(50), label: 'joy' }]
  const cut = await prepare(more, mapping, tokenizer, template, { ...job, evalFraction: 0 })
  expect(cut.truncatedRows).toBe(1)
  expect(cut.train.at(-1)!.inputIds).toHaveLength(13)
  expect(cut.train.at(-1)!.labels.at(-1)).toBe(2)
  const given = await prepare(rows, mapping, tokenizer, template, job, { classes: ['fear', 'joy'] })
  expect(given.skipped.map(({ index }) => index)).toEqual([1, 4])
  expect(given.skipped[0]!.reason).toContain('none of the classes')
})

it('refuses one label, and rows without labels', async () => {
  const { tokenizer, template } = await byteModel()
  const same = rows.map(({ text }) => ({ text, label: 'joy' }))
  await expect(prepare(same, mapping, tokenizer, template, job)).rejects.toMatchObject({ code: 'data.columns' })
  const texts = { format: 'text' as const, columns: { text: 'text' } }
  await expect(prepare(rows, texts, tokenizer, template, job)).rejects.toThrow(/text and its label/)
})
