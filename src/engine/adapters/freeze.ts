/** Which weights a job trains, and from which epoch on. Refuses a choice that leaves nothing to train. */
import { CodedError } from '../../shared/errors'
import type { Job } from '../../shared/job'
import type { Place } from './trainable'

/** The settings that say it. */
export type FreezeSettings = Pick<Job, 'trainedPart' | 'trainedLayers' | 'trainedNames'>

/** A weight as they see it. */
export interface Freezable {
  readonly name: string
  readonly place: Place
  /** Whether the head computes with it, which a tied embedding does too. */
  readonly isHead: boolean
}

/** The epoch (from 0) from which a weight of a model of so many layers is trained; null for never. */
function trainedFrom({ name, place, isHead }: Freezable, settings: FreezeSettings, layers: number): number | null {
  const { trainedPart, trainedLayers: count, trainedNames } = settings
  const when = (trained: boolean): number | null => (trained ? 0 : null)
  switch (trainedPart) {
    case 'all':
      return 0
    case 'last':
      return when(typeof place === 'number' ? place >= layers - count : place !== 'embedding')
    case 'first':
      return when(typeof place === 'number' ? place < count : place === 'embedding')
    case 'norms':
      return when(/norm|\bln_/.test(name))
    case 'head':
      return when(isHead)
    case 'names':
      return when(patternsOf(trainedNames).some((pattern) => pattern.test(name)))
    case 'gradual':
      if (place === 'embedding') return Math.ceil(layers / count)
      return typeof place === 'number' ? Math.floor((layers - 1 - place) / count) : 0
  }
}

/** Whole parts of names between dots, in which * stands for anything: "self_attn.q_proj, *norm*". */
function patternsOf(text: string): RegExp[] {
  const parts = text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean)
  return parts.map((part) => {
    const escaped = part.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '[^.]*')
    return new RegExp(`(^|\\.)${escaped}(\\.|$)`)
  })
}

/**
 * The epoch from which each of the weights is trained; Infinity for those that never are.
 * @throws CodedError `job.invalid` where that is all of them.
 */
export function trainingStarts(weights: readonly Freezable[], settings: FreezeSettings, layers: number): number[] {
  const starts = weights.map((weight) => trainedFrom(weight, settings, layers) ?? Number.POSITIVE_INFINITY)
  if (starts.some(Number.isFinite)) return starts
  const isNames = settings.trainedPart === 'names'
  const examples = weights.slice(0, 400).map(({ name }) => name.replace(/\.(weight|bias)$/, ''))
  throw new CodedError('job.invalid', 'These settings leave no weight to be trained.', {
    where: isNames ? 'trainedNames' : 'trainedPart',
    fix: `Choose another part of the model${isNames ? `; names are such as ${examples.at(-1) ?? ''}` : ''}.`,
  })
}
