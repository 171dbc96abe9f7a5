/**
 * Every setting of a job in the words of other trainers: LLaMA-Factory, TRL with PEFT, mlx-lm. What a tool has no word for is listed with
 * the reason. Refuses to drop a setting silently: one without a rule is listed as well.
 */
import { SETTING_LIST, SETTINGS, type Job, type SettingKey } from '../../../shared/job'

export type Tool = 'llama-factory' | 'trl' | 'peft' | 'mlx'
export type Options = Record<string, unknown>

/** Where a setting went that is no option of the tool: into the rows, into the script. */
class Placed {
  readonly where: string

  constructor(where: string) {
    this.where = where
  }
}
/** What a setting becomes: options (none where it is not in use), a place, or a reason why it becomes nothing. */
type Rule = (job: Job) => Options | Placed | string
type Rules = Partial<Record<SettingKey, Rule>>

/** What became of a setting: option names, or where it went or why it did not, in words. */
export interface Fate {
  key: SettingKey
  label: string
  value: Job[SettingKey]
  options: string[]
  text: string
  /** The tool has nothing like it. */
  isLost: boolean
}
export interface Translation {
  options: Options
  fates: Fate[]
}

const elsewhere = (why: string): Rule => {
  return () => why
}
const placed = (where: string): Rule => {
  return () => new Placed(where)
}
const HERE = 'It belongs to this program alone.'

/** transformers' names of the schedules. */
function schedule(job: Job, steps: number | null): Options | string {
  const minimum = job.finalRate
  switch (job.schedule) {
    case 'cosine':
      return minimum > 0
        ? { lr_scheduler_type: 'cosine_with_min_lr', lr_scheduler_kwargs: { min_lr_rate: minimum } }
        : { lr_scheduler_type: 'cosine' }
    case 'linear':
      return { lr_scheduler_type: 'linear' }
    case 'constant':
      return { lr_scheduler_type: job.warmupSteps > 0 || job.warmupRatio > 0 ? 'constant_with_warmup' : 'constant' }
    case 'cosine-restarts':
      return { lr_scheduler_type: 'cosine_with_restarts', lr_scheduler_kwargs: { num_cycles: job.cycles } }
    case 'polynomial':
      return {
        lr_scheduler_type: 'polynomial',
        lr_scheduler_kwargs: { power: job.power, lr_end: minimum * job.learningRate },
      }
    case 'wsd':
      if (steps === null) return 'A steady schedule needs the number of steps, which only the trainer knows here.'
      return {
        lr_scheduler_type: 'warmup_stable_decay',
        lr_scheduler_kwargs: { num_decay_steps: Math.max(1, Math.round(steps * job.decayShare)) },
      }
    case 'plateau':
      return {
        lr_scheduler_type: 'reduce_lr_on_plateau',
        lr_scheduler_kwargs: { patience: job.plateauPatience, factor: job.plateauFactor },
      }
  }
}

/** A rule that counts only while a choice is made; else the setting is not in use. */
const only = (used: (job: Job) => boolean, rule: Rule): Rule => {
  return (job) => (used(job) ? rule(job) : {})
}

const OPTIMISERS: Partial<Record<Job['optimizer'], string>> = {
  adamw: 'adamw_torch',
  'adamw-8bit': 'adamw_bnb_8bit',
  sgd: 'sgd',
  lion: 'lion_32bit',
}

