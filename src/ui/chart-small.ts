/**
 * The small charts below the loss: learning rate and gradient norm, and in runs over preferences how far the better answers are ahead and
 * how often. Refuses to draw the loss.
 */
import type uPlot from 'uplot'
import { figure, percent } from '../shared/format'
import { halo, isNarrow, lastOf, penOf, type Palette } from './chart-drawing'
import type { Curves } from './curves'

export interface SmallChart {
  name: string
  series: uPlot.Series[]
  data: (curves: Curves) => (number | null)[][]
  /** How the last value of each trace is written, and its colour. */
  values: { text: (value: number) => string; colour: string }[]
  /** The whole range, where there is one. */
  span?: [number, number]
}

/** The charts that a run of these curves has, top to bottom. */
export function smallCharts({ rewards }: Curves, colours: Palette): SmallChart[] {
  const soft = colours['ink-soft']
  const plain = (name: string, data: SmallChart['data']): SmallChart => ({
    ...{ name, data, series: [{}, { stroke: soft, width: 1.5, points: { show: false } }] },
    values: [{ text: figure, colour: colours.ink }],
  })
  const rate = plain('learning rate', (curves) => [curves.learningRate])
  const norm = plain('gradient norm', (curves) => [curves.gradNorm])
  if (!rewards) return [rate, norm]
  const { tuned, valid } = colours
  const both = {
    series: [
      {},
      { stroke: tuned, width: 1.5, points: { show: false } },
      {
        stroke: valid,
        width: 1.5,
        spanGaps: true,
        points: { show: true, size: 5, fill: colours.screen, stroke: valid },
      },
    ],
  }
  const values = (text: (value: number) => string) => [
    { text, colour: tuned },
    { text, colour: valid },
  ]
  return [
    {
      ...{ ...both, name: 'reward margin', values: values(figure) },
      data: ({ rewards: found }) => [found?.margin ?? [], found?.validMargin ?? []],
    },
    {
      ...{ ...both, name: 'preferred', values: values(percent), span: [-0.03, 1.05] },
      data: ({ rewards: found }) => [found?.accuracy ?? [], found?.validAccuracy ?? []],
    },
    rate,
    norm,
  ]
}

/** The chart's name and its last values: beside it where there is room, else in its corner. */
export function drawSmall(chart: uPlot, { name, values }: SmallChart, colours: Palette): void {
  const pen = penOf(chart)
  const { context, ratio } = pen
  const { bbox } = chart
  const last = values.flatMap(({ text, colour }, i) => {
    const found = lastOf(chart.data[i + 1] as (number | null)[])
    return found ? [{ text: text(found.value), colour }] : []
  })
  context.font = `${12 * ratio}px system-ui, sans-serif`
  context.fillStyle = colours['ink-soft']
  context.textBaseline = 'top'
  if (isNarrow(chart)) {
    context.textAlign = 'right'
    const words = `${name} ${last.map(({ text }) => text).join(' · ')}`
    halo(pen, words, bbox.left + bbox.width - 6 * ratio, bbox.top + 4 * ratio, colours)
    return
  }
  context.textAlign = 'left'
  const left = bbox.left + bbox.width + 10 * ratio
  context.fillText(name, left, bbox.top + 2 * ratio)
  context.font = `600 ${12 * ratio}px system-ui, sans-serif`
  last.forEach(({ text, colour }, i) => {
    context.fillStyle = colour
    context.fillText(text, left, bbox.top + (19 + 17 * i) * ratio)
  })
}
