/**
 * The gradient of one layer from the gradient of its output, freeing what the tape saved and every gradient as soon as it has
 * been used; TensorFlow.js's own walk holds all of them to the end. Refuses to run inside another gradient.
 */
import { walking } from '../ops/gradient'
import { tf } from '../tf'

/** What TensorFlow.js 4.22 records of an op. */
interface TapeNode {
  readonly kernelName: string
  readonly inputs: Readonly<Record<string, tf.Tensor>>
  readonly outputs: readonly tf.Tensor[]
  readonly saved?: readonly tf.Tensor[]
  readonly gradient?: (dys: readonly (tf.Tensor | null)[]) => Record<string, () => tf.Tensor>
}

/** The parts of its engine that are private there. */
interface Recorder {
  state: { gradientDepth: number; activeTape: TapeNode[] | null }
  startTape(): void
  endTape(): void
}

/** Ids of tensors on a way from `from`; a node counts when one of its inputs does. */
function reach(tape: readonly TapeNode[], from: readonly tf.Tensor[]): Set<number> {
  const reached = new Set(from.map((tensor) => tensor.id))
  for (const node of tape) {
    if (Object.values(node.inputs).some((input) => reached.has(input.id)))
      for (const output of node.outputs) reached.add(output.id)
  }
  return reached
}

/** An output, and what its gradient needs. */
export interface Taped {
  readonly y: tf.Tensor
  readonly tape: TapeNode[]
}

/** Runs `f` under a tape of its own. The output is the caller's; the tape goes to {@link pull} or {@link discard}. */
export function taped(f: () => tf.Tensor): Taped {
  const engine = tf.engine() as unknown as Recorder
  if (engine.state.gradientDepth > 0) throw new Error('a gradient inside a gradient')
  engine.startTape()
  try {
    const y = tf.tidy(f)
    return { y, tape: engine.state.activeTape ?? [] }
  } finally {
    engine.endTape()
    engine.state.activeTape = null
  }
}

/** Adds gradients up by tensor id, owning them. */
class Gradients {
  readonly #byId = new Map<number, tf.Tensor>()

  add(id: number, gradient: tf.Tensor): void {
    const sum = this.#byId.get(id)
    if (!sum) {
      this.#byId.set(id, gradient)
      return
    }
    this.#byId.set(id, tf.add(sum, gradient))
    sum.dispose()
    gradient.dispose()
  }

  has(id: number): boolean {
    return this.#byId.has(id)
  }

  take(id: number): tf.Tensor | null {
    const gradient = this.#byId.get(id) ?? null
    this.#byId.delete(id)
    return gradient
  }
}

function passThrough(node: TapeNode, reached: ReadonlySet<number>, gradients: Gradients): void {
  const dys = node.outputs.map((output) => gradients.take(output.id))
  const names = Object.keys(node.inputs).filter((name) => reached.has(node.inputs[name]!.id))
  if (!node.gradient) throw new Error(`no gradient for ${node.kernelName}`)
  const gradient = node.gradient
  const folded: tf.Tensor[] = []
  const plus = ({ id }: tf.Tensor): tf.Tensor | null => {
    const sum = gradients.take(id)
    if (sum) folded.push(sum)
    return sum
  }
  const found = tf.tidy(() => {
    const thunks = walking({ wants: ({ id }) => reached.has(id), plus }, () => gradient(dys))
    // A copy where a gradient is handed through as it is: the original is freed below.
    return names.map((name) => {
      const dx = thunks[name]!()
      return dys.includes(dx) ? dx.clone() : dx
    })
  })
  names.forEach((name, i) => gradients.add(node.inputs[name]!.id, found[i]!))
  for (const dy of dys) dy?.dispose()
  tf.dispose(folded)
}

function free(node: TapeNode): void {
  for (const saved of node.saved ?? []) saved.dispose()
}

/** Bytes of what a tape keeps, each tensor once however often it is saved. */
export function bytesOf({ tape }: Taped): number {
  const sizes = new Map<object, number>()
  for (const { saved = [] } of tape) for (const tensor of saved) sizes.set(tensor.dataId, 4 * tensor.size)
  return [...sizes.values()].reduce((sum, size) => sum + size, 0)
}

/** Frees a tape that is not needed after all; the output stays the caller's. */
export function discard({ tape }: Taped): void {
  tape.splice(0).forEach(free)
}

/**
 * Gradients of `sum(y · dy)` with respect to `xs`, in their order; owned by the caller. Frees the tape, not the output.
 * @throws Error where the output does not depend on one of `xs`.
 */
export function pull({ y, tape }: Taped, xs: readonly tf.Tensor[], dy: tf.Tensor): tf.Tensor[] {
  return tf.tidy(() => {
    const reached = reach(tape, xs)
    const gradients = new Gradients()
    gradients.add(y.id, dy.clone())
    try {
      for (let node = tape.pop(); node; node = tape.pop()) {
        const counts = node.outputs.some((output) => gradients.has(output.id) && reached.has(output.id))
        if (counts) passThrough(node, reached, gradients)
        free(node)
      }
    } finally {
      tape.forEach(free)
    }
    return xs.map((x) => {
      const gradient = gradients.take(x.id)
      if (!gradient) throw new Error('the output does not depend on an input')
      return gradient
    })
  })
}

/**
 * Gradients of `sum(f() · dy)` with respect to `xs`, in their order; owned by the caller.
 * @param f computes the output from `xs`; what it makes is freed.
 */
export function pullback(f: () => tf.Tensor, xs: readonly tf.Tensor[], dy: tf.Tensor): tf.Tensor[] {
  return tf.tidy(() => pull(taped(f), xs, dy))
}
