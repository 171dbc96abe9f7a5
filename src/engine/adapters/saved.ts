/**
 * Weights that a LoRA adapter replaces whole (PEFT's modules_to_save): embeddings, head, norms, as they were trained elsewhere. Refuses to
 * train them, and tensors that the model does not have.
 */
import type { TensorData } from '../../shared/records'
import { missingSaved, savedTensors, untiesHead, type LoraPeft } from '../formats/peft'
import { toFloat32 } from '../formats/safetensors'
import type { Model } from '../models/model'
import { transpose } from '../models/weights'
import type { NetworkWeight, Overlay } from '../nn/network'
import { FrozenMatrix } from '../ops'
import { tf } from '../tf'
import { misfit } from './fit'
import { fileShapes } from './full-files'

type Tensors = Readonly<Record<string, TensorData>>
type Value = FrozenMatrix | tf.Tensor1D

/** A weight of the base with its tensors, by their names in the base's files. */
interface Place {
  readonly weight: NetworkWeight
  readonly tensors: Tensors
}
interface Saved {
  readonly weight: NetworkWeight
  readonly value: Value
  /** What the value is a view of, where it is one. */
  readonly under?: tf.Variable
}

const HEADS: readonly string[] = ['lm_head.weight', 'embed_out.weight']
/** Names without what a family puts before them, which not all files have. */
const plain = (name: string): string => name.replace(/^(model|transformer|gpt_neox)\./, '')

export class SavedModules {
  readonly #all: readonly Saved[]
  /** The head of a model whose head was its table, where it is another one now: a saved one, or the base's own. */
  readonly #head: FrozenMatrix | null
  readonly #ownsHead: boolean
  #strength = 1
  /** What is shown instead where the strength is neither 0 nor 1. */
  #between: readonly Saved[] | null = null

  /** @param peft was found to fit: see {@link savedProblems}. */
  constructor(model: Model, peft: LoraPeft) {
    const { places, head } = placesOf(model, savedTensors(peft))
    const base = model.network.head({ overlay: null })
    const unties = model.config.tied && untiesHead(peft)
    this.#all = places.map(({ weight, tensors }) => ({ weight, value: valueOf(weight, tensors) }))
    this.#ownsHead = unties && head !== null
    this.#head = !unties ? null : head ? FrozenMatrix.from(toFloat32(head), base.out, base.in) : base
  }

  /** Hooks of an overlay; none at strength 0. */
  overlay(): Pick<Overlay, 'matrix' | 'vector' | 'head'> {
    if (this.#strength === 0) return {}
    const shown = new Map<object, Value>((this.#between ?? this.#all).map(({ weight, value }) => [weight.value, value]))
    return {
      matrix: (base) => (shown.get(base) as FrozenMatrix | undefined) ?? null,
      vector: (base) => (shown.get(base) as tf.Tensor1D | undefined) ?? null,
      head: () => this.#head,
    }
  }

  /** Between 0 and 1, and beyond, points on the way from the base to what was saved; a head of its own is there or not. */
  setStrength(strength: number): void {
    this.#strength = strength
    this.#between?.forEach(free)
    this.#between =
      strength === 0 || strength === 1 ? null : this.#all.map(({ weight, value }) => between(weight, value, strength))
  }

  dispose(): void {
    for (const saved of [...this.#all, ...(this.#between ?? [])]) free(saved)
    if (this.#ownsHead) this.#head?.dispose()
  }
}

/** What is wrong with an adapter's saved tensors, a sentence each; nothing where it has none. */
export function savedProblems(model: Model, peft: LoraPeft): string[] {
  const { places, head, unknown } = placesOf(model, savedTensors(peft))
  const { out, in: inn } = model.network.head({ overlay: null })
  return [
    ...missingSaved(peft),
    ...unknown.map((name) => `${name} is not in this model`),
    ...places.flatMap(({ weight, tensors }) =>
      [...fileShapes(weight)].flatMap(([name, shape]) => misfit(tensors, name, shape)),
    ),
    ...(head ? misfit({ 'the head': head }, 'the head', [out, inn]) : []),
  ]
}

/** Where tensors belong, by their names in files; the head of a tied pair, which the model itself has not, apart. */
function placesOf(
  { network, config }: Model,
  saved: Tensors,
): { places: Place[]; head: TensorData | null; unknown: string[] } {
  const own = new Map<string, { weight: NetworkWeight; name: string }>()
  for (const weight of network.weights) for (const [name] of fileShapes(weight)) own.set(plain(name), { weight, name })
  const found = new Map<NetworkWeight, Record<string, TensorData>>()
  const unknown: string[] = []
  let head: TensorData | null = null
  for (const [given, tensor] of Object.entries(saved)) {
    const place = own.get(plain(given))
    if (config.tied && HEADS.includes(given)) head = tensor
    else if (place) found.set(place.weight, { ...found.get(place.weight), [place.name]: tensor })
    else unknown.push(given)
  }
  return { places: [...found].map(([weight, tensors]) => ({ weight, tensors })), head, unknown }
}

/** A weight as it is computed with, from its tensors as files have them. */
function valueOf({ name, value, transposed, bias, shift = 0 }: NetworkWeight, tensors: Tensors): Value {
  const values = toFloat32(tensors[name] as TensorData)
  if (!(value instanceof FrozenMatrix)) return tf.keep(tf.tensor1d(shift === 0 ? values : values.map((v) => v + shift)))
  const { out, in: inn } = value
  if (transposed) return FrozenMatrix.from(transpose(values, inn, out), out, inn)
  if (bias === undefined) return FrozenMatrix.from(values, out, inn)
  const column = toFloat32(tensors[bias] as TensorData)
  const whole = new Float32Array(out * inn)
  for (let row = 0; row < out; row++) {
    whole.set(values.subarray(row * (inn - 1), (row + 1) * (inn - 1)), row * inn)
    whole[(row + 1) * inn - 1] = column[row] as number
  }
  return FrozenMatrix.from(whole, out, inn)
}

/** base + strength · (saved - base); for answering only: no gradient goes through it. */
function between(weight: NetworkWeight, saved: Value, strength: number): Saved {
  const tensor = (value: Value): tf.Tensor => (value instanceof FrozenMatrix ? value.dequantise() : value)
  const under = tf.tidy(() => {
    const start = tensor(weight.value)
    // A vector of the base stands with its shift, as the saved one does.
    return tf.variable(tf.add(start, tf.mul(tf.sub(tensor(saved), start), strength)), false)
  })
  const value = under.rank === 2 ? FrozenMatrix.over(under) : (under as tf.Tensor as tf.Tensor1D)
  return { weight, value, under }
}

function free({ value, under }: Saved): void {
  value.dispose()
  if (under && under !== (value as tf.Tensor)) under.dispose()
}
