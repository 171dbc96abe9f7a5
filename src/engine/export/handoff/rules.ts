/** How a setting is said in another trainer's words, and what all trainers built on transformers call alike. Refuses to drop one silently. */
import { LORA_TARGETS, type Job, type SettingKey } from '../../../shared/job'

export type Options = Record<string, unknown>

/** Where a setting went that is no option of the tool: into the rows, into the script. */
export class Placed {
  readonly where: string

  constructor(where: string) {
    this.where = where
  }
}
/** What a setting becomes: options (none where it is not in use), a place, or a reason why it becomes nothing. */
export type Rule = (job: Job) => Options | Placed | string
export type Rules = Partial<Record<SettingKey, Rule>>

export const lost = (why: string): Rule => {
  return () => why
}
export const placed = (where: string): Rule => {
  return () => new Placed(where)
}
/** A rule that counts only while a choice is made; else the setting is not in use. */
export const only = (used: (job: Job) => boolean, rule: Rule): Rule => {
  return (job) => (used(job) ? rule(job) : {})
}
/** Whether a job adapts all linear layers, whatever a family calls them. */
export const adaptsAll = ({ targets }: Job): boolean => LORA_TARGETS.every((target) => targets.includes(target))
export const HERE = 'It belongs to this program alone.'
/** Folder of the adapter that a job starts from, in the hand-off. */
export const START = 'start'

/** transformers' names of the schedules. */
function schedule(job: Job, steps: number): Options {
  const { finalRate: rest, learningRate, warmupSteps, warmupRatio } = job
  const named = (name: string, kwargs?: Options): Options => ({
    lr_scheduler_type: name,
    ...(kwargs ? { lr_scheduler_kwargs: kwargs } : {}),
  })
  const steady = warmupSteps > 0 || warmupRatio > 0 ? 'constant_with_warmup' : 'constant'
  switch (job.schedule) {
    case 'cosine':
      return rest > 0 ? named('cosine_with_min_lr', { min_lr_rate: rest }) : named('cosine')
    case 'linear':
      if (rest === 1) return named(steady)
      // A line that ends above zero is a polynomial of power 1.
      return rest > 0 ? named('polynomial', { power: 1, lr_end: rest * learningRate }) : named('linear')
    case 'constant':
      return named(steady)
    case 'cosine-restarts':
      return named('cosine_with_restarts', { num_cycles: job.cycles })
    case 'polynomial':
      return rest === 1 ? named(steady) : named('polynomial', { power: job.power, lr_end: rest * learningRate })
    case 'wsd':
      return named('warmup_stable_decay', {
        num_decay_steps: Math.max(1, Math.round(steps * job.decayShare)),
        // Finetab's way down; transformers' own default is a cosine.
        decay_type: '1-sqrt',
        min_lr_ratio: rest,
      })
    case 'plateau':
      return named('reduce_lr_on_plateau', { patience: job.plateauPatience, factor: job.plateauFactor })
  }
}

const OPTIMISERS: Partial<Record<Job['optimizer'], string>> = {
  adamw: 'adamw_torch',
  'adamw-8bit': 'adamw_bnb_8bit',
  sgd: 'sgd',
  lion: 'lion_32bit',
}
const inSchedule = placed('in lr_scheduler_kwargs')
const inRows = placed('in the rows of data/train.jsonl')

/**
 * What all trainers that are built on transformers' Trainer call alike.
 * @param steps how many the run has.
 */
export function trainerRules(steps: number): Rules {
  return {
    learningRate: ({ learningRate }) => ({ learning_rate: learningRate }),
    batchSize: ({ batchSize }) => ({ per_device_train_batch_size: batchSize, per_device_eval_batch_size: batchSize }),
    gradAccum: ({ gradAccum }) => ({ gradient_accumulation_steps: gradAccum }),
    weightDecay: ({ weightDecay }) => ({ weight_decay: weightDecay }),
    clip: ({ clip }) => ({ max_grad_norm: clip }),
    optimizer: ({ optimizer }) => {
      const optim = OPTIMISERS[optimizer]
      return optim ? { optim } : 'The trainer has no such optimiser.'
    },
    momentum: lost("The trainer's optimisers have no momentum setting."),
    adamBeta1: ({ adamBeta1 }) => ({ adam_beta1: adamBeta1 }),
    adamBeta2: ({ adamBeta2 }) => ({ adam_beta2: adamBeta2 }),
    adamEpsilon: ({ adamEpsilon }) => ({ adam_epsilon: adamEpsilon }),
    epochs: ({ epochs }) => ({ num_train_epochs: epochs }),
    steps: ({ steps: exact }) => (exact > 0 ? { max_steps: exact } : {}),
    schedule: (job) => schedule(job, steps),
    ...{ cycles: inSchedule, power: inSchedule, decayShare: inSchedule },
    ...{ plateauPatience: inSchedule, plateauFactor: inSchedule },
    finalRate: ({ finalRate, schedule: name }) => {
      if (finalRate === 0) return {}
      return name === 'cosine-restarts' ? 'This schedule ends at zero there.' : new Placed('in lr_scheduler_kwargs')
    },
    warmupSteps: ({ warmupSteps }) => (warmupSteps > 0 ? { warmup_steps: warmupSteps } : {}),
    neftune: ({ neftune }) => (neftune > 0 ? { neftune_noise_alpha: neftune } : {}),
    labelSmoothing: ({ labelSmoothing }) => (labelSmoothing > 0 ? { label_smoothing_factor: labelSmoothing } : {}),
    ema: lost('The trainer keeps no running mean of the weights.'),
    evalEvery: ({ evalEvery }) => ({ eval_strategy: 'steps', eval_steps: evalEvery > 0 ? evalEvery : 0.1 }),
    saveEvery: ({ saveEvery }) => ({ save_strategy: 'steps', save_steps: saveEvery > 0 ? saveEvery : 0.1 }),
    seed: ({ seed }) => ({ seed, data_seed: seed }),
    samplePrompt: lost('The trainer shows no sample while it trains.'),
    sampleTokens: lost('The trainer shows no sample while it trains.'),
    backend: lost(HERE),
    ...rowRules(),
  }
}

/** Settings that are done with once the rows are written. */
export function rowRules(): Rules {
  const inSplit = placed('in data/valid.jsonl')
  const others = lost('Only the examples themselves are written; mix the other rows in there.')
  return {
    data: placed('in data/train.jsonl'),
    ...{ evalData: inSplit, evalFraction: inSplit, evalSplit: inSplit, splitBy: inSplit },
    subset: only(({ subset }) => subset > 0, inRows),
    ...{ mix: others, replayShare: others },
    replayData: only(({ replayShare }) => replayShare > 0, others),
  }
}
