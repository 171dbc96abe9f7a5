/** Prints what wasm computes on as many threads as the argument says, as JSON. Refuses to compare: see tests/unit/cli/threads.test.ts. */
import { createHash } from 'node:crypto'
import { wasmFolder } from '../../src/cli/gpu'
import { nodeThreads } from '../../src/cli/threads'
import { openDevice } from '../../src/engine'
import { tf } from '../../src/engine/tf'
import { finetabPeer } from '../bench/finetab'
import { countWork } from '../bench/measure'

const counts = countWork()
const { report } = await openDevice('wasm', { wasmPath: wasmFolder(), threads: nodeThreads(Number(process.argv[2])) })
const memory = (tf.backend() as unknown as { wasm: { HEAPU8: Uint8Array } }).wasm
const numbers: Record<string, string> = {}

const bits = (values: Uint8Array | Float32Array | Int32Array): string =>
  createHash('sha256').update(values).digest('hex').slice(0, 16)
function note(name: string, compute: () => tf.Tensor): void {
  numbers[name] = bits(tf.tidy(compute).dataSync())
}

for (const [m, k, n] of [
  [1, 64, 512],
  [7, 33, 9],
  [129, 257, 511],
  [512, 192, 192],
  [300, 1536, 576],
] as const) {
  const at = tf.tidy(() => tf.sin(tf.range(0, m * k).mul(0.7)))
  const left = at.reshape([m, k])
  const right = tf.tidy(() => tf.cos(tf.range(0, k * n).mul(0.3)).reshape([k, n]))
  note(`${m}x${k}x${n}`, () => tf.matMul(left as tf.Tensor2D, right as tf.Tensor2D))
  note(`softmax ${m}x${k}`, () => tf.softmax(left))
  note(`sigmoid ${m}x${k}`, () => tf.sigmoid(left))
}

// Memory that the threads share grows in place: whoever looked at it before must look again.
const before = memory.HEAPU8.length
const peer = await finetabPeer(
  { name: 'probe', layers: 2, hidden: 72, heads: 6, kvHeads: 3, feedForward: 200, vocabulary: 700, batch: 3, length: 37 },
  counts,
) // prettier-ignore
for (let step = 1; step <= 4; step++) {
  if (step === 3) tf.keep(tf.fill([2 ** 24 + before / 4], step))
  numbers[`loss ${step}`] = String(await peer.step())
}
const { buffer, length } = memory.HEAPU8
if (length <= before) throw new Error(`the memory did not grow: ${before} to ${length}`)
process.stdout.write(JSON.stringify({ adapter: report.adapter, shared: !(buffer instanceof ArrayBuffer), numbers }))
