/** From measured rows to scores, rows to read and a verdict. */
import { describe, expect, test } from 'vitest'
import { scoreRows, taskOf, type MeasuredRow } from '../../../src/insight/score'
import {
  forgettingVerdict,
  judgementVerdict,
  outcome,
  promptingVerdict,
  votesSentence,
  winRate,
} from '../../../src/insight/verdict'
import { defaultJob } from '../../../src/shared/job'
import type { Judgement, PromptingTrial, Vote } from '../../../src/shared/judgement'

/** A row whose tuned loss is lower by `gain` and whose answers are as given. */
function row(index: number, wanted: string, base: string, tuned: string, gain = 1): MeasuredRow {
  return {
    ...{ index, prompt: `question ${index}`, wanted, tokens: 4 + (index % 3) },
    loss: { base: 3 + (index % 5) / 10, tuned: 3 + (index % 5) / 10 - gain },
    correct: { base: 1, tuned: 3 },
    answers: { base, tuned },
  }
}

function judgement(rows: MeasuredRow[], task: Judgement['task']): Judgement {
  const fixed = { version: 1, at: 0, checkpoint: 'best', step: 9, dataset: 'here', rows: 'held back' } as const
  return {
    ...fixed,
    task,
    measured: rows.length,
    answered: rows.length,
    shots: 0,
    forgetting: null,
    ...scoreRows(rows, task),
  }
}

describe('what rows ask for', () => {
  test('labels by format, or few short answers that come again', () => {
    expect(taskOf('label', ['a', 'b'])).toBe('labels')
    expect(
      taskOf(
        'pair',
        Array.from({ length: 20 }, (_, i) => (i % 2 ? 'yes' : 'no')),
      ),
    ).toBe('labels')
    expect(
      taskOf(
        'pair',
        Array.from({ length: 20 }, (_, i) => `answer ${i}`),
      ),
    ).toBe('answers')
    expect(
      taskOf(
        'pair',
        Array.from({ length: 20 }, () => 'always'),
      ),
    ).toBe('answers')
  })
  test('JSON where nearly all are, running text where nothing is asked', () => {
    expect(taskOf('chat', ['{"a":1}', '{"a":2}', '[3]', '{}', 'sorry'])).toBe('json')
    expect(taskOf('text', ['once'])).toBe('text')
  })
})

describe('scores', () => {
  const rows = Array.from({ length: 24 }, (_, i) => row(i, `word ${i}`, 'nothing', i % 4 ? `word ${i}` : 'no'))

  test('losses weigh tokens, answers count rows, and differences are sure where they are', () => {
    const { scores, lead } = scoreRows(rows, 'answers')
    const of = (key: string) => scores.find((score) => score.key === key)!
    const tokens = rows.reduce((sum, one) => sum + one.tokens, 0)
    const mean = rows.reduce((sum, one) => sum + one.loss.base * one.tokens, 0) / tokens
    expect(of('loss').base.value).toBeCloseTo(mean, 12)
    expect(of('perplexity').tuned.value).toBeCloseTo(Math.exp(mean - 1), 9)
    expect(of('tokenAccuracy').tuned.value).toBeCloseTo((3 * 24) / tokens, 12)
    expect([of('exact').base.value, of('exact').tuned.value]).toEqual([0, 0.75])
    expect(of('loss').difference.value).toBeCloseTo(-1, 12)
    expect(outcome(of('loss'))).toBe(1)
    expect(lead).toBe('exact')
  })

  test('the best and the worst rows are those', () => {
    const { best, worst } = scoreRows(rows, 'answers')
    expect(best.every(({ quality }) => quality?.tuned === 1)).toBe(true)
    expect(worst.map(({ index }) => index).sort((a, b) => a - b)).toEqual([0, 4, 8, 12, 16, 20])
  })

  test('a pattern of the person is a score of its own', () => {
    const { scores } = scoreRows(rows, 'answers', '^word \\d+$')
    expect(scores.find(({ key }) => key === 'pattern')?.tuned.value).toBe(0.75)
  })

  test('JSON has validity and fields; labels have a table', () => {
    const json = Array.from({ length: 8 }, (_, i) => row(i, `{"n": ${i}, "m": 1}`, 'n', `{"n": ${i}, "m": 2}`))
    const scored = scoreRows(json, 'json')
    expect(scored.lead).toBe('fields')
    expect(scored.scores.find(({ key }) => key === 'fields')?.tuned.value).toBe(0.5)
    expect(scored.scores.find(({ key }) => key === 'jsonValid')?.base.value).toBe(0)
    const labels = Array.from({ length: 12 }, (_, i) => row(i, i % 3 ? 'yes' : 'no', 'perhaps', 'yes'))
    const report = scoreRows(labels, 'labels').labels
    expect(report?.classes.map(({ label, support }) => [label, support])).toEqual([
      ['yes', 8],
      ['no', 4],
    ])
    expect(report?.confusion).toEqual([
      [8, 0, 0],
      [4, 0, 0],
    ])
  })
})

