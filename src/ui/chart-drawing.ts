/**
 * The strokes of a run's charts: screen, frame, labels at the traces' ends, marks. Refuses to know where numbers come from.
 */
import type uPlot from 'uplot'

const TOKENS = [
  'ink',
  'ink-soft',
  'line-strong',
  'graticule',
  'screen',
  'tuned',
  'tuned-line',
  'valid',
  'poor',
  'fair',
  'fair-wash',
] as const
export type Palette = Record<(typeof TOKENS)[number], string>

/**
 * The colours as they are now: a custom property with light-dark() only resolves on an element. Each is read off an element
 * of its own, because on one that changes its colour a transition would still show the old one.
 */
export function palette(host: HTMLElement): Palette {
  const read = (name: string): [string, string] => {
    const probe = document.createElement('i')
    probe.style.color = `var(--${name})`
    host.append(probe)
    const { color } = getComputedStyle(probe)
    probe.remove()
    return [name, color]
  }
  return Object.fromEntries(TOKENS.map(read)) as Palette
}

interface Pen {
  context: CanvasRenderingContext2D
  ratio: number
}
export interface Label {
  x: number
  y: number
  text: string
  value: string
  colour: string
}

/** Whether there is no room beside the traces, so that their names go above them. */
export function isNarrow(chart: uPlot): boolean {
  return chart.width < 560
}

/** Names for the divisions of an axis: as many decimals as the finest of them needs, powers of ten where tiny. */
export function tickNames(splits: readonly (number | null)[]): string[] {
  const values = splits.map((split) => (split === null ? null : Number(split.toPrecision(6))))
  const largest = Math.max(0, ...values.map((value) => Math.abs(value ?? 0)))
  if (largest > 0 && largest < 0.01) {
    return values.map((value) => (value === null ? '' : value === 0 ? '0' : value.toExponential().replace('e-', 'e−')))
  }
  const decimals = Math.max(0, ...values.map((value) => String(value ?? 0).split('.')[1]?.length ?? 0))
  return values.map((value) => (value === null ? '' : value.toFixed(Math.min(4, decimals))))
}

/** Draws without leaving a trace in the pen: uPlot remembers what it set and does not set it again. */
export function apart(chart: uPlot, draw: () => void): void {
  chart.ctx.save()
  draw()
  chart.ctx.restore()
}

export function penOf(chart: uPlot): Pen {
  return { context: chart.ctx, ratio: devicePixelRatio }
}

export function place(chart: uPlot, x: number | undefined, y: number): { x: number; y: number } {
  return { x: chart.valToPos(x ?? 0, 'x', true), y: chart.valToPos(y, 'y', true) }
}

export function lastOf(line: readonly (number | null)[]): { index: number; value: number } | null {
  for (let index = line.length - 1; index >= 0; index--) {
    const value = line[index]
    if (typeof value === 'number') return { index, value }
  }
  return null
}

export function spanLinear(min: number | null, max: number | null): [number, number] {
  if (min === null || max === null) return [0, 1]
  const size = Math.max(Math.abs(min), Math.abs(max))
  // A level trace differs by rounding alone; divisions as fine as that would never end.
  const level = max - min <= 1e-6 * size
  const room = (level ? size || 1 : max - min) * 0.08
  // A curve that nears zero shows its zero; one far above does not waste the screen on it.
  return [min >= 0 && min < max * 0.15 ? 0 : min - room, max + room]
}

/** Divisions for a logarithmic axis: round values, evenly spread where the range is short, 1-2-5 where it is long. */
export function logSplits(min: number, max: number): number[] {
  const splits: number[] = []
  if (max / min < 10) {
    const rough = (max - min) / 5
    const power = 10 ** Math.floor(Math.log10(rough))
    const unit = ([1, 2, 5, 10].find((step) => step * power >= rough) ?? 10) * power
    for (let value = Math.ceil(min / unit) * unit; value <= max; value += unit) splits.push(value)
    return splits
  }
  for (let power = 10 ** Math.floor(Math.log10(min)); power <= max; power *= 10) {
    for (const step of [1, 2, 5]) if (step * power >= min && step * power <= max) splits.push(step * power)
  }
  return splits
}

export function spanLog(min: number | null, max: number | null): [number, number] {
  if (min === null || max === null || !(min > 0)) return [0.1, 10]
  return [min / 1.15, max * 1.15]
}

export function drawScreen({ ctx, bbox }: uPlot, colours: Palette): void {
  ctx.fillStyle = colours.screen
  ctx.fillRect(bbox.left, bbox.top, bbox.width, bbox.height)
}