/** What all trainers that are built on transformers' Trainer call alike. */
const TRAINER: Rules = {
  learningRate: ({ learningRate }) => ({ learning_rate: learningRate }),
  batchSize: ({ batchSize }) => ({ per_device_train_batch_size: batchSize, per_device_eval_batch_size: batchSize }),
  gradAccum: ({ gradAccum }) => ({ gradient_accumulation_steps: gradAccum }),
  weightDecay: ({ weightDecay }) => ({ weight_decay: weightDecay }),
  clip: ({ clip }) => ({ max_grad_norm: clip }),
  optimizer: ({ optimizer }) => {
    const optim = OPTIMISERS[optimizer]
    return optim ? { optim } : 'The trainer has no such optimiser.'
  },
  momentum: only(
    ({ optimizer }) => optimizer === 'sgd' || optimizer === 'muon',
    elsewhere("The trainer's SGD has no momentum setting."),
  ),
  adamBeta1: ({ adamBeta1 }) => ({ adam_beta1: adamBeta1 }),
  adamBeta2: ({ adamBeta2 }) => ({ adam_beta2: adamBeta2 }),
  adamEpsilon: ({ adamEpsilon }) => ({ adam_epsilon: adamEpsilon }),
  epochs: ({ epochs }) => ({ num_train_epochs: epochs }),
  steps: ({ steps }) => (steps > 0 ? { max_steps: steps } : {}),
  schedule: (job) => schedule(job, job.steps || null),
  cycles: () => ({}),
  power: () => ({}),
  decayShare: () => ({}),
  plateauPatience: () => ({}),
  plateauFactor: () => ({}),
  finalRate: only(
    ({ finalRate, schedule: name }) => finalRate > 0 && name !== 'cosine' && name !== 'polynomial',
    elsewhere('This schedule ends at zero there.'),
  ),
  warmupSteps: ({ warmupSteps }) => (warmupSteps > 0 ? { warmup_steps: warmupSteps } : {}),
  neftune: ({ neftune }) => (neftune > 0 ? { neftune_noise_alpha: neftune } : {}),
  labelSmoothing: ({ labelSmoothing }) => (labelSmoothing > 0 ? { label_smoothing_factor: labelSmoothing } : {}),
  ema: only(({ ema }) => ema > 0, elsewhere('The trainer keeps no running mean of the weights.')),
  evalEvery: ({ evalEvery }) => ({ eval_strategy: 'steps', eval_steps: evalEvery > 0 ? evalEvery : 0.1 }),
  saveEvery: ({ saveEvery }) => ({ save_strategy: 'steps', save_steps: saveEvery > 0 ? saveEvery : 0.1 }),
  seed: ({ seed }) => ({ seed, data_seed: seed }),
  samplePrompt: elsewhere('The trainer shows no sample while it trains.'),
  sampleTokens: elsewhere('The trainer shows no sample while it trains.'),
  backend: elsewhere(HERE),
  evalFraction: placed('in data/valid.jsonl'),
  evalData: placed('in data/valid.jsonl'),
  data: placed('in data/train.jsonl'),
  initAdapter: ({ initAdapter }) => (initAdapter ? 'Copy the adapter there and name it in the script.' : {}),
}

const LLAMA_FACTORY: Rules = {
  ...TRAINER,
  model: ({ model }) => ({ model_name_or_path: model }),
  initAdapter: ({ initAdapter }) => (initAdapter ? { adapter_name_or_path: initAdapter } : {}),
  trainOn: ({ trainOn }) => ({
    train_on_prompt: trainOn === 'all',
    ...(trainOn === 'last' ? { mask_history: true } : {}),
  }),
  maxLength: ({ maxLength }) => ({ cutoff_len: maxLength }),
  shuffle: ({ shuffle }) => ({ disable_shuffling: !shuffle }),
  packing: ({ packing }) => (packing ? { packing: true, neat_packing: true } : {}),
  quantization: ({ quantization }) => {
    if (quantization === 'nf4') return { quantization_bit: 4, quantization_method: 'bnb', quantization_type: 'nf4' }
    if (quantization === 'int8') return { quantization_bit: 8, quantization_method: 'bnb' }
    return quantization === 'f16' ? 'Choose fp16 or bf16 there, by what the machine can do.' : {}
  },
  rank: ({ rank }) => ({ lora_rank: rank }),
  alpha: ({ alpha }) => (Number.isInteger(alpha) ? { lora_alpha: alpha } : 'lora_alpha is a whole number there.'),
  dropout: ({ dropout }) => ({ lora_dropout: dropout }),
  targets: ({ targets }) => ({ lora_target: targets.join(',') }),
  optimizer: ({ optimizer }) =>
    optimizer === 'muon' ? { use_muon: true } : (TRAINER.optimizer as Rule)({ optimizer } as Job),
  warmupRatio: ({ warmupRatio, warmupSteps }) =>
    warmupRatio > 0 && warmupSteps === 0 ? { warmup_ratio: warmupRatio } : {},
  earlyStop: ({ earlyStop }) =>
    earlyStop > 0
      ? { early_stopping_steps: earlyStop, load_best_model_at_end: true, metric_for_best_model: 'eval_loss' }
      : {},
}

