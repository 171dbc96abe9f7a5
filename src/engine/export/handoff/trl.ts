/** A job in the words of TRL and PEFT: SFT, DPO, ORPO or KTO with what PEFT can train. Refuses options that their trainers do not know. */
import { readPattern } from '../../adapters/settings'
import type { Job } from '../../../shared/job'
import { adaptsAll, only, placed, Placed, trainerRules, type Rules } from './rules'

/** @param steps how many the run has. */
export function trlRules(steps: number): Rules {
  const inLora = placed('in the script: PEFT')
  return {
    ...trainerRules(steps),
    model: placed('in the script: MODEL'),
    initAdapter: only(({ initAdapter }) => initAdapter !== '', placed('in the script: START')),
    method: ({ method }) => (method === 'bottleneck' ? 'PEFT has no such method.' : new Placed('in the script: PEFT')),
    objective: placed('in the script: its trainer'),
    beta: ({ beta }) => ({ beta }),
    wrongPairs: ({ wrongPairs }) => (wrongPairs > 0 ? { label_smoothing: wrongPairs } : {}),
    sftWeight: ({ sftWeight }) =>
      sftWeight > 0 ? { loss_type: ['sigmoid', 'sft'], loss_weights: [1, sftWeight] } : {},
    trainOn: only(
      ({ objective }) => objective === 'sft',
      ({ trainOn }) => ({ completion_only_loss: trainOn !== 'all' }),
    ),
    maxLength: ({ maxLength }) => ({ max_length: maxLength }),
    shuffle: ({ shuffle }) => (shuffle ? {} : { train_sampling_strategy: 'sequential' }),
    groupByLength: ({ groupByLength, shuffle }) => {
      if (!groupByLength) return {}
      return shuffle ? { train_sampling_strategy: 'group_by_length' } : 'The trainer shuffles rows that it groups.'
    },
    packing: ({ packing, objective }) => {
      if (objective === 'sft') return { packing }
      return packing ? 'Answers are compared one by one there.' : {}
    },
    quantization: ({ quantization }) =>
      quantization === 'none' ? {} : new Placed('in the script, where the model is loaded'),
    warmupRatio: ({ warmupRatio, warmupSteps }) =>
      warmupRatio > 0 && warmupSteps === 0 ? { warmup_steps: warmupRatio } : {},
    earlyStop: ({ earlyStop }) =>
      earlyStop > 0
        ? { load_best_model_at_end: true, metric_for_best_model: 'eval_loss', greater_is_better: false }
        : {},
    loraPlus: ({ loraPlus, optimizer }) => {
      if (loraPlus === 1) return {}
      return optimizer === 'adamw' ? new Placed('in the script: LORA_PLUS') : 'Here it goes with AdamW only.'
    },
    dropout: ({ dropout, objective }) => (dropout > 0 && objective !== 'sft' ? { disable_dropout: false } : {}),
    ...{
      rank: inLora,
      alpha: inLora,
      targets: inLora,
      loraLayers: inLora,
      rslora: inLora,
      dora: inLora,
      loraInit: inLora,
    },
    ...{ rankPattern: inLora, alphaPattern: inLora },
  }
}

/** PEFT's configuration of each method that it has. */
export const PEFT_CONFIGS: Partial<Record<Job['method'], string>> = {
  ...{ lora: 'LoraConfig', ia3: 'IA3Config', prompt: 'PromptTuningConfig', prefix: 'PrefixTuningConfig' },
}

/** The names that these configurations have. */
export const PEFT_RULES: Rules = {
  // Keys, values and the inside of feed-forward blocks, as most families call them; PEFT says so where one does not.
  method: ({ method }) =>
    method === 'ia3' ? { target_modules: ['k_proj', 'v_proj', 'down_proj'], feedforward_modules: ['down_proj'] } : {},
  virtualTokens: ({ virtualTokens }) => ({ num_virtual_tokens: virtualTokens }),
  virtualText: ({ method, virtualText, model }) => {
    if (method === 'prefix') return 'PEFT starts a prefix at random.'
    const init = virtualText === '' ? { prompt_tuning_init: 'SAMPLE_VOCAB' } : { prompt_tuning_init: 'TEXT', prompt_tuning_init_text: virtualText } // prettier-ignore
    return { ...init, tokenizer_name_or_path: model }
  },
  rank: ({ rank }) => ({ r: rank }),
  alpha: ({ alpha }) => ({ lora_alpha: alpha }),
  dropout: ({ dropout }) => ({ lora_dropout: dropout }),
  targets: (job) => ({ target_modules: adaptsAll(job) ? 'all-linear' : [...job.targets] }),
  rslora: ({ rslora }) => (rslora ? { use_rslora: true } : {}),
  dora: ({ dora }) => (dora ? { use_dora: true } : {}),
  loraInit: ({ loraInit }) => (loraInit === 'pissa' ? { init_lora_weights: 'pissa' } : {}),
  rankPattern: ({ rankPattern }) => (rankPattern ? { rank_pattern: readPattern(rankPattern) } : {}),
  alphaPattern: ({ alphaPattern }) => (alphaPattern ? { alpha_pattern: readPattern(alphaPattern) } : {}),
}
