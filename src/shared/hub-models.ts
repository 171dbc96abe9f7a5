/**
 * Small models on Hugging Face to start with: whose they are, what they weigh, what they are good at. Refuses guesses:
 * sizes are those of the published files, parameters follow from the shapes, and the look-up says what is there today.
 */
import type { ModelShape } from './records'

interface HubModelTip {
  /** `owner/name`. */
  name: string
  /** As the hub spells it. */
  licence: string
  gated: boolean
  parameters: number
  /** Bytes of weights and tokenizer, to about 1%. */
  bytes: number
  good: string
  shape: ModelShape
}

/** Smallest first; all are of families that load. */
export const HUB_MODELS: readonly HubModelTip[] = [
  {
    name: 'EleutherAI/pythia-70m-deduped',
    licence: 'apache-2.0',
    gated: false,
    parameters: 70_426_624,
    bytes: 168_000_000,
    good: 'Fast trials. Continues English text, roughly; does not answer questions before it is tuned.',
    shape: shape({ hiddenSize: 512, intermediateSize: 2048, layers: 6, heads: 8, vocabulary: 50_304, tiedHead: false }),
  },
  {
    name: 'openai-community/gpt2',
    licence: 'mit',
    gated: false,
    parameters: 124_439_808,
    bytes: 551_000_000,
    good: 'The classic: continues English text, and every tool knows it. Its files are 32-bit, so large for its size.',
    shape: shape({ hiddenSize: 768, intermediateSize: 3072, layers: 12, heads: 12, vocabulary: 50_257 }),
  },
  {
    name: 'HuggingFaceTB/SmolLM2-135M',
    licence: 'apache-2.0',
    gated: false,
    parameters: 134_515_008,
    bytes: 272_000_000,
    good: 'The best small start for text of your own: good English for its size, nothing taught yet.',
    shape: shape({
      ...{ hiddenSize: 576, intermediateSize: 1536, layers: 30, heads: 9, kvHeads: 3, vocabulary: 49_152 },
    }),
  },
  {
    name: 'HuggingFaceTB/SmolLM2-135M-Instruct',
    licence: 'apache-2.0',
    gated: false,
    parameters: 134_515_008,
    bytes: 272_000_000,
    good: 'The best small start for a helper: answers in English and takes on a tone or a format readily.',
    shape: shape({
      ...{ hiddenSize: 576, intermediateSize: 1536, layers: 30, heads: 9, kvHeads: 3, vocabulary: 49_152 },
    }),
  },
  {
    name: 'EleutherAI/pythia-160m',
    licence: 'apache-2.0',
    gated: false,
    parameters: 162_322_944,
    bytes: 377_000_000,
    good: 'Made for research: continues English text, and its training is documented step by step.',
    shape: shape({
      ...{ hiddenSize: 768, intermediateSize: 3072, layers: 12, heads: 12, vocabulary: 50_304, tiedHead: false },
    }),
  },
  {
    name: 'google/gemma-3-270m-it',
    licence: 'gemma',
    gated: true,
    parameters: 268_098_176,
    bytes: 571_000_000,
    good: 'Made to be tuned to one narrow task, such as sorting or extracting; many languages. Two thirds are vocabulary.',
    shape: shape({
      ...{ hiddenSize: 640, intermediateSize: 2048, layers: 18, heads: 4, kvHeads: 1, headDim: 256 },
      vocabulary: 262_144,
    }),
  },
  {
    name: 'HuggingFaceTB/SmolLM2-360M-Instruct',
    licence: 'apache-2.0',
    gated: false,
    parameters: 361_821_120,
    bytes: 727_000_000,
    good: 'Like its small sister, with noticeably better answers in English.',
    shape: shape({
      ...{ hiddenSize: 960, intermediateSize: 2560, layers: 32, heads: 15, kvHeads: 5, vocabulary: 49_152 },
    }),
  },
  {
    name: 'Qwen/Qwen2.5-0.5B-Instruct',
    licence: 'apache-2.0',
    gated: false,
    parameters: 494_032_768,
    bytes: 1_000_000_000,
    good: 'Follows instructions in many languages; good with JSON and tables.',
    shape: shape({
      ...{ hiddenSize: 896, intermediateSize: 4864, layers: 24, heads: 14, kvHeads: 2, vocabulary: 151_936 },
    }),
  },
  {
    name: 'Qwen/Qwen3-0.6B',
    licence: 'apache-2.0',
    gated: false,
    parameters: 596_049_920,
    bytes: 1_519_000_000,
    good: 'The ablest here: a hundred languages, and it can think before it answers.',
    shape: shape({
      ...{ hiddenSize: 1024, intermediateSize: 3072, layers: 28, heads: 16, kvHeads: 8, headDim: 128 },
      vocabulary: 151_936,
    }),
  },
]

type Told = Omit<ModelShape, 'kvHeads' | 'headDim' | 'tiedHead'> & Partial<ModelShape>

/** A shape with what follows from the rest. */
function shape(told: Told): ModelShape {
  return { kvHeads: told.heads, headDim: told.hiddenSize / told.heads, tiedHead: true, ...told }
}
