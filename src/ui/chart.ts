/**
 * The linked charts of a run, drawn with uPlot as an instrument draws them: graticule, traces, labels at the
 * traces' ends, marks where something happened. Refuses to hold state of the page.
 */
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { duration, figure } from '../shared/format'
import {
  apart,
  drawFrame,
  drawLabels,
  drawScreen,
  isNarrow,
  lastOf,
  logSplits,
  palette,
  penOf,
  place,
  spanLinear,
  spanLog,
  tickNames,
  type Label,
  type Palette,
} from './chart-drawing'
import { drawSmall, smallCharts, type SmallChart } from './chart-small'
import { drawEvidence, drawMarks, type View } from './chart-marks'
import { reach } from './curves'

export type { Evidence, View } from './chart-marks'

export interface Hooks {
  oncursor: (index: number | null) => void
  onzoom: (range: [number, number]) => void
}

const SMALL = 84
/** Room for the names of x under the last chart. */
const BELOW = 26
/** Steps are whole: no division falls between two. */
const WHOLE = Array.from({ length: 8 }, (_, power) => [1, 2, 5].map((unit) => unit * 10 ** power)).flat()
let made = 0

/** One run's charts in a host element: made once, fed with {@link update}, gone with {@link destroy}. */
export class ScopeCharts {
  readonly #host: HTMLElement
  readonly #hooks: Hooks
  readonly #height: () => number
  #view: View
  #charts: uPlot[] = []
  #small: SmallChart[] = []
  #made = ''
  readonly #key = `scope-${made++}`
  #splits = new Map<uPlot, number[][]>()

  constructor(host: HTMLElement, view: View, hooks: Hooks, height: () => number) {
    this.#host = host
    this.#view = view
    this.#hooks = hooks
    this.#height = height
    this.update(view)
  }

