/** A job in the words of LLaMA-Factory 0.9. Refuses options that it does not know. */
import type { Job } from '../../../shared/job'
import { adaptsAll, lost, only, START, trainerRules, type Rule, type Rules } from './rules'

const NO_PATTERNS = 'LLaMA-Factory has one rank and one alpha for all layers.'

/** Stage and loss; what is learnt of supervised rows is said by their kind. */
const objective: Rule = ({ objective: name }) => {
  if (name === 'sft') return {}
  return name === 'kto' ? { stage: 'kto' } : { stage: 'dpo', pref_loss: name === 'orpo' ? 'orpo' : 'sigmoid' }
}

/** @param steps how many the run has. */
export function llamaFactoryRules(steps: number): Rules {
  const trainer = trainerRules(steps)
  return {
    ...trainer,
    model: ({ model }) => ({ model_name_or_path: model }),
    initAdapter: ({ initAdapter }) => (initAdapter ? { adapter_name_or_path: START } : {}),
    method: ({ method }: { method: string }) => {
      if (method === 'lora') return {}
      return method === 'full' ? { finetuning_type: 'full' } : 'LLaMA-Factory has no such method.'
    },
    trainedPart: ({ method, trainedPart, trainedLayers }) => {
      if (method !== 'full' || trainedPart === 'all') return {}
      if (trainedPart !== 'last' && trainedPart !== 'first') return 'LLaMA-Factory freezes all but the first or last layers alone.' // prettier-ignore
      const count = trainedPart === 'last' ? trainedLayers : -trainedLayers
      return { finetuning_type: 'freeze', freeze_trainable_layers: count }
    },
    trainedLayers: () => ({}),
    objective,
    beta: ({ beta }) => ({ pref_beta: beta }),
    wrongPairs: ({ wrongPairs }) => ({ dpo_label_smoothing: wrongPairs }),
    sftWeight: ({ sftWeight }) => ({ pref_ftx: sftWeight }),
    trainOn: only(
      ({ objective: name }) => name === 'sft',
      ({ trainOn }) => ({
        train_on_prompt: trainOn === 'all',
        ...(trainOn === 'last' ? { mask_history: true } : {}),
      }),
    ),
    maxLength: ({ maxLength }) => ({ cutoff_len: maxLength }),
    shuffle: ({ shuffle }) => ({ disable_shuffling: !shuffle }),
    groupByLength: ({ groupByLength }) => (groupByLength ? { group_by_length: true } : {}),
    packing: ({ packing, objective: name }) => {
      if (!packing) return {}
      return name === 'sft' ? { packing: true, neat_packing: true } : 'Answers are compared one by one there.'
    },
    quantization: ({ quantization }) => {
      if (quantization === 'nf4') return { quantization_bit: 4, quantization_method: 'bnb', quantization_type: 'nf4' }
      if (quantization === 'int8') return { quantization_bit: 8, quantization_method: 'bnb' }
      return quantization === 'f16' ? 'Choose fp16 or bf16 there, by what the machine can do.' : {}
    },
    rank: ({ rank }) => ({ lora_rank: rank }),
    alpha: ({ alpha }) => (Number.isInteger(alpha) ? { lora_alpha: alpha } : 'lora_alpha is a whole number there.'),
    dropout: ({ dropout }) => ({ lora_dropout: dropout }),
    targets: (job) => ({ lora_target: adaptsAll(job) ? 'all' : job.targets.join(',') }),
    loraLayers: only(
      ({ loraLayers }) => loraLayers > 0,
      lost('LLaMA-Factory adapts the chosen modules of all layers.'),
    ),
    rslora: ({ rslora }) => (rslora ? { use_rslora: true } : {}),
    dora: ({ dora }) => (dora ? { use_dora: true } : {}),
    // -1: the exact decomposition, as here, and not a fast guess at it.
    loraInit: ({ loraInit }) => (loraInit === 'pissa' ? { pissa_init: true, pissa_iter: -1 } : {}),
    loraPlus: ({ loraPlus }) => (loraPlus === 1 ? {} : { loraplus_lr_ratio: loraPlus }),
    rankPattern: ({ rankPattern }) => (rankPattern ? NO_PATTERNS : {}),
    alphaPattern: ({ alphaPattern }) => (alphaPattern ? NO_PATTERNS : {}),
    optimizer: (job: Job) => (job.optimizer === 'muon' ? { use_muon: true } : (trainer.optimizer as Rule)(job)),
    warmupRatio: ({ warmupRatio, warmupSteps }) =>
      warmupRatio > 0 && warmupSteps === 0 ? { warmup_ratio: warmupRatio } : {},
    earlyStop: ({ earlyStop }) =>
      earlyStop > 0
        ? { early_stopping_steps: earlyStop, load_best_model_at_end: true, metric_for_best_model: 'eval_loss' }
        : {},
  }
}
