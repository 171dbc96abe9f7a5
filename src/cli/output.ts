/**
 * What the commands say: JSON Lines on stdout for programs, or a progress bar and tables for people. Refuses to mix the two.
 */
import type { Progress } from '../shared/files'

export interface Streams {
  stdout: NodeJS.WritableStream
  stderr: NodeJS.WritableStream & { isTTY?: boolean; columns?: number }
}

/** A column of a table: heading and how wide it is at least. */
export interface Column {
  title: string
  width: number
}

/** Where a command's words go. Nothing but events is ever written to stdout when `json` is set. */
export class Output {
  readonly json: boolean
  readonly #streams: Streams
  #bar = ''

  constructor(json: boolean, streams: Streams = process) {
    this.json = json
    this.#streams = streams
  }

  /** One JSON line on stdout; nothing without `--json`. Numbers that are not finite become null, as JSON has none. */
  event(name: string, fields: Record<string, unknown>): void {
    if (this.json) this.#streams.stdout.write(`${JSON.stringify({ event: name, ...fields })}\n`)
  }

  /** The result of a command for a person, on stdout; nothing with `--json`. */
  result(text: string): void {
    if (this.json) return
    this.#clearBar()
    this.#streams.stdout.write(text)
  }

  /** Bytes of a file on stdout. */
  bytes(bytes: Uint8Array): void {
    this.#clearBar()
    this.#streams.stdout.write(bytes)
  }

  /** A line for a person while a command works, on stderr; nothing with `--json`. */
  note(text: string): void {
    if (!this.json) this.#line(text)
  }

  /** A line that must be read in both forms, on stderr. */
  warn(text: string): void {
    this.#line(text)
  }

  /** Progress of a stage; a bar on a terminal, nothing elsewhere. */
  progress(progress: Progress): void {
    if (progress.total > 0) this.bar(progress.done / progress.total, progress.stage)
  }

  /** A bar that is rewritten in place on a terminal; nothing elsewhere. */
  bar(share: number, text: string): void {
    if (this.json || !this.#streams.stderr.isTTY) return
    const width = 24
    const full = Math.max(0, Math.min(width, Math.round(share * width)))
    const line = `${'█'.repeat(full)}${'░'.repeat(width - full)} ${text}`
    this.#bar = line.slice(0, (this.#streams.stderr.columns || 80) - 1)
    this.#streams.stderr.write(`\r\u001b[2K${this.#bar}`)
  }

  /** Removes the bar. */
  endBar(): void {
    this.#clearBar()
  }

  #line(text: string): void {
    const bar = this.#bar
    this.#clearBar()
    this.#streams.stderr.write(`${text}\n`)
    if (bar) {
      this.#bar = bar
      this.#streams.stderr.write(bar)
    }
  }

  #clearBar(): void {
    if (this.#bar) this.#streams.stderr.write('\r\u001b[2K')
    this.#bar = ''
  }
}

/** A row of a table: numbers to the right, the rest to the left. */
export function tableRow(cells: readonly (string | number | null)[], columns: readonly Column[]): string {
  const parts = columns.map(({ width }, i) => {
    const cell = cells[i] ?? ''
    return typeof cell === 'number' ? formatNumber(cell).padStart(width) : String(cell).padStart(width)
  })
  return parts.join('  ')
}

/** A number to about four figures: 2.314, 0.0002, 1.2e-7, 12345. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (Number.isInteger(value)) return String(value)
  const size = Math.abs(value)
  if (size >= 1e6 || size < 1e-4) return value.toExponential(1)
  return String(Number(value.toPrecision(4)))
}

/** Milliseconds as "1.2 s", "3 min 5 s", "2 h 10 min". */
export function formatDuration(ms: number): string {
  const seconds = ms / 1000
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 60) return `${Math.round(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** Bytes as "640 kB", "6.2 MB". */
export function formatBytes(bytes: number): string {
  for (const [unit, size] of [
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3],
  ] as const) {
    if (bytes >= size) return `${Number((bytes / size).toPrecision(3))} ${unit}`
  }
  return `${bytes} bytes`
}

/** Names and what they are, in two columns. */
export function factTable(facts: readonly (readonly [string, string])[]): string {
  return facts.map(([name, value]) => `${name.padEnd(15)}${value}\n`).join('')
}
