/** Curves with known causes, for the diagnosis to be tested on. Refuses chance that a seed does not fix. */
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import type { Verdict } from '../../../src/insight/diagnosis'
import { completeJob, type Job } from '../../../src/shared/job'
import { MetricBuffer } from '../../../src/shared/metrics'
import recorded from './recorded.json'

export interface Curve {
  name: string
  cause: Verdict
  metrics: MetricBuffer
  job: Job
}

interface Recipe {
  name: string
  cause: Verdict
  steps: number
  /** Training loss at step 1 … steps, before noise. */
  train: (step: number) => number
  /** Validation loss; none if left out. */
  evals?: (step: number) => number
  noise?: number
  evalNoise?: number
  /** Gradient norm at a step; 1 if left out. */
  norm?: (step: number) => number
  /** Steps a pass. */
  pass?: number
  /** Steps made so far, where the run is not over. */
  made?: number
  job?: Partial<Job>
}

const fall = (floor: number, height: number, tau: number) => (step: number) => floor + height * Math.exp(-step / tau)

/** A U: falls with tau, and rises by `slope` a step after `turn`. */
const turning = (floor: number, height: number, tau: number, turn: number, slope: number) => (step: number) =>
  floor + height * Math.exp(-step / tau) + Math.max(0, step - turn) * slope