const TRL: Rules = {
  ...TRAINER,
  model: placed('in the script: MODEL'),
  trainOn: ({ trainOn }) => ({ completion_only_loss: trainOn !== 'all' }),
  maxLength: ({ maxLength }) => ({ max_length: maxLength }),
  shuffle: ({ shuffle }) => (shuffle ? {} : { train_sampling_strategy: 'sequential' }),
  packing: ({ packing }) => ({ packing }),
  quantization: ({ quantization }) =>
    quantization === 'none' ? {} : new Placed('in the script, where the model is loaded'),
  warmupRatio: ({ warmupRatio, warmupSteps }) =>
    warmupRatio > 0 && warmupSteps === 0 ? { warmup_steps: warmupRatio } : {},
  earlyStop: ({ earlyStop }) =>
    earlyStop > 0 ? { load_best_model_at_end: true, metric_for_best_model: 'eval_loss', greater_is_better: false } : {},
  rank: elsewhere("It stands in the script's LoRA settings."),
  alpha: elsewhere("It stands in the script's LoRA settings."),
  dropout: elsewhere("It stands in the script's LoRA settings."),
  targets: elsewhere("It stands in the script's LoRA settings."),
}

const PEFT: Rules = {
  rank: ({ rank }) => ({ r: rank }),
  alpha: ({ alpha }) => ({ lora_alpha: alpha }),
  dropout: ({ dropout }) => ({ lora_dropout: dropout }),
  targets: ({ targets }) => ({ target_modules: [...targets] }),
}

const UNKNOWN_TO_MLX = 'mlx-lm has no such setting.'
/** Part of a Llama-like model's layer that a target stands in, as mlx-lm names it. */
const MLX_PLACES: Readonly<Record<string, string>> = {
  ...{ q_proj: 'self_attn', k_proj: 'self_attn', v_proj: 'self_attn', o_proj: 'self_attn' },
  ...{ gate_proj: 'mlp', up_proj: 'mlp', down_proj: 'mlp' },
}

/** @param steps how many the run has. */
function mlxRules(steps: number): Rules {
  return {
    model: ({ model }) => ({ model }),
    data: () => ({ data: 'data' }),
    evalData: placed('in data/valid.jsonl'),
    evalFraction: placed('in data/valid.jsonl'),
    trainOn: ({ trainOn }) => ({ mask_prompt: trainOn !== 'all' }),
    maxLength: ({ maxLength }) => ({ max_seq_length: maxLength }),
    rank: ({ rank, alpha, dropout, targets }) => ({
      lora_parameters: {
        ...{ rank, scale: alpha / rank, dropout },
        keys: targets.map((target) => (MLX_PLACES[target] ? `${MLX_PLACES[target]}.${target}` : target)),
      },
    }),
    alpha: placed('in lora_parameters: scale'),
    dropout: placed('in lora_parameters'),
    targets: placed('in lora_parameters: keys'),
    learningRate: ({ learningRate }) => ({ learning_rate: learningRate }),
    batchSize: ({ batchSize }) => ({ batch_size: batchSize }),
    momentum: only(({ optimizer }) => optimizer === 'sgd' || optimizer === 'muon', elsewhere(UNKNOWN_TO_MLX)),
    cycles: () => ({}),
    power: () => ({}),
    decayShare: () => ({}),
    plateauPatience: () => ({}),
    plateauFactor: () => ({}),
    // mlx-lm counts batches where others count steps of the optimiser.
    gradAccum: ({ gradAccum }) => ({ grad_accumulation_steps: gradAccum }),
    steps: ({ gradAccum }) => ({ iters: steps * gradAccum }),
    epochs: placed('in iters'),
    weightDecay: ({ optimizer, weightDecay, adamBeta1, adamBeta2, adamEpsilon }) =>
      optimizer === 'adamw'
        ? {
            optimizer_config: {
              adamw: {
                weight_decay: weightDecay,
                betas: [adamBeta1, adamBeta2],
                eps: adamEpsilon,
                bias_correction: true,
              },
            },
          }
        : UNKNOWN_TO_MLX,
    adamBeta1: only(({ optimizer }) => optimizer === 'adamw', placed('in optimizer_config')),
    adamBeta2: only(({ optimizer }) => optimizer === 'adamw', placed('in optimizer_config')),
    adamEpsilon: only(({ optimizer }) => optimizer === 'adamw', placed('in optimizer_config')),
    optimizer: ({ optimizer }) =>
      optimizer === 'adamw' || optimizer === 'sgd' || optimizer === 'muon' ? { optimizer } : UNKNOWN_TO_MLX,
    schedule: (job) => mlxSchedule(job, steps),
    warmupSteps: ({ schedule: name, warmupSteps }) =>
      warmupSteps > 0 && name !== 'cosine' && name !== 'linear' ? UNKNOWN_TO_MLX : {},
    warmupRatio: only(({ warmupRatio }) => warmupRatio > 0, elsewhere(UNKNOWN_TO_MLX)),
    finalRate: () => ({}),
    evalEvery: ({ evalEvery, gradAccum }) => ({
      ...{ steps_per_eval: (evalEvery || Math.max(1, Math.min(100, Math.ceil(steps / 10)))) * gradAccum },
      val_batches: -1,
    }),
    saveEvery: ({ saveEvery, gradAccum }) => ({
      save_every: (saveEvery || Math.max(1, Math.min(100, Math.ceil(steps / 10)))) * gradAccum,
    }),
    seed: ({ seed }) => ({ seed }),
    initAdapter: ({ initAdapter }) =>
      initAdapter ? { resume_adapter_file: `${initAdapter}/adapters.safetensors` } : {},
    backend: elsewhere(HERE),
  }
}

