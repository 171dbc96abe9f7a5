/**
 * Learning rates by step as transformers has them, and PyTorch's reduction on a plateau. Refuses state: the rate follows from the
 * step and, for a plateau, from the validation losses so far, which are in every checkpoint.
 */
import { warmupOf, type Job } from '../../shared/job'

/** What a schedule depends on. */
export type ScheduleSettings = Pick<
  Job,
  | 'schedule'
  | 'learningRate'
  | 'warmupSteps'
  | 'warmupRatio'
  | 'cycles'
  | 'power'
  | 'decayShare'
  | 'finalRate'
  | 'plateauPatience'
  | 'plateauFactor'
>

/**
 * The learning rate of a step, the first being 1: transformers' lambda at `step - 1`, so that with warm-up step 1 has 0.
 * Source: transformers optimization.py, get_{cosine,linear,constant,polynomial_decay,cosine_with_hard_restarts,wsd}_schedule…
 * @param evalLosses validation losses so far, in order; what is not finite is passed over.
 */
export function learningRate(
  settings: ScheduleSettings,
  step: number,
  totalSteps: number,
  evalLosses: ArrayLike<number> = [],
): number {
  const at = step - 1
  const warmup = warmupOf(settings, totalSteps)
  const { schedule, learningRate: peak, finalRate } = settings
  if (at < warmup) return peak * (at / Math.max(1, warmup))
  if (schedule === 'constant') return peak
  if (schedule === 'plateau') return peak * plateau(settings, evalLosses)
  const rest = Math.max(1, totalSteps - warmup)
  const left = Math.max(0, shape(settings, Math.min(1, (at - warmup) / rest), totalSteps, rest))
  return peak * (finalRate + (1 - finalRate) * left)
}

/** What is left of the rate after a share `done` of the steps after the warm-up: 1 at first, 0 at the end. */
function shape(settings: ScheduleSettings, done: number, totalSteps: number, rest: number): number {
  switch (settings.schedule) {
    case 'linear':
      return 1 - done
    case 'polynomial':
      return (1 - done) ** settings.power
    case 'cosine-restarts':
      return done >= 1 ? 0 : cosine((settings.cycles * done) % 1)
    case 'wsd': {
      // Down by 1 - sqrt (Hägele et al. 2024), which transformers calls "1-sqrt".
      const decay = Math.min(rest, Math.max(1, Math.round(totalSteps * settings.decayShare)))
      return 1 - Math.sqrt(Math.max(0, (done * rest - (rest - decay)) / decay))
    }
    default:
      return cosine(done)
  }
}

function cosine(done: number): number {
  return 0.5 * (1 + Math.cos(Math.PI * done))
}

/** A loss must fall by this share to count as better: PyTorch's `threshold`, relative. */
const BETTER = 1e-4

/** The product of all reductions so far. Source: torch.optim.lr_scheduler.ReduceLROnPlateau with its defaults but patience and factor. */
function plateau({ plateauPatience, plateauFactor }: ScheduleSettings, losses: ArrayLike<number>): number {
  let [best, bad, factor] = [Number.POSITIVE_INFINITY, 0, 1]
  for (let i = 0; i < losses.length; i++) {
    const loss = losses[i] as number
    if (!Number.isFinite(loss)) continue
    if (loss < best * (1 - BETTER)) [best, bad] = [loss, 0]
    else bad++
    if (bad > plateauPatience) [factor, bad] = [factor * plateauFactor, 0]
  }
  return factor
}
