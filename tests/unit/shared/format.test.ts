import { describe, expect, it } from 'vitest'
import { ago, bytes, count, counted, duration, figure, percent, short, timeLeft } from '../../../src/shared/format'

describe('numbers', () => {
  it('have three significant digits', () => {
    expect([2.3149, 0.012345, 12.345, 123.45, 999.6].map(figure)).toEqual(['2.31', '0.0123', '12.3', '123', '1,000'])
    expect(figure(1234.5)).toBe('1,230')
  })

  it('use powers of ten only where they must', () => {
    expect([0, 2e-4, 1.234e-7].map(figure)).toEqual(['0', '2e-4', '1.23e-7'])
  })

  it('say nothing about what was not measured', () => {
    expect([Number.NaN, Infinity].map(figure)).toEqual(['–', '–'])
    expect([count(Number.NaN), bytes(Number.NaN), duration(Number.NaN)]).toEqual(['–', '–', '–'])
  })

  it('are whole where they count', () => {
    expect(count(12345)).toBe('12,345')
    expect([counted(1, 'row'), counted(1024, 'row'), counted(0, 'entry', 'entries')]).toEqual([
      '1 row',
      '1,024 rows',
      '0 entries',
    ])
  })
})

describe('sizes', () => {
  it('carry their unit and go up where rounding would reach the next', () => {
    expect([0, 812, 8120, 999_600, 1_240_000_000].map(bytes)).toEqual(['0 B', '812 B', '8.12 kB', '1.00 MB', '1.24 GB'])
    expect([656_000, 3_215_808].map(short)).toEqual(['656 k', '3.22 M'])
  })

  it('are shares in percent', () => {
    expect([0, 0.0123, 0.456, 1].map(percent)).toEqual(['0%', '1.2%', '46%', '100%'])
  })
})

describe('times', () => {
  it('are as long as one says them', () => {
    expect([0.25, 5.8, 40, 59.7, 240, 7500, 200_000].map(duration)).toEqual([
      '250 ms',
      '5.8 s',
      '40 s',
      '1 min',
      '4 min',
      '2 h 5 min',
      '2 d 7 h',
    ])
  })

  it('left are rounded', () => {
    expect([3.2, 42, 61, 7300].map(timeLeft)).toEqual(['4 s left', '40 s left', '1 min left', '2 h 2 min left'])
  })

  it('ago are relative until they are old', () => {
    const now = Date.UTC(2026, 2, 14, 12)
    expect([1, 120, 7200, 100_000].map((seconds) => ago(now - seconds * 1000, now))).toEqual([
      'just now',
      '2 min ago',
      '2 h ago',
      'yesterday',
    ])
    expect(ago(Date.UTC(2026, 2, 1, 12), now)).toBe('1 March 2026')
  })
})
