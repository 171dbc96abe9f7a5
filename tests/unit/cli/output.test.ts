/** Output: JSON Lines alone on stdout, and bars only on a terminal. */
import { describe, expect, it } from 'vitest'
import { formatBytes, formatDuration, formatNumber, Output, tableRow } from '../../../src/cli/output'

class Sink {
  text = ''
  isTTY = false
  columns = 80
  write(piece: string): boolean {
    this.text += piece
    return true
  }
}

function outputs(json: boolean, terminal = false) {
  const stdout = new Sink()
  const stderr = new Sink()
  stderr.isTTY = terminal
  const streams = { stdout, stderr } as unknown as ConstructorParameters<typeof Output>[1]
  return { output: new Output(json, streams), stdout, stderr }
}

describe('Output', () => {
  it('prints nothing but JSON Lines on stdout with --json', () => {
    const { output, stdout, stderr } = outputs(true, true)
    output.event('step', { step: 1, loss: 0.5, grad_norm: Number.NaN })
    output.result('table')
    output.note('words')
    output.bar(0.5, 'half')
    output.warn('careful')
    expect(stdout.text).toBe('{"event":"step","step":1,"loss":0.5,"grad_norm":null}\n')
    expect(stderr.text).toBe('careful\n')
  })

  it('prints words for people without it', () => {
    const { output, stdout, stderr } = outputs(false)
    output.event('step', { step: 1 })
    output.bar(0.5, 'half')
    output.note('words')
    output.result('table\n')
    expect([stdout.text, stderr.text]).toEqual(['table\n', 'words\n'])
  })

  it('puts the bar back after a line', () => {
    const { output, stderr } = outputs(false, true)
    output.bar(0.5, 'half')
    output.note('words')
    expect(stderr.text.split('words\n')[1]).toContain('half')
    output.endBar()
    expect(stderr.text.endsWith('\r\u001b[2K')).toBe(true)
  })
})

describe('formats', () => {
  it('shows numbers to four figures', () => {
    expect([2.31449, 0.0002, 1.234e-7, 12345, Number.NaN].map(formatNumber)).toEqual([
      '2.314',
      '0.0002',
      '1.2e-7',
      '12345',
      '–',
    ])
    expect([900, 3200, 65_000, 7_260_000].map(formatDuration)).toEqual(['0.9 s', '3.2 s', '1 min 5 s', '2 h 1 min'])
    expect([12, 640_000, 6_230_000].map(formatBytes)).toEqual(['12 bytes', '640 kB', '6.23 MB'])
    expect(
      tableRow(
        [1, null, 'x'],
        [
          { title: '', width: 3 },
          { title: '', width: 2 },
          { title: '', width: 2 },
        ],
      ),
    ).toBe('  1       x')
  })
})
