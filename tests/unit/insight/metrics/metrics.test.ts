/** Metrics against sacrebleu, rouge-score's rule, scikit-learn and scipy; the bootstrap against the normal interval. */
import { describe, expect, test } from 'vitest'
import { contains, exactMatch, fieldMatch, jsonOf } from '../../../../src/insight/metrics/answers'
import { bootstrap, bootstrapMean, meanOf, wilson } from '../../../../src/insight/metrics/interval'
import { classOf, labelScores } from '../../../../src/insight/metrics/labels'
import { bleu, bleuCounts, chrf, chrfCounts, rougeL, rougeWords } from '../../../../src/insight/metrics/overlap'
import golden from '../../../golden/metrics.json'

const { overlap, labels } = golden
const pairs = overlap.pairs as [string, string][]

function summed(counts: readonly Float64Array[]): Float64Array {
  return counts.reduce((total, one) => total.map((value, i) => value + (one[i] ?? 0)))
}

describe('agreement of words', () => {
  test('BLEU is what sacrebleu says, row by row and over the corpus', () => {
    const counts = pairs.map(([answer, wanted]) => bleuCounts(answer, wanted))
    counts.forEach((one, i) => expect(bleu(one), JSON.stringify(pairs[i])).toBeCloseTo(overlap.sentenceBleu[i]!, 9))
    expect(bleu(summed(counts))).toBeCloseTo(overlap.corpusBleu, 9)
  })

  test('chrF is what sacrebleu says', () => {
    const counts = pairs.map(([answer, wanted]) => chrfCounts(answer, wanted))
    counts.forEach((one, i) => expect(chrf(one), JSON.stringify(pairs[i])).toBeCloseTo(overlap.sentenceChrf[i]!, 9))
    expect(chrf(summed(counts))).toBeCloseTo(overlap.corpusChrf, 9)
  })

  test('ROUGE-L is that of rouge-score where the text is ASCII, and knows letters of every script', () => {
    for (const [i, expected] of Object.entries(overlap.rougeL)) {
      const [answer, wanted] = pairs[Number(i)]!
      expect(rougeL(answer, wanted), answer).toBeCloseTo(expected, 6)
    }
    expect(rougeWords('Die Straße, Ångström!')).toEqual(['die', 'straße', 'ångström'])
    expect(rougeL('Die Katze saß dort', 'Die Katze saß')).toBeCloseTo(6 / 7, 12)
  })
})

describe('labels', () => {
  test.each(labels.map((one) => [one.classes.join(), one] as const))('scikit-learn: %s', (_, one) => {
    const numbers = (names: string[]) => names.map((name) => one.classes.indexOf(name))
    const scores = labelScores(numbers(one.truth), numbers(one.guess), one.classes)
    expect(scores.accuracy).toBeCloseTo(one.accuracy, 12)
    expect(scores.confusion).toEqual(one.confusion)
    scores.classes.forEach((scored, i) => {
      expect(scored.precision).toBeCloseTo(one.precision[i]!, 12)
      expect(scored.recall).toBeCloseTo(one.recall[i]!, 12)
      expect(scored.f1).toBeCloseTo(one.f1[i]!, 12)
      expect(scored.support).toBe(one.support[i])
    })
    const [precision, recall, f1] = one.macro
    expect(scores.macroPrecision).toBeCloseTo(precision!, 12)
    expect(scores.macroRecall).toBeCloseTo(recall!, 12)
    expect(scores.macroF1).toBeCloseTo(f1!, 12)
  })

  test('an answer names a class by its text or its first line, and no other', () => {
    const classes = ['happy', 'very happy', 'sad']
    expect(classOf(' Happy.', classes)).toBe(0)
    expect(classOf('sad\nI think so.', classes)).toBe(2)
    expect(classOf('happy and sad', classes)).toBe(-1)
    expect(classOf('', classes)).toBe(-1)
  })
})

describe('single answers', () => {
  test('exact but for white space; contained whatever the case', () => {
    expect(exactMatch(' a  b\n', 'a b')).toBe(true)
    expect(exactMatch('A b', 'a b')).toBe(false)
    expect(contains('It is Olga  Finch, I think', 'olga finch')).toBe(true)
    expect(contains('anything', ' ')).toBe(false)
  })

  test('JSON is an object or an array, fenced or not', () => {
    expect(jsonOf('{"a": 1}')).toEqual({ a: 1 })
    expect(jsonOf('```json\n[1, 2]\n```')).toEqual([1, 2])
    expect(jsonOf('"text"')).toBeUndefined()
    expect(jsonOf('{"a": 1')).toBeUndefined()
  })

  test('fields count at their place; missing, wrong and added ones cost', () => {
    const wanted = '{"a": 1, "b": {"c": "x"}, "d": [true, null]}'
    expect(fieldMatch(wanted, wanted)).toBe(1)
    expect(fieldMatch('{"b": {"c": "x"}, "d": [true, null]}', wanted)).toBe(3 / 4)
    expect(fieldMatch('{"a": "1", "b": {"c": "x"}, "d": [true, null]}', wanted)).toBe(3 / 4)
    expect(fieldMatch('{"a": 1, "b": {"c": "x"}, "d": [true, null], "e": 0}', wanted)).toBe(4 / 5)
    expect(fieldMatch('not json', wanted)).toBe(0)
    expect(fieldMatch('{}', '{}')).toBe(1)
  })
})

describe('how sure', () => {
  test.each(golden.wilson)('Wilson as scipy has it: $hits of $trials', ({ hits, trials, low, high }) => {
    const interval = wilson(hits, trials)
    expect(interval.low).toBeCloseTo(low, 12)
    expect(interval.high).toBeCloseTo(high, 12)
  })

  test('the bootstrap of a mean comes near the normal interval, and is the same each time', () => {
    const values = Float64Array.from({ length: 400 }, (_, i) => Math.sin(i * 12.9898) * 3 + 5)
    const mean = values.reduce((a, b) => a + b) / 400
    const spread = Math.sqrt(values.reduce((total, value) => total + (value - mean) ** 2, 0) / 400)
    const half = (1.96 * spread) / 20
    const interval = bootstrapMean(values, { resamples: 4000 })
    expect(interval.value).toBeCloseTo(mean, 12)
    expect(interval.low).toBeCloseTo(mean - half, 1)
    expect(interval.high).toBeCloseTo(mean + half, 1)
    expect(Math.abs(interval.high - interval.low - 2 * half)).toBeLessThan(0.05 * half)
    expect(bootstrapMean(values, { resamples: 4000 })).toEqual(interval)
  })

  test('one row has no interval', () => {
    expect(bootstrap(1, (indices) => meanOf([3], indices))).toEqual({ value: 3, low: Number.NaN, high: Number.NaN })
  })
})