function mlxSchedule(job: Job, steps: number): Options | string {
  const { learningRate, gradAccum, finalRate } = job
  const warmup = job.warmupSteps * gradAccum
  const rest = Math.max(1, steps * gradAccum - warmup)
  const end = finalRate * learningRate
  const known = { cosine: ['cosine_decay', [learningRate, rest, end]], linear: ['linear_schedule', [learningRate, end, rest]] } as const // prettier-ignore
  if (job.schedule === 'constant') return {}
  if (job.schedule !== 'cosine' && job.schedule !== 'linear') return UNKNOWN_TO_MLX
  const [name, values] = known[job.schedule]
  return { lr_schedule: { name, arguments: [...values], ...(warmup > 0 ? { warmup } : {}) } }
}

/**
 * A job in a tool's words.
 * @param steps how many steps the run has in all.
 */
export function translate(job: Job, tool: Tool, steps: number): Translation {
  const rules = { 'llama-factory': LLAMA_FACTORY, trl: TRL, peft: PEFT, mlx: mlxRules(steps) }[tool]
  const options: Options = {}
  const fates: Fate[] = []
  for (const [key, { label }] of SETTING_LIST) {
    const rule = rules[key]
    const found = rule ? rule(job) : 'It has no equivalent there.'
    const fate = { key, label, value: job[key], options: [], text: '', isLost: false }
    if (typeof found === 'string') fates.push(isUsed(job, key) ? { ...fate, text: found, isLost: true } : fate)
    else if (found instanceof Placed) fates.push({ ...fate, text: found.where })
    else {
      Object.assign(options, found)
      fates.push({ ...fate, options: Object.keys(found) })
    }
  }
  return { options, fates }
}

/** TRL's and PEFT's fates in one: what the one has no word for, the other may. */
export function together(first: Translation, second: Translation): Fate[] {
  return first.fates.map((fate, i) => {
    const other = second.fates[i] as Fate
    return fate.isLost && other.options.length > 0 ? other : fate
  })
}

/** Whether a setting says anything: switched off is nothing to carry over. */
function isUsed(job: Job, key: SettingKey): boolean {
  const value = job[key]
  if (value === '' || (value === 0 && 'zero' in SETTINGS[key])) return false
  return SETTINGS[key].kind !== 'switch' || value !== SETTINGS[key].default
}