const RECIPES: Recipe[] = [
  {
    name: 'identity, memorised by a tiny model',
    cause: 'healthy',
    steps: 200,
    train: fall(0.15, 4, 40),
    evals: fall(0.5, 3.5, 40),
    noise: 0.12,
    pass: 20,
  },
  {
    name: 'a chat set on 135M',
    cause: 'healthy',
    steps: 300,
    train: fall(1.4, 1.1, 60),
    evals: fall(1.45, 1.05, 60),
    noise: 0.12,
    pass: 100,
  },
  {
    name: 'stories, all tokens',
    cause: 'healthy',
    steps: 400,
    train: fall(1.9, 0.8, 90),
    evals: fall(1.95, 0.75, 90),
    noise: 0.06,
    pass: 130,
  },
  {
    name: 'a long run with a large batch',
    cause: 'healthy',
    steps: 1500,
    train: fall(1.1, 1.4, 300),
    evals: fall(1.15, 1.4, 300),
    noise: 0.05,
    pass: 500,
  },
  {
    name: 'a short run without validation',
    cause: 'healthy',
    steps: 40,
    train: fall(0.8, 2.5, 10),
    noise: 0.15,
    pass: 10,
  },
  {
    name: 'classification',
    cause: 'healthy',
    steps: 250,
    train: fall(0.08, 3, 25),
    evals: fall(0.12, 3, 25),
    noise: 0.06,
    pass: 60,
  },
  {
    name: 'constant rate',
    cause: 'healthy',
    steps: 300,
    train: fall(1.2, 2, 60),
    evals: fall(1.25, 2, 60),
    noise: 0.1,
    job: { schedule: 'constant' },
  },
  {
    name: 'linear schedule with warm-up',
    cause: 'healthy',
    steps: 200,
    train: (s) => fall(1, 2, 40)(Math.max(0, s - 8)),
    evals: (s) => fall(1.1, 2, 40)(Math.max(0, s - 8)),
    noise: 0.1,
    job: { schedule: 'linear', warmupSteps: 12 },
  },
  {
    name: 'one odd batch',
    cause: 'healthy',
    steps: 200,
    train: (s) => fall(1.1, 2, 40)(s) + (s === 120 ? 3 : 0),
    evals: fall(1.2, 2, 40),
    noise: 0.1,
  },
  {
    name: 'a bump that is got over',
    cause: 'healthy',
    steps: 300,
    train: (s) => fall(1.1, 2, 60)(s) + (s > 80 && s < 95 ? 0.5 : 0),
    evals: fall(1.2, 2, 60),
    noise: 0.1,
  },
  {
    name: 'a step down at each pass',
    cause: 'healthy',
    steps: 300,
    train: (s) => 2.2 * 0.6 ** Math.floor(s / 100) + 0.1,
    evals: fall(1, 1.2, 80),
    noise: 0.1,
    pass: 100,
  },
  {
    name: 'validation levels off',
    cause: 'healthy',
    steps: 300,
    train: fall(0.9, 2, 70),
    evals: fall(1.2, 1.7, 60),
    noise: 0.1,
    evalNoise: 0.005,
  },
  {
    name: 'validation a hair above its best',
    cause: 'healthy',
    steps: 300,
    train: fall(0.9, 2, 70),
    evals: turning(1.2, 1.7, 50, 250, 0.0002),
    noise: 0.1,
    evalNoise: 0.003,
  },
  {
    name: 'half-way',
    cause: 'healthy',
    steps: 400,
    made: 150,
    train: fall(1, 2, 80),
    evals: fall(1.1, 2, 80),
    noise: 0.1,
  },
  {
    name: 'half-way, falling fast still',
    cause: 'healthy',
    steps: 400,
    made: 120,
    train: fall(1, 2, 200),
    evals: fall(1.1, 2, 200),
    noise: 0.08,
  },
  { name: 'a handful of rows, 30 steps', cause: 'healthy', steps: 30, train: fall(0.4, 3, 8), noise: 0.08, pass: 3 },
  {
    name: 'a rough start',
    cause: 'healthy',
    steps: 200,
    train: (s) => fall(0.9, 2, 40)(s) + (s < 4 ? 2 : 0),
    evals: fall(1, 2, 40),
    noise: 0.12,
  },
  {
    name: 'file order, no waves',
    cause: 'healthy',
    steps: 200,
    train: fall(0.9, 2, 40),
    noise: 0.1,
    pass: 40,
    job: { shuffle: false },
  },
  {
    name: 'noise of small batches, within bounds',
    cause: 'healthy',
    steps: 300,
    train: fall(1, 2, 60),
    evals: fall(1.1, 2, 60),
    noise: 0.28,
  },

  {
    name: 'few rows, many passes',
    cause: 'overfitting',
    steps: 300,
    train: fall(0.1, 2.5, 50),
    evals: turning(0.9, 2, 30, 100, 0.003),
    noise: 0.08,
    pass: 20,
  },
  {
    name: 'learnt by heart quickly',
    cause: 'overfitting',
    steps: 200,
    train: fall(0.03, 3, 25),
    evals: turning(1.2, 2, 15, 50, 0.006),
    noise: 0.05,
    pass: 20,
  },
  {
    name: 'late turn',
    cause: 'overfitting',
    steps: 500,
    train: fall(0.5, 2, 120),
    evals: turning(1.1, 1.5, 70, 300, 0.001),
    noise: 0.08,
    evalNoise: 0.005,
    pass: 60,
  },
  {
    name: 'steep turn on a noisy set',
    cause: 'overfitting',
    steps: 300,
    train: fall(0.3, 2, 70),
    evals: turning(1.3, 1.4, 40, 120, 0.004),
    noise: 0.2,
    evalNoise: 0.02,
    pass: 40,
  },
  {
    name: 'from the second evaluation on',
    cause: 'overfitting',
    steps: 150,
    train: fall(0.1, 2, 20),
    evals: turning(1.5, 1, 8, 20, 0.008),
    noise: 0.08,
    pass: 10,
  },
  {
    name: 'staircase of passes',
    cause: 'overfitting',
    steps: 300,
    train: (s) => 1.8 * 0.45 ** Math.floor(s / 60),
    evals: turning(1.4, 0.5, 40, 90, 0.003),
    noise: 0.06,
    pass: 60,
  },
  {
    name: 'while it runs',
    cause: 'overfitting',
    steps: 600,
    made: 300,
    train: fall(0.2, 2, 60),
    evals: turning(1.1, 1.6, 35, 110, 0.003),
    noise: 0.08,
    evalNoise: 0.006,
    pass: 30,
  },

  {
    name: 'rises slowly after a good start',
    cause: 'diverging',
    steps: 300,
    train: turning(1.2, 1.8, 30, 110, 0.012),
    noise: 0.1,
  },
  {
    name: 'jumps up and stays',
    cause: 'diverging',
    steps: 200,
    train: (s) => (s < 90 ? fall(1.1, 2, 30)(s) : 6.5),
    noise: 0.15,
  },
  {
    name: 'goes up from the first steps',
    cause: 'diverging',
    steps: 80,
    train: (s) => 3 + 4 * (1 - Math.exp(-s / 20)),
    noise: 0.3,
  },
  {
    name: 'no number',
    cause: 'diverging',
    steps: 120,
    train: (s) => (s < 70 ? fall(1.1, 2, 30)(s) : Number.NaN),
    noise: 0.1,
  },
  { name: 'no number from the first step', cause: 'diverging', steps: 40, train: () => Number.NaN },
  {
    name: 'blows up at the end of warm-up',
    cause: 'diverging',
    steps: 150,
    train: (s) => (s < 20 ? 3 - s * 0.03 : Math.min(8, 2.4 + (s - 20) * 0.3)),
    noise: 0.2,
    job: { warmupSteps: 20 },
  },
  {
    name: 'forgets half of what it learnt',
    cause: 'diverging',
    steps: 250,
    train: (s) => (s < 120 ? fall(1, 2, 30)(s) : Math.min(2.6, 1.04 + (s - 120) * 0.03)),
    noise: 0.12,
  },

  {
    name: 'rate a hundred times too low',
    cause: 'slow',
    steps: 200,
    train: (s) => 3.1 - s * 0.0002,
    evals: (s) => 3.2 - s * 0.0002,
    noise: 0.08,
    job: { learningRate: 1e-6 },
  },
  { name: 'a flat line', cause: 'slow', steps: 120, train: () => 2.4, noise: 0.12, job: { learningRate: 1e-7 } },
  {
    name: 'two percent in a whole run',
    cause: 'slow',
    steps: 400,
    train: (s) => 2.8 - s * 0.00013,
    evals: (s) => 2.85 - s * 0.00012,
    noise: 0.1,
    job: { learningRate: 5e-6 },
  },
  { name: 'flat and noisy', cause: 'slow', steps: 300, train: () => 3.4, noise: 0.25, job: { learningRate: 1e-6 } },
  {
    name: 'flat so far',
    cause: 'slow',
    steps: 1000,
    made: 100,
    train: () => 2.2,
    noise: 0.08,
    job: { learningRate: 1e-6 },
  },

  {
    name: 'a rank of one at a constant rate',
    cause: 'plateau',
    steps: 300,
    train: fall(2.5, 0.6, 20),
    evals: fall(2.55, 0.6, 20),
    noise: 0.05,
    job: { schedule: 'constant', rank: 1 },
  },
  {
    name: 'stuck early',
    cause: 'plateau',
    steps: 500,
    train: fall(1.9, 0.7, 30),
    evals: fall(1.95, 0.7, 30),
    noise: 0.06,
    job: { schedule: 'constant', rank: 2 },
  },
  {
    name: 'stuck while it runs',
    cause: 'plateau',
    steps: 1000,
    made: 400,
    train: fall(2.2, 1, 25),
    evals: fall(2.2, 1, 25),
    noise: 0.08,
    job: { schedule: 'constant' },
  },
  {
    name: 'one layer adapted',
    cause: 'plateau',
    steps: 240,
    train: fall(3, 0.8, 15),
    noise: 0.06,
    job: { schedule: 'constant', rank: 4, targets: ['q_proj'] },
  },

  {
    name: 'a single pass over a hard set',
    cause: 'underfitting',
    steps: 60,
    train: (s) => 3.4 - s * 0.015,
    evals: (s) => 3.4 - s * 0.0145,
    noise: 0.06,
    pass: 60,
    job: { schedule: 'constant', epochs: 1 },
  },
  {
    name: 'ended in mid-fall',
    cause: 'underfitting',
    steps: 100,
    train: fall(0.5, 3, 110),
    evals: fall(0.6, 3, 110),
    noise: 0.08,
    job: { schedule: 'constant' },
  },
  {
    name: 'a low rate, steadily down',
    cause: 'underfitting',
    steps: 200,
    train: (s) => 3 - s * 0.004,
    evals: (s) => 3.05 - s * 0.004,
    noise: 0.1,
    job: { schedule: 'constant', learningRate: 2e-5 },
  },
  {
    name: 'long warm-up',
    cause: 'underfitting',
    steps: 120,
    train: (s) => 3 - 0.00008 * s * s,
    evals: (s) => 3 - 0.00008 * s * s,
    noise: 0.06,
    job: { schedule: 'constant', warmupSteps: 80 },
  },
  {
    name: 'linear schedule, too short',
    cause: 'underfitting',
    steps: 80,
    train: fall(0.8, 2.4, 75),
    noise: 0.06,
    job: { schedule: 'linear' },
  },

  {
    name: 'single rows of every kind',
    cause: 'noisy',
    steps: 300,
    train: fall(1.6, 1.4, 50),
    evals: fall(1.6, 1.4, 50),
    noise: 0.9,
    job: { batchSize: 1 },
  },
  {
    name: 'swings',
    cause: 'noisy',
    steps: 300,
    train: (s) => fall(1.4, 1.4, 40)(s) + 0.35 * Math.sin(s / 7),
    noise: 0.15,
    job: { batchSize: 1 },
  },
  {
    name: 'too few rows a step at a high rate',
    cause: 'noisy',
    steps: 400,
    train: (s) => fall(1.2, 2, 50)(s) + 0.3 * Math.sin(s / 11) + 0.2 * Math.sin(s / 5),
    noise: 0.4,
    job: { batchSize: 2 },
  },
  { name: 'wild batches', cause: 'noisy', steps: 500, train: fall(2, 1.2, 60), noise: 1.1, job: { batchSize: 1 } },

  { name: 'every label masked', cause: 'masked', steps: 60, train: () => 0, norm: () => 0 },
  { name: 'every label masked, seen at once', cause: 'masked', steps: 60, made: 4, train: () => 0, norm: () => 0 },
  {
    name: 'long prompts that push the answer out',
    cause: 'masked',
    steps: 200,
    train: (s) => (s % 7 === 0 ? 0 : fall(1, 2, 40)(s)),
    norm: (s) => (s % 7 === 0 ? 0 : 1),
    noise: 0.1,
  },
  { name: 'labels that are known already', cause: 'zero-loss', steps: 60, train: () => 0.0001 },
  { name: 'the answer stands in the prompt', cause: 'zero-loss', steps: 100, train: () => 0.002, noise: 0.0005 },
  { name: 'one row over and over', cause: 'zero-loss', steps: 200, train: fall(0, 3, 12), noise: 0.0005 },
  {
    name: 'repeated rows on both sides',
    cause: 'zero-loss',
    steps: 200,
    train: fall(0.001, 3, 10),
    evals: fall(0.002, 3, 10),
    noise: 0.0003,
  },

  {
    name: 'sorted by length',
    cause: 'order',
    steps: 300,
    train: (s) => fall(1.2, 1, 60)(s) + 0.6 * Math.sin((2 * Math.PI * s) / 60),
    noise: 0.1,
    pass: 60,
    job: { shuffle: false },
  },
  {
    name: 'one subject after the other',
    cause: 'order',
    steps: 400,
    train: (s) => fall(1.4, 1, 80)(s) + (s % 100 < 50 ? 0.4 : -0.4),
    noise: 0.12,
    pass: 100,
    job: { shuffle: false },
  },
  {
    name: 'easy rows first',
    cause: 'order',
    steps: 240,
    train: (s) => fall(1.2, 1, 60)(s) + 0.5 * Math.cos((2 * Math.PI * s) / 80),
    noise: 0.1,
    pass: 80,
    job: { shuffle: false },
  },

  { name: 'nothing yet', cause: 'too-early', steps: 100, made: 0, train: () => 3 },
  { name: 'three steps', cause: 'too-early', steps: 100, made: 3, train: () => 3, noise: 0.2 },
  { name: 'nine steps', cause: 'too-early', steps: 100, made: 9, train: fall(1, 2, 30), noise: 0.2 },
]

