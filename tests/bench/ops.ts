/**
 * Times the ops against plain TensorFlow.js in one run, turn by turn, so that a busy machine slows both alike.
 * `npx tsx tests/bench/ops.ts [--backend webgpu|wasm] [--large] [--json]`; refuses to compare runs of different machines.
 */
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm'
import { createRequire } from 'node:module'
import { parseArgs } from 'node:util'
import { FrozenMatrix, linear } from '../../src/engine/ops'
import { attention, attentionReference } from '../../src/engine/ops/attention'
import { crossEntropyWithGrad, crossEntropyWithGradReference } from '../../src/engine/ops/cross-entropy'
import { linearReference } from '../../src/engine/ops/linear'
import { rmsNorm, rmsNormReference } from '../../src/engine/ops/norm'
import { tf } from '../../src/engine/tf'

const { values: flags } = parseArgs({
  options: {
    backend: { type: 'string', default: 'wasm' },
    large: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    turns: { type: 'string', default: '5' },
  },
})

interface Row {
  name: string
  /** Median milliseconds. */
  own: number
  plain: number
  /** plain / own. */
  ratio: number
  /** Of our own form, where the work is a product. */
  gflops?: number
}

async function start(): Promise<string> {
  if (flags.backend === 'wasm') {
    setWasmPaths(new URL('../../node_modules/@tensorflow/tfjs-backend-wasm/dist/', import.meta.url).pathname)
    await tf.setBackend('wasm')
    return `wasm, Node ${process.version}`
  }
  const require = createRequire(import.meta.url)
  const { create, globals } = require('webgpu') as { create(options: string[]): GPU; globals: object }
  Object.assign(globalThis, globals)
  const gpu = create([])
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true })
  const adapter = await gpu.requestAdapter()
  if (!adapter)
    throw new Error('No WebGPU adapter here: name a Vulkan driver in VK_DRIVER_FILES, or take --backend wasm.')
  const names = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeWorkgroupStorageSize', 'maxStorageBuffersPerShaderStage'] as const // prettier-ignore
  const requiredLimits = Object.fromEntries(names.map((name) => [name, adapter.limits[name]]))
  const device = await adapter.requestDevice({ requiredLimits })
  const { WebGPUBackend } = await import('@tensorflow/tfjs-backend-webgpu')
  if (tf.engine().registryFactory.webgpu) tf.removeBackend('webgpu')
  tf.registerBackend('webgpu', () => new WebGPUBackend(device, adapter.info), 10)
  tf.env().set('WEBGPU_CPU_FORWARD', false)
  await tf.setBackend('webgpu')
  return `webgpu, ${adapter.info.description || adapter.info.vendor}`
}

/** Runs and waits until the device is done: reads back one number. */
async function timed(run: () => tf.Tensor): Promise<number> {
  const before = performance.now()
  const probe = tf.tidy(() => tf.slice(tf.reshape(run(), [-1]), [0], [1]))
  await probe.data()
  probe.dispose()
  return performance.now() - before
}

