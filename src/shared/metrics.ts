/**
 * A run's numbers, column by column, and what a chart and a file need of them: append, smooth, thin out, write.
 * Refuses to invent a value: what was not measured is NaN.
 */

/**
 * One column a number; the order is the wire order. Losses in nats a token, time in milliseconds, memory in bytes, reward margins in nats
 * times beta, reward accuracies as shares.
 */
export const METRIC_COLUMNS = [
  'step',
  'epoch',
  'time',
  'loss',
  'evalLoss',
  'learningRate',
  'gradNorm',
  'tokens',
  'stepTime',
  'memory',
  'rewardMargin',
  'rewardAccuracy',
  'evalRewardMargin',
  'evalRewardAccuracy',
] as const

export type MetricName = (typeof METRIC_COLUMNS)[number]
/** One row; what was not measured at that step is left out. `time` is ms of training since the run began, pauses not counted. */
type MetricRow = Partial<Record<MetricName, number>> & { step: number }
/** Columns as they are stored and sent: equally long Float64Arrays. */
export type MetricColumns = Record<MetricName, Float64Array>

/** Columns that grow; amortised constant time an append. */
export class MetricBuffer {
  #length = 0
  #columns: MetricColumns

  constructor(columns?: MetricColumns) {
    this.#columns = emptyColumns(64)
    if (columns) this.append(columns)
  }

  get length(): number {
    return this.#length
  }

  /** Adds one row. */
  push(row: MetricRow): void {
    this.#reserve(this.#length + 1)
    for (const name of METRIC_COLUMNS) this.#columns[name][this.#length] = row[name] ?? Number.NaN
    this.#length++
  }

  /** Adds all rows of other columns. */
  append(columns: MetricColumns): void {
    const count = columns.step.length
    this.#reserve(this.#length + count)
    // Columns that were stored before one of today's was there lack it.
    const given: Partial<MetricColumns> = columns
    for (const name of METRIC_COLUMNS) {
      const values = given[name]
      if (values) this.#columns[name].set(values, this.#length)
      else this.#columns[name].fill(Number.NaN, this.#length, this.#length + count)
    }
    this.#length += count
  }

  /** Forgets every row after a step: what a resumed run does with rows younger than its checkpoint. */
  truncateAfter(step: number): void {
    const steps = this.#columns.step
    while (this.#length > 0 && (steps[this.#length - 1] ?? 0) > step) this.#length--
  }

  /** A column without its spare room; a view, valid until the next change. */
  column(name: MetricName): Float64Array {
    return this.#columns[name].subarray(0, this.#length)
  }

  /** Rows from an index on, as columns of their own that may be transferred. */
  slice(from = 0): MetricColumns {
    const result = emptyColumns(0)
    for (const name of METRIC_COLUMNS) result[name] = this.#columns[name].slice(from, this.#length)
    return result
  }

  #reserve(rows: number): void {
    const capacity = this.#columns.step.length
    if (rows <= capacity) return
    const grown = emptyColumns(Math.max(rows, capacity * 2))
    for (const name of METRIC_COLUMNS) grown[name].set(this.column(name))
    this.#columns = grown
  }
}

function emptyColumns(length: number): MetricColumns {
  return Object.fromEntries(METRIC_COLUMNS.map((name) => [name, new Float64Array(length)])) as MetricColumns
}

/**
 * Exponential moving average with bias correction; non-finite values are passed over and come out as NaN.
 * @param weight 0 (no smoothing) to below 1.
 */
export function smooth(values: ArrayLike<number>, weight: number): Float64Array {
  const result = new Float64Array(values.length)
  let last = 0
  let seen = 0
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number
    if (!Number.isFinite(value)) {
      result[i] = Number.NaN
      continue
    }
    last = last * weight + (1 - weight) * value
    seen++
    result[i] = last / (1 - weight ** seen)
  }
  return result
}

/**
 * Indices to draw when there are more points than pixels: first, last, and the lowest and highest of each bucket.
 * @param most about how many indices to return.
 */
export function decimate(values: ArrayLike<number>, most: number): number[] {
  const count = values.length
  if (count <= most || most < 4) return Array.from({ length: count }, (_, i) => i)
  const keep = new Set([0, count - 1])
  const buckets = Math.floor((most - 2) / 2)
  for (let bucket = 0; bucket < buckets; bucket++) {
    const start = Math.floor((bucket * count) / buckets)
    const end = Math.floor(((bucket + 1) * count) / buckets)
    let low = -1
    let high = -1
    for (let i = start; i < end; i++) {
      const value = values[i] as number
      if (!Number.isFinite(value)) continue
      if (low < 0 || value < (values[low] as number)) low = i
      if (high < 0 || value > (values[high] as number)) high = i
    }
    if (low >= 0) keep.add(low).add(high)
  }
  return [...keep].sort((a, b) => a - b)
}

/** Columns that only some runs have. */
const REWARDS: ReadonlySet<MetricName> = new Set([
  'rewardMargin',
  'rewardAccuracy',
  'evalRewardMargin',
  'evalRewardAccuracy',
])

/** All rows as CSV with a header; what was not measured is an empty cell. Rewards are left out of runs without any. */
export function metricsToCsv(buffer: MetricBuffer): string {
  const columns = METRIC_COLUMNS.filter((name) => !REWARDS.has(name) || buffer.column(name).some(Number.isFinite))
  const lines = [columns.join(',')]
  for (let i = 0; i < buffer.length; i++) {
    lines.push(columns.map((name) => finiteText(buffer.column(name)[i] as number)).join(','))
  }
  return lines.join('\n') + '\n'
}

/** All rows as plain objects; what was not measured is left out. */
export function metricsToRows(buffer: MetricBuffer): MetricRow[] {
  return Array.from({ length: buffer.length }, (_, i) => {
    const entries = METRIC_COLUMNS.map((name) => [name, buffer.column(name)[i] as number] as const)
    return Object.fromEntries(entries.filter(([, value]) => Number.isFinite(value))) as MetricRow
  })
}

function finiteText(value: number): string {
  return Number.isFinite(value) ? String(value) : ''
}
