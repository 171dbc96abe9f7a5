/** Writes tensors into ones that stay, or adds them there; refuses to make new ones. */
import type { tf } from '../tf'
import { wholePart, type FlatPart } from './flat'
import { dispatch, dispatches, mostBindings, onGPU, spread, type Binding } from './gpu'
import { views } from './heap'
import { several, severalMain } from './reduce'

/** `target[i] = source[i]`, with `add` `+=`, over the flat values of f32 tensors. */
export interface Stored {
  readonly target: FlatPart
  readonly source: tf.Tensor
  readonly add: boolean
}

/** Stores in their order, as many a dispatch as the device binds tensors. Targets of one dispatch must not overlap. */
export function storeParts(stored: readonly Stored[]): void {
  for (const { target, source } of stored)
    if (source.size > target.size) throw new Error(`${source.size} values for ${target.size}`)
  if (!onGPU()) return stored.forEach(storeInHeap)
  for (const some of dispatches(stored, mostBindings() - 1, ({ target, add }) => [target.flat, add])) storeProgram(some)
}

function storeInHeap({ target, source, add }: Stored): void {
  const [to, from] = views(target.flat, source) as [Float32Array, Float32Array]
  if (!add) to.set(from, target.at)
  else for (let i = 0; i < from.length; i++) to[target.at + i]! += from[i]!
}

/** Values that one workgroup of 64 threads moves. */
const SPAN = 256

/** All of them into the same buffer, and in the same way. */
function storeProgram(stored: readonly Stored[]): void {
  const { target, add } = stored[0]!
  const bindings: Record<string, Binding> = { target_: { tensor: target.flat, type: 'f32', write: true } }
  stored.forEach(({ source }, n) => (bindings[`source${n}`] = { tensor: source, type: 'f32' }))
  const { uniforms, groups } = several(stored.map(({ source }) => source.size), SPAN) // prettier-ignore
  stored.forEach(({ target }, n) => (uniforms[`at${n}`] = target.at))
  const body = (n: number): string =>
    `for (var i = begin + tid; i < end; i += 64u) { target_[u.at${n} + i] ${add ? '+=' : '='} source${n}[i]; }`
  dispatch({
    key: `store ${add ? 'sum' : 'copy'}`,
    bindings,
    uniforms,
    workgroups: spread(groups),
    code: () => severalMain(stored.length, 64, body),
  })
}

/** Writes one tensor from element `at` of another on, or adds it there. */
export function store(target: tf.Tensor, source: tf.Tensor, { at = 0, add = false } = {}): void {
  storeParts([{ target: { flat: target, at, size: target.size - at }, source, add }])
}

/** Gives a variable new values: in its own memory on a GPU, where recorded work looks for it, elsewhere by taking the value's. */
export function assign(variable: tf.Variable, value: tf.Tensor): void {
  if (onGPU()) storeParts([{ target: wholePart(variable), source: value, add: false }])
  else variable.assign(value)
}