describe('verdicts', () => {
  const good = Array.from({ length: 24 }, (_, i) => row(i, `word ${i}`, 'nothing', i % 8 ? `word ${i}` : 'no'))

  test('clearly better, worse with what to change, and nothing sure', () => {
    expect(judgementVerdict(judgement(good, 'answers'), defaultJob())).toMatchObject({ tone: 'good' })
    const bad = good.map((one) => ({
      ...one,
      loss: { base: one.loss.tuned, tuned: one.loss.base },
      answers: { base: one.wanted, tuned: 'no' },
    }))
    const worse = judgementVerdict(judgement(bad, 'answers'), { ...defaultJob(), learningRate: 3e-3, epochs: 4 })
    expect(worse).toMatchObject({ tone: 'poor', change: { epochs: 2 } })
    expect(worse.change?.learningRate).toBeCloseTo(1e-3, 12)
    const same = good.map((one, i) => row(i, one.wanted, 'no', 'no', i % 2 ? 0.01 : -0.01))
    expect(judgementVerdict(judgement(same, 'answers'), defaultJob())).toMatchObject({ tone: 'fair' })
  })

  test('a model whose answers stay but whose loss rises is worse than the base', () => {
    const rows = good.map((one, i) => row(i, one.wanted, 'no', 'no', -0.5))
    expect(judgementVerdict(judgement(rows, 'answers'), defaultJob()).tone).toBe('poor')
  })

  test('prompting that does, that helps, and that does not', () => {
    const at = (value: number) => ({ value, low: value - 0.05, high: value + 0.05 })
    const trial = (without: number, withExamples: number): PromptingTrial => {
      const difference = at(withExamples - without)
      return {
        ...{ shots: 3, answered: 12, key: 'exact', rows: [] },
        without: at(without),
        withExamples: at(withExamples),
        difference,
      }
    }
    expect(promptingVerdict(trial(0.2, 0.9))).toMatchObject({ tone: 'good', advice: expect.stringContaining('Tuning') })
    expect(promptingVerdict(trial(0.2, 0.9)).text).toContain(
      'exactly right 90% with 3 examples in the prompt, 20% without',
    )
    expect(promptingVerdict(trial(0.1, 0.4)).text).toContain('help, and tuning has more to give')
    expect(promptingVerdict(trial(0, 0)).text).toContain('tuning is what can')
  })

  test('what is forgotten is answered by general text, or by a gentler rate where that is mixed in already', () => {
    const rise = { value: 0.9, low: 0.5, high: 1 }
    const of = (replayShare: number) =>
      forgettingVerdict({ base: rise, tuned: rise, rise, passages: 24 }, { ...defaultJob(), replayShare }).change
    expect(of(0)).toEqual({ replayShare: 0.2 })
    expect(of(0.2)).toEqual({ learningRate: 1e-4 })
  })

  test('forgetting: quiet when small or unsure, loud when much', () => {
    const near = (value: number, low: number) => ({ value, low, high: value + 0.1 })
    const of = (rise: { value: number; low: number; high: number }) =>
      forgettingVerdict({ base: near(3, 2.9), tuned: near(3, 2.9), rise, passages: 24 }, defaultJob()).tone
    expect([of(near(0.02, 0.01)), of(near(0.2, -0.05)), of(near(0.2, 0.1)), of(near(0.9, 0.5))]).toEqual([
      'good',
      'good',
      'fair',
      'poor',
    ])
  })

  test('votes: no winner until it is sure', () => {
    const votes = (tuned: number, base: number, tie = 0): Vote[] =>
      (['tuned', 'base', 'tie'] as const).flatMap((winner, i) =>
        Array.from({ length: [tuned, base, tie][i] ?? 0 }, () => ({ at: 0, prompt: '', winner })),
      )
    expect(votesSentence([])).toBe('No votes yet.')
    expect(votesSentence(votes(3, 1))).toContain('No clear winner')
    expect(votesSentence(votes(19, 1))).toContain('like the tuned model better')
    expect(votesSentence(votes(1, 19))).toContain('like the base better')
    expect(winRate(votes(4, 2, 2))).toMatchObject({ value: 5 / 8, votes: 8, ties: 2 })
  })
})
