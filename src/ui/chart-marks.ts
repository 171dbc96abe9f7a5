/** What happened in a run and what its curve shows, drawn into the loss chart. Refuses to draw traces. */
import type uPlot from 'uplot'
import type { RunMark } from '../shared/records'
import { drawDiamond, halo, isNarrow, penOf, place, type Palette } from './chart-drawing'
import { nearest, type Axis, type Curves } from './curves'

/** A stretch of steps, both ends included, that shows something. */
export interface Evidence {
  from: number
  to: number
  text: string
}

export interface View {
  curves: Curves
  axis: Axis
  log: boolean
  live: boolean
  /** What x would reach at the end of the run, in units of the axis; 0 where that is not known. */
  whole: number
  marks: readonly RunMark[]
  evidence: readonly Evidence[]
  zoom: readonly [number, number] | null
}
/** What a mark is called on the chart and how its line looks; checkpoints and old bests are in the table only. */
const MARKS: Partial<Record<RunMark['kind'], { name: string; colour: keyof Palette; dash: number[] }>> = {
  'early-stop': { name: 'stopped early', colour: 'ink', dash: [] },
  resume: { name: 'resumed', colour: 'ink-soft', dash: [2, 3] },
  skipped: { name: 'skipped', colour: 'poor', dash: [1, 2] },
  rescaled: { name: 'rescaled', colour: 'ink-soft', dash: [1, 2] },
  'rolled-back': { name: 'rolled back', colour: 'poor', dash: [] },
  paused: { name: 'paused', colour: 'ink-soft', dash: [6, 3] },
  stopped: { name: 'stopped', colour: 'ink-soft', dash: [6, 3] },
}

/** Upright lines where something happened, named while there is room, and the best evaluation. */
export function drawMarks(chart: uPlot, view: View, colours: Palette): void {
  const pen = penOf(chart)
  const { curves, marks } = view
  const { bbox } = chart
  const { context, ratio } = pen
  let free = bbox.left
  for (const mark of marks) {
    const style = MARKS[mark.kind]
    if (!style) continue
    const index = nearest(curves.step, mark.step)
    const x = chart.valToPos(curves.x[index] ?? Number.NaN, 'x', true)
    if (!(x >= bbox.left && x <= bbox.left + bbox.width)) continue
    context.save()
    context.strokeStyle = context.fillStyle = colours[style.colour]
    context.lineWidth = ratio
    context.setLineDash(style.dash.map((n) => n * ratio))
    context.beginPath()
    context.moveTo(x, bbox.top)
    context.lineTo(x, bbox.top + bbox.height)
    context.stroke()
    context.setLineDash([])
    context.font = `${12 * ratio}px system-ui, sans-serif`
    context.textBaseline = 'top'
    const width = context.measureText(style.name).width
    const toLeft = x + width + 10 * ratio > bbox.left + bbox.width
    const from = toLeft ? x - width - 5 * ratio : x + 5 * ratio
    if (from >= free || toLeft) {
      context.textAlign = 'left'
      halo(pen, style.name, from, bbox.top + 5 * ratio, colours)
      free = from + width + 8 * ratio
    }
    context.restore()
  }
  const best = marks.findLast(({ kind }) => kind === 'best')
  const index = best ? nearest(curves.step, best.step) : -1
  const value = curves.valid[index]
  if (best && typeof value === 'number') {
    drawDiamond(pen, place(chart, curves.x[index], value), colours.valid, bbox.left + bbox.width, isNarrow(chart))
  }
}

/** A band behind the steps that the diagnosis speaks of, with its words below those of the marks: traces end low. */
export function drawEvidence(chart: uPlot, view: View, colours: Palette): void {
  const { curves, evidence } = view
  const pen = penOf(chart)
  const { bbox } = chart
  const along = (step: number) => chart.valToPos(curves.x[nearest(curves.step, step)] ?? 0, 'x', true)
  for (const { from, to, text } of evidence) {
    const left = Math.max(bbox.left, along(from))
    const right = Math.min(bbox.left + bbox.width, Math.max(along(to), left + 2 * pen.ratio))
    if (!(right > left)) continue
    pen.context.fillStyle = colours['fair-wash']
    pen.context.fillRect(left, bbox.top, right - left, bbox.height)
    pen.context.fillStyle = colours.fair
    pen.context.font = `${12 * pen.ratio}px system-ui, sans-serif`
    pen.context.textBaseline = 'top'
    const width = pen.context.measureText(text).width
    const start = Math.max(bbox.left, Math.min(left, bbox.left + bbox.width - width - 10 * pen.ratio))
    pen.context.textAlign = 'left'
    pen.context.fillText(text, start + 5 * pen.ratio, bbox.top + 22 * pen.ratio)
  }
}