  /** Draws what is new. Charts are made anew only where their kind changes (axis, log, theme, rewards). */
  update(view: View, theme = ''): void {
    this.#view = view
    const kind = [view.axis, view.log, theme, view.curves.rewards !== null].join()
    if (kind !== this.#made) this.#make(kind)
    const { curves } = view
    const traces = [[curves.raw, curves.smoothed, curves.valid], ...this.#small.map(({ data }) => data(curves))]
    this.#charts.forEach((chart, i) => chart.setData([curves.x, ...(traces[i] ?? [])] as uPlot.AlignedData))
  }

  resize(): void {
    const width = this.#host.clientWidth
    const last = this.#charts.length - 1
    this.#charts.forEach((chart, i) =>
      chart.setSize({ width, height: i === 0 ? this.#height() : SMALL + (i === last ? BELOW : 0) }),
    )
  }

  /** Puts the crosshair on an entry, or takes it away. */
  point(index: number | null): void {
    const [chart] = this.#charts
    if (!chart) return
    const x = index === null ? undefined : this.#view.curves.x[index]
    const left = x === undefined ? -10 : chart.valToPos(x, 'x')
    chart.setCursor({ left, top: x === undefined ? -10 : chart.over.clientHeight / 2 })
    this.#hooks.oncursor(x === undefined ? null : index)
  }

  /** The charts on one canvas with their paper, for a file. */
  picture(title: string): HTMLCanvasElement {
    const ratio = devicePixelRatio
    const sources = this.#charts.map((chart) => chart.ctx.canvas)
    const canvas = document.createElement('canvas')
    const head = 40 * ratio
    canvas.width = Math.max(...sources.map(({ width }) => width))
    canvas.height = head + sources.reduce((sum, { height }) => sum + height, 0)
    const context = canvas.getContext('2d') as CanvasRenderingContext2D
    const colours = palette(this.#host)
    context.fillStyle = colours.screen
    context.fillRect(0, 0, canvas.width, canvas.height)
    context.fillStyle = colours.ink
    context.font = `600 ${15 * ratio}px system-ui, sans-serif`
    context.fillText(title, 12 * ratio, 26 * ratio)
    let y = head
    for (const source of sources) {
      context.drawImage(source, 0, y)
      y += source.height
    }
    return canvas
  }

  destroy(): void {
    this.#charts.forEach((chart) => chart.destroy())
    this.#charts = []
    this.#splits.clear()
  }

  #make(kind: string): void {
    this.destroy()
    this.#made = kind
    const colours = palette(this.#host)
    const { tuned, valid } = colours
    const faint = colours['tuned-line']
    const big = this.#options(colours, this.#height(), this.#view.log, false)
    big.series = [
      {},
      { stroke: faint, width: 1, points: { show: false } },
      { stroke: tuned, width: 2, points: { show: false } },
      {
        stroke: valid,
        width: 2,
        spanGaps: true,
        points: { show: true, size: 7, fill: colours.screen, stroke: valid, width: 2 },
      },
    ]
    big.hooks = {
      ...big.hooks,
      draw: [(chart) => apart(chart, () => this.#drawLoss(chart, colours))],
    }
    this.#small = smallCharts(this.#view.curves, colours)
    const below = this.#small.map((small, i) => {
      const last = i === this.#small.length - 1
      const options = this.#options(colours, SMALL + (last ? BELOW : 0), false, last, small.span)
      options.series = small.series
      options.hooks = {
        ...options.hooks,
        draw: [(chart) => apart(chart, () => drawSmall(chart, small, colours))],
      }
      return options
    })
    this.#charts = [big, ...below].map((options) => new uPlot(options, [[], []], this.#host))
  }

  #options(colours: Palette, height: number, log: boolean, bottom: boolean, span?: [number, number]): uPlot.Options {
    const font = '12px system-ui, sans-serif'
    const line: Partial<uPlot.Axis> = {
      stroke: colours['ink-soft'],
      font,
      grid: { stroke: colours.graticule, width: 1 },
      ticks: { stroke: colours['line-strong'], width: 1, size: 4 },
    }
    return {
      width: this.#host.clientWidth,
      height,
      padding: [10, (chart) => (isNarrow(chart) ? 10 : 112), 2, 0],
      legend: { show: false },
      cursor: {
        sync: { key: this.#key, setSeries: false, scales: ['x', null] },
        y: false,
        points: { size: 7, width: 2 },
        drag: { x: true, y: false, setScale: false },
      },
      scales: {
        x: { time: false, range: (_, min, max) => this.#spanX(min, max) },
        y: log
          ? { distr: 3, range: (_, min, max) => spanLog(min, max) }
          : { range: (_, min, max) => span ?? spanLinear(min, max) },
      },
      axes: [
        {
          ...line,
          ...(this.#view.axis === 'step' ? { incrs: WHOLE } : {}),
          size: bottom ? 30 : 0,
          show: true,
          gap: 5,
          values: (chart, splits) => {
            this.#note(chart, 0, splits)
            return bottom ? splits.map((split) => this.#nameX(split)) : splits.map(() => '')
          },
        },
        {
          ...line,
          size: 52,
          gap: 4,
          ...(log ? { splits: (_chart: uPlot, _axis: number, min: number, max: number) => logSplits(min, max) } : {}),
          space: height > SMALL + BELOW + 4 ? 44 : 26,
          values: (chart, splits) => {
            this.#note(chart, 1, splits)
            return tickNames(splits)
          },
        },
      ],
      series: [],
      hooks: {
        drawClear: [
          (chart) =>
            apart(chart, () => {
              drawScreen(chart, colours)
              if (height > SMALL + BELOW + 4) drawEvidence(chart, this.#view, colours)
            }),
        ],
        drawAxes: [(chart) => drawFrame(chart, colours, this.#splits.get(chart) ?? [])],
        setCursor: [(chart) => this.#cursor(chart)],
        setSelect: [(chart) => this.#select(chart)],
      },
    }
  }

  #note(chart: uPlot, axis: number, splits: readonly number[]): void {
    const known = this.#splits.get(chart) ?? []
    known[axis] = [...splits]
    this.#splits.set(chart, known)
  }

  #spanX(min: number | null, max: number | null): [number, number] {
    const { zoom, whole, live, curves } = this.#view
    if (zoom) return [zoom[0], zoom[1]]
    const start = Math.min(0, min ?? 0)
    const end = live ? reach(curves.x.at(-1) ?? 0, whole) : (max ?? 1)
    return [start, end > start ? end : start + 1]
  }

  #nameX(value: number): string {
    if (this.#view.axis === 'time') return value === 0 ? '0' : duration(value)
    return String(Number(value.toPrecision(6)))
  }

  #cursor(chart: uPlot): void {
    // Synced charts hear of it too; the first one speaks for all.
    if (chart !== this.#charts[0]) return
    const { idx, left } = chart.cursor
    this.#hooks.oncursor(idx === null || idx === undefined || (left ?? -1) < 0 ? null : idx)
  }

  #select(chart: uPlot): void {
    if (chart !== this.#charts[0] || chart.select.width < 8) return
    const min = chart.posToVal(chart.select.left, 'x')
    const max = chart.posToVal(chart.select.left + chart.select.width, 'x')
    for (const one of this.#charts) one.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
    this.#hooks.onzoom([min, max])
  }

  #drawLoss(chart: uPlot, colours: Palette): void {
    const { curves, live } = this.#view
    const pen = penOf(chart)
    drawMarks(chart, this.#view, colours)
    const end = lastOf(curves.smoothed)
    const valid = lastOf(curves.valid)
    const labels: Label[] = []
    if (end) {
      const at = place(chart, curves.x[end.index], end.value)
      if (live) {
        pen.context.beginPath()
        pen.context.arc(at.x, at.y, 4.5 * pen.ratio, 0, 7)
        pen.context.fillStyle = colours.tuned
        pen.context.fill()
      }
      labels.push({ ...at, text: 'training', value: figure(end.value), colour: colours.tuned })
    }
    if (valid) {
      const at = place(chart, curves.x[valid.index], valid.value)
      labels.push({ ...at, text: 'validation', value: figure(valid.value), colour: colours.valid })
    }
    drawLabels(chart, pen, labels, colours)
  }
}