/** Every curve of the library, drawn with the noise of a seed. */
export function library(seed: number): Curve[] {
  return RECIPES.map((recipe, i) => draw(recipe, seed * 1000 + i))
}

function draw(recipe: Recipe, seed: number): Curve {
  const generator = xoroshiro128plus(seed)
  for (let i = 0; i < 20; i++) uniformFloat64(generator)
  const normal = () =>
    Math.sqrt(-2 * Math.log(1 - uniformFloat64(generator))) * Math.cos(2 * Math.PI * uniformFloat64(generator))
  const pass = recipe.pass ?? Math.ceil(recipe.steps / 3)
  const job = completeJob({ learningRate: 1e-3, epochs: recipe.steps / pass, ...recipe.job })
  const metrics = new MetricBuffer()
  const every = Math.max(1, Math.floor(recipe.steps / 10))
  for (let step = 1; step <= (recipe.made ?? recipe.steps); step++) {
    // Loss cannot be negative, and batches of a falling loss differ less.
    const clean = recipe.train(step)
    const loss = Math.max(0, clean + (recipe.noise ?? 0) * normal() * Math.min(1, Math.max(clean, 0.02)))
    const shared = { step, epoch: step / pass, time: step * 100 }
    const bad = Number.isNaN(clean)
    metrics.push({
      ...shared,
      loss: bad ? Number.NaN : loss,
      gradNorm: bad ? Number.NaN : (recipe.norm?.(step) ?? 1),
      learningRate: rateAt(step, recipe.steps, job),
      tokens: 100,
    })
    if (recipe.evals && step % every === 0)
      metrics.push({ ...shared, evalLoss: Math.max(0, recipe.evals(step) + (recipe.evalNoise ?? 0) * normal()) })
  }
  return { name: recipe.name, cause: recipe.cause, metrics, job }
}

/** The schedules of transformers. */
function rateAt(step: number, steps: number, job: Job): number {
  const at = step - 1
  if (at < job.warmupSteps) return (job.learningRate * at) / job.warmupSteps
  const share = (at - job.warmupSteps) / Math.max(1, steps - job.warmupSteps)
  if (job.schedule === 'constant') return job.learningRate
  return job.learningRate * (job.schedule === 'linear' ? 1 - share : 0.5 * (1 + Math.cos(Math.PI * share)))
}

/** Curves of real runs, with what is known about them. */
export function recordings(): Curve[] {
  return recorded.curves.map((run) => {
    const metrics = new MetricBuffer()
    const evals = new Map(run.evals.map(([step, loss]) => [step, loss]))
    run.step.forEach((step, i) => {
      const shared = { step, epoch: run.epoch[i] as number }
      metrics.push({
        ...shared,
        loss: run.loss[i] as number,
        gradNorm: run.gradNorm[i] as number,
        learningRate: run.learningRate[i] as number,
      })
      const evalLoss = evals.get(step)
      if (evalLoss !== undefined) metrics.push({ ...shared, evalLoss })
    })
    return { name: run.name, cause: run.cause as Verdict, metrics, job: completeJob(run.job) }
  })
}
