/** What a few rehearsed steps say: a learning rate to take, whether a run would learn, how long it would take. Refuses to train. */
import { duration, figure } from '../shared/format'
import type { JudgementVerdict, Rehearsal, RehearsalStep } from '../shared/judgement'

/** Weight of the past in the smoothed loss. */
const SMOOTHING = 0.7
/** A range test ends where the smoothed loss is this many times its lowest, or its start. */
const BLOWN = 1.3

/** Learning rates of a range test: from low to high on a logarithmic scale (Smith 2015). @param step from 1 */
export function rangeRate(step: number, steps: number, low = 1e-5, high = 1): number {
  return low * (high / low) ** ((step - 1) / Math.max(1, steps - 1))
}

/** Losses smoothed with bias correction; what is not finite keeps the last value. */
export function smoothed(losses: readonly number[]): number[] {
  let mean = 0
  let weight = 1
  return losses.map((loss) => {
    if (Number.isFinite(loss)) {
      mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
      weight *= SMOOTHING
    }
    return mean / (1 - weight)
  })
}

/** Whether a range test has gone far enough: the loss has run away. */
export function rangeIsOver(steps: readonly RehearsalStep[]): boolean {
  const last = steps.at(-1)
  if (!last || !Number.isFinite(last.loss)) return last !== undefined
  const curve = smoothed(steps.map(({ loss }) => loss))
  const now = curve.at(-1) ?? 0
  return steps.length > 10 && now > BLOWN * Math.min(...curve) && now > (curve[0] ?? 0)
}

/**
 * The rate to take: a third of the one at which the smoothed loss is lowest, where a longer run would no longer be stable. (For plain
 * gradient descent a tenth is usual; measured on the sample datasets, Adam's steps bear more.) Null where the loss never falls clearly.
 */
export function suggestRate(steps: readonly RehearsalStep[]): number | null {
  const curve = smoothed(steps.map(({ loss }) => loss))
  const low = Math.min(...curve)
  const lowest = curve.indexOf(low)
  const start = curve[0] ?? Number.NaN
  const bottom = steps[lowest]
  if (!bottom || !(start - low > 0.03 * start) || lowest < 3) return null
  return roundRate(bottom.learningRate / 3)
}

/** 1, 2, 3 or 5 times a power of ten: what a person would have written. */
export function roundRate(rate: number): number {
  const power = 10 ** Math.floor(Math.log10(rate))
  const nearest = [1, 2, 3, 5, 10].reduce((best, factor) =>
    Math.abs(Math.log(rate / (factor * power))) < Math.abs(Math.log(rate / (best * power))) ? factor : best,
  )
  return Number((nearest * power).toPrecision(1))
}

/** A learning rate as a person writes it: 0.005, 2e-4. */
export function rateText(rate: number): string {
  const short = Number(rate.toPrecision(3))
  return short > 0 && short < 0.001 ? short.toExponential() : String(short)
}

/** A rehearsal in one sentence, with the setting to take where it has one. @param learningRate of the draft. */
export function rehearsalVerdict(rehearsal: Rehearsal, learningRate: number): JudgementVerdict {
  const { kind, steps, suggested } = rehearsal
  const time = `A run of ${rehearsal.totalSteps} steps takes about ${duration(rehearsal.seconds)} on this device.`
  if (kind === 'time') return { tone: 'good', text: time }
  if (kind === 'smoke') return smokeVerdict(steps, time)
  if (suggested === null) {
    return {
      tone: 'fair',
      text: 'The loss does not fall clearly at any rate: look at the examples, or take a larger batch.',
    }
  }
  const near = Math.abs(Math.log(suggested / learningRate)) < Math.log(2.1)
  return near
    ? {
        tone: 'good',
        text: `The learning rate of ${rateText(learningRate)} suits: the sweep suggests ${rateText(suggested)}.`,
      }
    : {
        tone: 'fair',
        text: `A learning rate of about ${rateText(suggested)} suits these examples; now it is ${rateText(learningRate)}.`,
        change: { learningRate: suggested },
        changeText: `Use ${rateText(suggested)}`,
      }
}

function smokeVerdict(steps: readonly RehearsalStep[], time: string): JudgementVerdict {
  const losses = steps.map(({ loss }) => loss)
  if (losses.some((loss) => !Number.isFinite(loss))) {
    return { tone: 'poor', text: 'A step gave no number: lower the learning rate before a long run.' }
  }
  const part = Math.max(1, Math.floor(losses.length / 4))
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [first, last] = [mean(losses.slice(0, part)), mean(losses.slice(-part))]
  if (last < 0.97 * first) {
    return {
      tone: 'good',
      text: `It works and learns: the loss fell from ${figure(first)} to ${figure(last)} in ${losses.length} steps. ${time}`,
    }
  }
  if (last > 1.1 * first) {
    return {
      tone: 'poor',
      text: `The loss rose from ${figure(first)} to ${figure(last)}: the learning rate is too high.`,
    }
  }
  return {
    tone: 'fair',
    text: `It works, but the loss hardly moved (${figure(first)} to ${figure(last)}): look for a rate that suits. ${time}`,
  }
}