/** The frame with five fine divisions between two lines of the graticule, as on a scope. */
export function drawFrame(chart: uPlot, colours: Palette, splits: readonly (readonly number[])[]): void {
  const { ctx: context, bbox } = chart
  const ratio = devicePixelRatio
  context.save()
  context.strokeStyle = colours['line-strong']
  context.lineWidth = ratio
  context.strokeRect(bbox.left, bbox.top, bbox.width, bbox.height)
  context.beginPath()
  for (const x of between(splits[0] ?? [])) {
    const at = chart.valToPos(x, 'x', true)
    if (at <= bbox.left || at >= bbox.left + bbox.width) continue
    context.moveTo(at, bbox.top + bbox.height)
    context.lineTo(at, bbox.top + bbox.height - 3 * ratio)
    context.moveTo(at, bbox.top)
    context.lineTo(at, bbox.top + 3 * ratio)
  }
  if (chart.scales['y']?.distr !== 3) {
    for (const y of between(splits[1] ?? [])) {
      const at = chart.valToPos(y, 'y', true)
      if (at <= bbox.top || at >= bbox.top + bbox.height) continue
      context.moveTo(bbox.left, at)
      context.lineTo(bbox.left + 3 * ratio, at)
      context.moveTo(bbox.left + bbox.width, at)
      context.lineTo(bbox.left + bbox.width - 3 * ratio, at)
    }
  }
  context.stroke()
  context.restore()
}

export function between(splits: readonly number[]): number[] {
  const [first, second] = splits
  if (first === undefined || second === undefined) return []
  const fine = (second - first) / 5
  const count = (splits.length + 1) * 5
  return Array.from({ length: count }, (_, i) => first - (second - first) + i * fine)
}

/** Names at the traces' ends, moved apart where they would touch. */
export function drawLabels(chart: uPlot, pen: Pen, labels: Label[], colours: Palette): void {
  const { context, ratio } = pen
  const { bbox } = chart
  const narrow = isNarrow(chart)
  const apart = 34 * ratio
  labels.sort((a, b) => a.y - b.y)
  let free = bbox.top + 8 * ratio
  const lowest = bbox.top + bbox.height - 8 * ratio
  labels.forEach((label, i) => {
    const below = labels.length - 1 - i
    const y = Math.max(free, Math.min(label.y - 8 * ratio, lowest - below * apart - 20 * ratio))
    free = y + apart
    context.textBaseline = 'top'
    context.fillStyle = label.colour
    if (narrow) {
      context.font = `600 ${12 * ratio}px system-ui, sans-serif`
      context.textAlign = 'right'
      halo(pen, `${label.text} ${label.value}`, bbox.left + bbox.width - 6 * ratio, y - 10 * ratio, colours)
      return
    }
    const left = bbox.left + bbox.width + 10 * ratio
    context.textAlign = 'left'
    context.font = `${12 * ratio}px system-ui, sans-serif`
    context.fillText(label.text, left, y)
    context.font = `600 ${13 * ratio}px system-ui, sans-serif`
    context.fillText(label.value, left, y + 15 * ratio)
  })
}

/** Text that stays legible over traces. */
export function halo({ context, ratio }: Pen, text: string, x: number, y: number, colours: Palette): void {
  context.save()
  context.lineWidth = 4 * ratio
  context.lineJoin = 'round'
  context.strokeStyle = colours.screen
  context.strokeText(text, x, y)
  context.fillText(text, x, y)
  context.restore()
}

/** The best evaluation: a diamond with its name, kept inside the frame; without it where the trace's own name stands there. */
export function drawDiamond(
  { context, ratio }: Pen,
  at: { x: number; y: number },
  colour: string,
  right: number,
  crowded: boolean,
): void {
  const size = 6.5 * ratio
  context.save()
  context.fillStyle = colour
  context.beginPath()
  context.moveTo(at.x, at.y - size)
  context.lineTo(at.x + size, at.y)
  context.lineTo(at.x, at.y + size)
  context.lineTo(at.x - size, at.y)
  context.fill()
  context.font = `600 ${12 * ratio}px system-ui, sans-serif`
  const atEdge = at.x > right - 20 * ratio
  context.textAlign = atEdge ? 'right' : 'center'
  context.textBaseline = 'bottom'
  if (!crowded || at.x < right - 120 * ratio) context.fillText('best', at.x - (atEdge ? size : 0), at.y - size - ratio)
  context.restore()
}
