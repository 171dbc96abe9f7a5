/**
 * Text and turns to the tokens that a model is asked to go on from. Refuses to truncate.
 */
import { encodePrompt, encodeRendered, encodeText, type Example } from '../src/data'
import type { Model } from '../src/engine'
import type { Job } from '../src/shared/job'
import type { ChatMessage, EncodedRow, Mapping } from '../src/shared/records'

/** Tokens of running text that a sample goes on from. */
const OPENING = 12

/**
 * The tokens of a prompt. Turns go through the model's chat template, which ends where the answer begins; a single
 * question to a tuned model is put in the very form in which its training rows asked.
 */
export function promptIds(
  model: Model,
  prompt: string | ChatMessage[],
  mapping?: Mapping,
  shots: readonly Example[] = [],
): number[] {
  const { tokenizer, chatTemplate } = model
  if (typeof prompt === 'string') return tokenizer.encode(prompt)
  const [only] = prompt
  if (mapping && only?.role === 'user' && prompt.length === 1) {
    return encodePrompt(only.content, mapping, tokenizer, chatTemplate, shots)
  }
  const text = chatTemplate.render(prompt, { addGenerationPrompt: true })
  return encodeRendered(text, tokenizer, chatTemplate)
}

/**
 * What is answered at each evaluation: the job's sample prompt in the form in which the rows are trained, else the
 * untrained beginning of an example. Null where the job wants no sample.
 */
export function samplePrompt(
  model: Model,
  job: Job,
  example: EncodedRow | undefined,
  mapping: Mapping,
): number[] | null {
  if (job.sampleTokens === 0) return null
  const { tokenizer, chatTemplate } = model
  if (job.samplePrompt.trim() !== '' && job.objective === 'classification')
    return encodeText(job.samplePrompt, mapping, tokenizer)
  if (job.samplePrompt.trim() !== '') return encodePrompt(job.samplePrompt, mapping, tokenizer, chatTemplate)
  if (!example) return null
  const trained = example.labels.findIndex((label) => label !== -100)
  const length = trained > 1 ? trained : Math.min(OPENING, Math.ceil(example.inputIds.length / 2))
  return [...example.inputIds.subarray(0, length)]
}
