/**
 * Text and turns to the tokens that a model is asked to go on from. Refuses to truncate.
 */
import type { Model } from '../src/engine'
import type { Job } from '../src/shared/job'
import type { ChatMessage, EncodedRow, Mapping } from '../src/shared/records'

/** Tokens of running text that a sample goes on from. */
const OPENING = 12

/** The tokens of a prompt; turns go through the model's chat template, which ends where the answer begins. */
export function promptIds(model: Model, prompt: string | ChatMessage[]): number[] {
  if (typeof prompt === 'string') return model.tokenizer.encode(prompt)
  const text = model.chatTemplate.render(prompt, { addGenerationPrompt: true })
  return model.tokenizer.encode(text, { addSpecialTokens: false })
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
  if (job.samplePrompt.trim() !== '') {
    const asText = mapping.format === 'text' || mapping.format === 'tokens' || model.chatTemplate.builtIn !== null
    return promptIds(
      model,
      asText ? job.samplePrompt : [...system(mapping), { role: 'user', content: job.samplePrompt }],
    )
  }
  if (!example) return null
  const trained = example.labels.findIndex((label) => label !== -100)
  const length = trained > 1 ? trained : Math.min(OPENING, Math.ceil(example.inputIds.length / 2))
  return [...example.inputIds.subarray(0, length)]
}

function system(mapping: Mapping): ChatMessage[] {
  return mapping.systemPrompt ? [{ role: 'system', content: mapping.systemPrompt }] : []
}
