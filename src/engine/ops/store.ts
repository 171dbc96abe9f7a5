/** Writes a tensor into one that stays, or adds it there; refuses to make a new one. */
import type { tf } from '../tf'
import { dispatch, onGPU, spread } from './gpu'
import { views } from './heap'
import { elementMain } from './reduce'

/** `target[at + i] = source[i]`, with `add` `+=`, over the flat values of two f32 tensors. The target keeps its memory. */
export function store(target: tf.Tensor, source: tf.Tensor, { at = 0, add = false } = {}): void {
  if (at + source.size > target.size) throw new Error(`${source.size} values at ${at} of ${target.size}`)
  if (!onGPU()) {
    const [to, from] = views(target, source) as [Float32Array, Float32Array]
    if (!add) to.set(from, at)
    else for (let i = 0; i < from.length; i++) to[at + i]! += from[i]!
    return
  }
  dispatch({
    key: `store ${add ? 'sum' : 'copy'}`,
    bindings: { target_: { tensor: target, type: 'f32', write: true }, source: { tensor: source, type: 'f32' } },
    uniforms: { size: source.size, at },
    workgroups: spread(Math.ceil(source.size / 64)),
    code: () => elementMain(`target_[u.at + i] ${add ? '+=' : '='} source[i];`),
  })
}

/** Gives a variable new values: in its own memory on a GPU, where recorded work looks for it, elsewhere by taking the value's. */
export function assign(variable: tf.Variable, value: tf.Tensor): void {
  if (onGPU()) store(variable, value)
  else variable.assign(value)
}