const median = (list: number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!

async function compare(name: string, own: () => tf.Tensor, plain: () => tf.Tensor, flop = 0): Promise<Row> {
  const [a, b]: number[][] = [[], []]
  await timed(own)
  await timed(plain)
  for (let turn = 0; turn < Number(flags.turns); turn++) {
    a!.push(await timed(own))
    b!.push(await timed(plain))
  }
  const [mine, theirs] = [median(a!), median(b!)]
  return { name, own: mine, plain: theirs, ratio: theirs / mine, ...(flop ? { gflops: flop / mine / 1e6 } : {}) }
}

const random = (...shape: number[]): tf.Tensor => tf.randomUniform(shape, -1, 1, 'float32', 7)

function matrix(out: number, inn: number): FrozenMatrix {
  return FrozenMatrix.from(
    Float32Array.from({ length: out * inn }, (_, i) => Math.sin(i)),
    out,
    inn,
  )
}

function gradientOf(op: (...x: tf.Tensor[]) => tf.Tensor, inputs: tf.Tensor[]): () => tf.Tensor {
  return () => tf.grads((...x: tf.Tensor[]) => tf.sum(op(...x)))(inputs)[0]!
}

async function products(n: number, inn: number, out: number, rows: Row[]): Promise<void> {
  const x = random(n, inn) as tf.Tensor2D
  const w = matrix(out, inn)
  const flop = 2 * n * inn * out
  const stock = (): tf.Tensor => tf.matMul(x, w.natural(), false, true)
  const label = `${n}x${inn}x${out}`
  rows.push(await compare(`x·Wᵀ ${label} against tf.matMul`, () => linear(x, w, null, null), stock, flop))
  const dy = random(n, out) as tf.Tensor2D
  const back = (op: typeof linear): (() => tf.Tensor) => {
    return () => tf.grad((x) => tf.sum(tf.mul(op(x as tf.Tensor2D, w, null, null), dy)))(x)
  }
  rows.push(await compare(`x·Wᵀ and back ${label}`, back(linear), back(linearReference), 2 * flop))
  const [a, b] = [random(16, inn), random(out, 16)]
  const lora = (op: typeof linear) => (x: tf.Tensor, a: tf.Tensor, b: tf.Tensor) =>
    op(x as tf.Tensor2D, w, null, { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: 2 })
  const inputs = [x, a, b]
  rows.push(
    await compare(
      `LoRA 16 and back ${label}`,
      gradientOf(lora(linear) as never, inputs),
      gradientOf(lora(linearReference) as never, inputs),
    ),
  )
  w.dispose()
  tf.dispose([x, dy, a, b])
}

async function others(n: number, d: number, heads: number, vocabulary: number, rows: Row[]): Promise<void> {
  const x = random(n, d) as tf.Tensor2D
  const weight = random(d) as tf.Tensor1D
  const norm = (op: typeof rmsNorm) => (x: tf.Tensor) => op(x as tf.Tensor2D, weight, 1e-5)
  rows.push(await compare(`RMSNorm and back ${n}x${d}`, gradientOf(norm(rmsNorm), [x]), gradientOf(norm(rmsNormReference), [x]))) // prettier-ignore
  const qkv = [1, 2, 3].map(() => random(1, n, heads, d / heads)) as tf.Tensor4D[]
  const attend = (op: typeof attention) => (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) =>
    op(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, { scale: 0.2, past: 0 })
  rows.push(
    await compare(
      `attention and back T ${n}, ${heads} heads of ${d / heads}`,
      gradientOf(attend(attention) as never, qkv),
      gradientOf(attend(attentionReference) as never, qkv),
    ),
  )
  const head = matrix(vocabulary, d)
  const labels = tf.tensor1d(Array.from({ length: n }, (_, i) => (i * 31) % vocabulary), 'int32') // prettier-ignore
  rows.push(
    await compare(
      `cross-entropy and back ${n}x${d}x${vocabulary}`,
      () => crossEntropyWithGrad(x, head, labels, 1).dHidden,
      () => crossEntropyWithGradReference(x, head, labels, 1).dHidden,
    ),
  )
  head.dispose()
  tf.dispose([x, weight, labels, ...qkv])
}

const device = await start()
const rows: Row[] = []
await products(64, 128, 128, rows)
await products(128, 192, 512, rows)
await others(128, 192, 6, 1024, rows)
if (flags.large) {
  await products(512, 576, 1536, rows)
  await products(2048, 2048, 2048, rows)
  await others(512, 576, 9, 49152, rows)
}
if (flags.json) console.log(JSON.stringify({ device, rows }))
else {
  console.log(device)
  for (const { name, own, plain, ratio, gflops } of rows) {
    const rate = gflops === undefined ? '' : `  ${gflops.toFixed(1)} GFLOP/s`
    console.log(`${name.padEnd(52)} ${own.toFixed(2).padStart(9)} ms  plain ${plain.toFixed(2).padStart(9)} ms  x${ratio.toFixed(2)}${rate}`) // prettier-ignore
  }
}
process.exit(0)
