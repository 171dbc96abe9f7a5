/** DPO, ORPO and KTO on numbers: losses and slopes as PyTorch differentiates TRL's formulas. */
import { describe, expect, it } from 'vitest'
import { objectiveOf, answersOf } from '../../../src/engine/train/objectives/objective'
import type { Judged } from '../../../src/engine/train/objectives/verdict'
import type { EncodedRow } from '../../../src/shared/records'
import { goldenJson } from '../../support/golden'

interface Recorded {
  beta: number
  wrong_pairs: number
  sft_weight: number
  numbers: {
    tokens: number[][]
    logps: number[][]
    references: number[][]
    labels: boolean[]
  } & Record<'dpo' | 'orpo' | 'kto', { loss: number; slopes: number[][] }>
}
const golden = await goldenJson<Recorded>('objectives.json')
const { numbers } = golden
const settings = { beta: golden.beta, wrongPairs: golden.wrong_pairs, sftWeight: golden.sft_weight }

const sequence = { inputIds: new Int32Array(2), labels: new Int32Array(2) }

function judged(name: 'dpo' | 'orpo' | 'kto', i: number): Judged {
  const answer = (side: number) => ({
    logp: numbers.logps[side]![i]!,
    reference: numbers.references[side]![i]!,
    tokens: numbers.tokens[side]![i]!,
  })
  const row: EncodedRow = { index: i, ...sequence, rated: { good: numbers.labels[i]!, other: sequence } }
  return { row, answers: name === 'kto' ? [answer(0)] : [answer(0), answer(1)], unmatched: answer(2) }
}

describe.each(['dpo', 'orpo', 'kto'] as const)('%s', (name) => {
  it('has the loss and the slopes of TRL', () => {
    const rows = numbers.labels.map((_, i) => judged(name, i))
    const verdict = objectiveOf({ objective: name, ...settings })!.judge(rows)
    expect(verdict.loss / rows.length).toBeCloseTo(numbers[name].loss, 9)
    verdict.slopes.forEach((slopes, i) =>
      slopes.forEach((slope, side) =>
        expect(slope / rows.length, `row ${i}, side ${side}`).toBeCloseTo(numbers[name].slopes[side]![i]!, 9),
      ),
    )
    expect(verdict.good.length + verdict.bad.length).toBe(name === 'kto' ? rows.length : 2 * rows.length)
  })
})

describe('rewards', () => {
  it('are those of the better and the worse answer, and say who is right', () => {
    const answer = (logp: number) => ({ logp, reference: -2, tokens: 4 })
    const row: EncodedRow = { index: 0, ...sequence }
    const rows = [-1, -3, -2].map((logp): Judged => ({ row, answers: [answer(logp), answer(-2)], unmatched: null }))
    const verdict = objectiveOf({ objective: 'dpo', beta: 0.5, wrongPairs: 0, sftWeight: 0 })!.judge(rows)
    expect(verdict.good).toEqual([0.5, -0.5, 0])
    expect(verdict.bad).toEqual([0, 0, 0])
    expect(verdict.right).toBe(1)
  })

  it('stay finite far out', () => {
    const answer = (logp: number) => ({ logp, reference: 0, tokens: 1 })
    for (const objective of ['dpo', 'orpo'] as const) {
      const rows: Judged[] = [
        { row: { index: 0, ...sequence }, answers: [answer(-5000), answer(-1e-9)], unmatched: null },
      ]
      const { loss, slopes } = objectiveOf({ objective, beta: 1, wrongPairs: 0, sftWeight: 0 })!.judge(rows)
      expect([loss, ...slopes.flat()].every(Number.isFinite), objective).toBe(true)
    }
  })
})

describe('rows that do not fit', () => {
  it('are refused with what is missing', () => {
    const row: EncodedRow = { index: 4, ...sequence }
    expect(() => answersOf(row, 'dpo')).toThrow(/DPO needs a better and a worse answer/)
    expect(() => answersOf(row, 'kto')).toThrow(/rated/)
    expect(objectiveOf({ objective: 'sft', beta: 1, wrongPairs: 0, sftWeight: 0 })).toBeNull()
  })
})
