/** A job in the words of mlx-lm. Refuses objectives that it does not have: it learns answers only. */
import { warmupOf, type Job } from '../../../shared/job'
import {
  adaptsAll,
  HERE,
  lost,
  only,
  Placed,
  placed,
  rowRules,
  START,
  type Options,
  type Rule,
  type Rules,
} from './rules'

const UNKNOWN_TO_MLX = 'mlx-lm has no such setting.'
/** Part of a Llama-like model's layer that a target stands in, as mlx-lm names it. */
const MLX_PLACES: Readonly<Record<string, string>> = {
  ...{ q_proj: 'self_attn', k_proj: 'self_attn', v_proj: 'self_attn', o_proj: 'self_attn' },
  ...{ gate_proj: 'mlp', up_proj: 'mlp', down_proj: 'mlp' },
}

const keyOf = (target: string): string => (MLX_PLACES[target] ? `${MLX_PLACES[target]}.${target}` : target)

/** Optimisers that mlx-lm has too. */
const CONFIGURED: readonly string[] = ['adamw', 'sgd', 'muon']

function optimiserConfig({ optimizer, weightDecay, momentum, adamBeta1, adamBeta2, adamEpsilon }: Job): Options {
  const betas = { betas: [adamBeta1, adamBeta2], eps: adamEpsilon, bias_correction: true }
  return { [optimizer]: { weight_decay: weightDecay, ...(optimizer === 'adamw' ? betas : { momentum }) } }
}

const inConfig: Rule = ({ optimizer }) => {
  if (optimizer === 'muon') return new Placed('in optimizer_config where mlx-lm has it')
  return CONFIGURED.includes(optimizer) ? new Placed('in optimizer_config') : UNKNOWN_TO_MLX
}
const inSchedule: Rule = ({ schedule }) =>
  schedule === 'cosine' || schedule === 'linear' ? new Placed('in lr_schedule') : UNKNOWN_TO_MLX

/** @param steps how many the run has. */
export function mlxRules(steps: number): Rules {
  return {
    ...rowRules(),
    model: ({ model }) => ({ model }),
    data: () => ({ data: 'data' }),
    method: ({ method }: { method: string }) => {
      if (method === 'lora') return {}
      return method === 'full' ? { fine_tune_type: 'full' } : 'mlx-lm has no such method.'
    },
    objective: ({ objective }) => (objective === 'sft' ? {} : 'mlx-lm learns answers only.'),
    trainOn: ({ trainOn }) => ({ mask_prompt: trainOn !== 'all' }),
    maxLength: ({ maxLength }) => ({ max_seq_length: maxLength }),
    rank: (job) => ({
      lora_parameters: {
        ...{ rank: job.rank, scale: job.alpha / (job.rslora ? Math.sqrt(job.rank) : job.rank), dropout: job.dropout },
        ...(adaptsAll(job) ? {} : { keys: job.targets.map(keyOf) }),
      },
    }),
    rslora: only(({ rslora }) => rslora, placed('in lora_parameters: scale')),
    dora: ({ dora }) => (dora ? { fine_tune_type: 'dora' } : {}),
    loraInit: only(({ loraInit }) => loraInit !== 'zero', lost(UNKNOWN_TO_MLX)),
    loraPlus: only(({ loraPlus }) => loraPlus !== 1, lost(UNKNOWN_TO_MLX)),
    quantization: ({ quantization }) =>
      quantization === 'none' ? {} : 'Convert the base with mlx_lm.convert -q, and name the result as the model.',
    alpha: placed('in lora_parameters: scale'),
    dropout: placed('in lora_parameters'),
    targets: placed('in lora_parameters: keys'),
    loraLayers: ({ loraLayers }) => (loraLayers > 0 ? { num_layers: loraLayers } : {}),
    learningRate: ({ learningRate }) => ({ learning_rate: learningRate }),
    batchSize: ({ batchSize }) => ({ batch_size: batchSize }),
    // mlx-lm counts batches where others count steps of the optimiser.
    gradAccum: ({ gradAccum }) => ({ grad_accumulation_steps: gradAccum }),
    steps: ({ gradAccum }) => ({ iters: steps * gradAccum }),
    epochs: placed('in iters'),
    weightDecay: (job) =>
      CONFIGURED.includes(job.optimizer) ? { optimizer_config: optimiserConfig(job) } : UNKNOWN_TO_MLX,
    ...{ adamBeta1: inConfig, adamBeta2: inConfig, adamEpsilon: inConfig, momentum: inConfig },
    optimizer: ({ optimizer }) => (CONFIGURED.includes(optimizer) ? { optimizer } : UNKNOWN_TO_MLX),
    schedule: (job) => mlxSchedule(job, steps),
    ...{ warmupSteps: inSchedule, warmupRatio: inSchedule, finalRate: inSchedule },
    evalEvery: ({ evalEvery, gradAccum }) => ({
      ...{ steps_per_eval: (evalEvery || Math.max(1, Math.min(100, Math.ceil(steps / 10)))) * gradAccum },
      val_batches: -1,
    }),
    saveEvery: ({ saveEvery, gradAccum }) => ({
      save_every: (saveEvery || Math.max(1, Math.min(100, Math.ceil(steps / 10)))) * gradAccum,
    }),
    seed: ({ seed }) => ({ seed }),
    initAdapter: ({ initAdapter }) => (initAdapter ? { resume_adapter_file: `${START}-mlx/adapters.safetensors` } : {}),
    backend: lost(HERE),
  }
}

function mlxSchedule(job: Job, steps: number): Options | string {
  const { learningRate, gradAccum, finalRate } = job
  const warmup = warmupOf(job, steps) * gradAccum
  const rest = Math.max(1, steps * gradAccum - warmup)
  const end = finalRate * learningRate
  const known = { cosine: ['cosine_decay', [learningRate, rest, end]], linear: ['linear_schedule', [learningRate, end, rest]] } as const // prettier-ignore
  if (job.schedule === 'constant') return {}
  if (job.schedule !== 'cosine' && job.schedule !== 'linear') return UNKNOWN_TO_MLX
  const [name, values] = known[job.schedule]
  return { lr_schedule: { name, arguments: [...values], ...(warmup > 0 ? { warmup } : {}) } }
}
