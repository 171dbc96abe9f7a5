/** What a run notes of its rows, so that it does not go on with others. */
import { describe, expect, it } from 'vitest'
import { fingerprintRows } from '../../../src/data'
import type { EncodedRow } from '../../../src/shared/records'

const row = (ids: number[], labels = ids): EncodedRow => ({
  index: 0,
  inputIds: Int32Array.from(ids),
  labels: Int32Array.from(labels),
})
const rows = [row([1, 2, 3]), row([4, 5]), row([6])]
const held = [row([7, 8])]

describe('the fingerprint of rows', () => {
  it('is the same for the same rows, wherever they stand in their file', () => {
    const again = rows.map((one) => ({ ...row([...one.inputIds]), index: 9 }))
    expect(fingerprintRows(again, held)).toBe(fingerprintRows(rows, held))
    expect(fingerprintRows(rows, held)).toMatch(/^[0-9a-f]{16}$/)
  })

  it.each<[string, EncodedRow[], EncodedRow[]]>([
    ['another token', [row([1, 2, 3]), row([4, 9]), row([6])], held],
    ['another label', [row([1, 2, 3], [-100, 2, 3]), row([4, 5]), row([6])], held],
    ['another order', [row([4, 5]), row([1, 2, 3]), row([6])], held],
    ['another cut between rows', [row([1, 2]), row([3, 4, 5]), row([6])], held],
    ['a row less', rows.slice(1), held],
    ['a row more at the end', [...rows, row([])], held],
    ['a row held back instead', rows.slice(0, 2), [row([6]), ...held]],
  ])('differs with %s', (_, train, evaluation) => {
    expect(fingerprintRows(train, evaluation)).not.toBe(fingerprintRows(rows, held))
  })

  it('hardly ever is the same by chance', () => {
    const seen = new Set(Array.from({ length: 20_000 }, (_, i) => fingerprintRows([row([i % 100, (i / 100) | 0])])))
    expect(seen.size).toBe(20_000)
  })
})
