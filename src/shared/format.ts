/**
 * Numbers, sizes and times as people read them: three significant digits, always with a unit. Refuses to guess: what is
 * not finite comes out as a dash.
 */

const DASH = '–'

/** Three significant digits: 2.31, 0.0123, 12.3, 1,230; very small ones as 2.00e-4. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return DASH
  if (value === 0) return '0'
  const size = Math.abs(value)
  if (size < 0.001) return value.toExponential(2).replace(/\.?0+e/, 'e')
  if (size >= 999.5) return Math.round(Number(value.toPrecision(3))).toLocaleString('en-GB')
  return value.toPrecision(3)
}

/** A whole number in full: 12,345. */
export function count(value: number): string {
  return Number.isFinite(value) ? Math.round(value).toLocaleString('en-GB') : DASH
}

/** A count with its noun: "1 row", "1,024 rows". */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${Math.round(value) === 1 ? one : many}`
}

/** A large count in short: 656 k, 3.21 M, 1.24 B. */
export function short(value: number): string {
  return scaled(value, 1000, ['', ' k', ' M', ' B'])
}

/** A size in decimal units: 812 B, 8.12 kB, 1.24 GB. */
export function bytes(value: number): string {
  return scaled(value, 1000, [' B', ' kB', ' MB', ' GB', ' TB'])
}

function scaled(value: number, step: number, units: readonly string[]): string {
  if (!Number.isFinite(value)) return DASH
  let size = value
  let unit = 0
  // 999.5 would print as 1.00e+3: go up a unit where rounding to three digits would reach the next.
  while (Number(Math.abs(size).toPrecision(3)) >= step && unit < units.length - 1) {
    size /= step
    unit++
  }
  const digits = unit === 0 ? String(Math.round(size)) : size.toPrecision(3)
  return digits + (units[unit] ?? '')
}

/** A length of time: 40 s, 4 min, 2 h 5 min, 3 d 4 h. @param seconds not negative. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return DASH
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 10) return `${seconds.toPrecision(2)} s`
  if (seconds < 59.5) return `${Math.round(seconds)} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** What is left of something, rounded the way one says it: "1 min left", "40 s left". */
export function timeLeft(seconds: number): string {
  const rounded = seconds < 10 ? Math.ceil(seconds) : seconds < 60 ? Math.round(seconds / 5) * 5 : seconds
  return `${rounded < 10 ? `${rounded} s` : duration(rounded)} left`
}

/** How long ago, in words: "just now", "5 min ago", "yesterday", "12 March 2026". @param now ms since 1970. */
export function ago(time: number, now: number): string {
  const seconds = (now - time) / 1000
  if (seconds < 45) return 'just now'
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`
  if (seconds < 24 * 3600) return `${Math.round(seconds / 3600)} h ago`
  if (seconds < 48 * 3600) return 'yesterday'
  return new Date(time).toLocaleDateString('en-GB', { day: 'numeric', month: 'long', year: 'numeric' })
}

/** The exact date and time, for where the relative one is hovered. */
export function exactTime(time: number): string {
  return new Date(time).toLocaleString('en-GB', { dateStyle: 'long', timeStyle: 'medium' })
}

/** A share as a percentage: 12.3%, 0.1%. */
export function percent(share: number): string {
  if (!Number.isFinite(share)) return DASH
  const value = share * 100
  return `${value === 0 || Math.abs(value) >= 10 ? Math.round(value) : value.toPrecision(2)}%`
}
