/**
 * What training moves, whatever the method: named tensors, what they put into a walk through the layers, and how they are kept. All that
 * sessions, evaluation and generation know of a method. Refuses maths: each method has a file of its own.
 */
import type { PeftAdapter, PeftConfig } from '../formats/peft'
import type { Overlay } from '../nn/network'
import type { NamedVariable } from '../optim/optimiser'
import type { tf } from '../tf'

/** Where a tensor acts, which says when its gradient is there: in a layer, before the first, after the last, at the head. */
export type Place = number | 'embedding' | 'finish' | 'head'

export interface TrainedVariable extends NamedVariable {
  readonly place: Place
}

export interface Trainable {
  /** As it is written into adapter_config.json. */
  readonly config: PeftConfig
  /** Number of trained values. */
  readonly parameters: number
  /** Every trained tensor, under the name that it has in files; gradients and moments come in this order. */
  readonly variables: readonly TrainedVariable[]
  /** Whether half of what is stored is what it started from, which is never trained (PiSSA). */
  readonly hasStart?: boolean
  /** What a head scores instead of the next token; left out where there is none. */
  readonly classes?: readonly string[]
  /** What it is without that head, where it has one. */
  readonly body?: Trainable
  /** Positions without a token of their own that it wants before every example; none where left out. */
  readonly virtual?: number

  /** Positions in `variables` of those that are not trained yet; their gradients are not asked for, and updates pass them over. */
  readonly waiting?: ReadonlySet<number>
  /** Begins to train what is due in an epoch (from 0). True where that changed anything. */
  unfreeze?(epoch: number): boolean
  /** What a pass carries of it; with `dropoutSeed`, for training. Its hooks are called inside tf.tidy or under the tape. */
  overlay(dropoutSeed?: number | tf.Scalar): Overlay | null
  /** 0 is the base model, 1 as trained. */
  setStrength(strength: number): void
  /** As it is stored; forces a sync with the device. Strength is not part of it. */
  toPeft(baseName: string): Promise<PeftAdapter>
  dispose(): void
}

/** Positions in `variables` of the tensors that act at a place, and are trained by now. */
export function indicesOf({ variables, waiting }: Pick<Trainable, 'variables' | 'waiting'>, place: Place): number[] {
  return variables.flatMap((variable, at) => (variable.place === place && !waiting?.has(at) ? [at] : []))
}

/** The lowest layer with a trained tensor, below which no gradient is needed: -1 for the embedding, `layers` where none is. */
export function lowestLayer({ variables, waiting }: Pick<Trainable, 'variables' | 'waiting'>, layers: number): number {
  return variables.reduce((lowest, { place }, at) => {
    if (waiting?.has(at)) return lowest
    return Math.min(lowest, place === 'embedding' ? -1 : typeof place === 'number' ? place : layers)
  }, layers)
}
