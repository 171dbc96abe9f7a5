/** The models and batches that the benches run, with seeded weights under Hugging Face names. Refuses randomness of its own. */

export interface BenchShape {
  name: string
  layers: number
  hidden: number
  heads: number
  kvHeads: number
  feedForward: number
  vocabulary: number
  batch: number
  length: number
}

export const SHAPES: Record<string, BenchShape> = {
  tiny: {
    name: 'tiny',
    layers: 2,
    hidden: 128,
    heads: 4,
    kvHeads: 2,
    feedForward: 384,
    vocabulary: 512,
    batch: 4,
    length: 64,
  },
  small: {
    name: 'small',
    layers: 6,
    hidden: 192,
    heads: 6,
    kvHeads: 3,
    feedForward: 512,
    vocabulary: 4096,
    batch: 4,
    length: 128,
  },
  smollm2x2: {
    name: 'smollm2x2',
    layers: 2,
    hidden: 576,
    heads: 9,
    kvHeads: 3,
    feedForward: 1536,
    vocabulary: 49152,
    batch: 1,
    length: 128,
  },
}
SHAPES.smollm2 = { ...SHAPES.smollm2x2!, name: 'smollm2', layers: 30, length: 512 }

/** What each shape is, in words. */
export const SHAPE_WORDS: Record<string, string> = {
  tiny: '2 layers, width 128, vocabulary 512, batch 4 x 64 tokens',
  small: '6 layers, width 192, vocabulary 4,096, batch 4 x 128 tokens',
  smollm2x2: "two of SmolLM2-135M's layers: width 576, vocabulary 49,152, batch 1 x 128 tokens",
  smollm2: 'all 30 of them, batch 1 x 512 tokens',
}

export const RANK = 16
export const SCALE = 2
export const LEARNING_RATE = 1e-3
export const EPSILON = 1e-5
export const ROPE_THETA = 10_000

/** Projections of a layer with their [out, in]. */
export function projections(s: BenchShape): [name: string, out: number, inn: number][] {
  const head = s.hidden / s.heads
  return [
    ['self_attn.q_proj', s.hidden, s.hidden],
    ['self_attn.k_proj', s.kvHeads * head, s.hidden],
    ['self_attn.v_proj', s.kvHeads * head, s.hidden],
    ['self_attn.o_proj', s.hidden, s.hidden],
    ['mlp.gate_proj', s.feedForward, s.hidden],
    ['mlp.up_proj', s.feedForward, s.hidden],
    ['mlp.down_proj', s.hidden, s.feedForward],
  ]
}

/**
 * Floating-point operations that one LoRA step needs, however it is computed: nothing counted twice, scores only where they are not
 * masked, no gradient for the first layer's input.
 */
export function stepFlops(s: BenchShape): number {
  const rows = s.batch * s.length
  let flops = 4 * s.batch * (s.length - 1) * s.vocabulary * s.hidden // head, forward and backward
  for (let layer = 0; layer < s.layers; layer++) {
    for (const [name, out, inn] of projections(s)) {
      const first = layer === 0 && /[qkv]_proj/.test(name)
      flops += 2 * rows * (out * inn + RANK * (out + inn)) // forward
      flops += 2 * rows * RANK * (out + out + inn) // gradients of the low product, of B and of A
      if (!first) flops += 2 * rows * (out * inn + RANK * inn) // gradient of x
    }
    flops += 6 * s.batch * s.hidden * s.length ** 2 // two products forward, four backward, half of each
  }
  return flops
}

/** Numbers in [-scale, scale] from a linear congruential generator, so that every peer starts from the same weights. */
export function seeded(count: number, seed: number, scale: number): Float32Array {
  const values = new Float32Array(count)
  let state = (seed * 2654435761 + 12345) >>> 0
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    values[i] = (state / 2 ** 31 - 1) * scale
  }
  return values
}

export interface BenchTensor {
  name: string
  shape: number[]
  values: Float32Array
}

/** Frozen weights: tied embedding, norms of ones, seven projections a layer. */
export function baseWeights(s: BenchShape): BenchTensor[] {
  const tensors: BenchTensor[] = []
  const add = (name: string, shape: number[], scale: number) =>
    tensors.push({
      name,
      shape,
      values: seeded(
        shape.reduce((a, b) => a * b, 1),
        tensors.length + 1,
        scale,
      ),
    })
  const ones = (name: string) => tensors.push({ name, shape: [s.hidden], values: new Float32Array(s.hidden).fill(1) })
  add('model.embed_tokens.weight', [s.vocabulary, s.hidden], 0.1)
  for (let layer = 0; layer < s.layers; layer++) {
    for (const [name, out, inn] of projections(s)) {
      add(`model.layers.${layer}.${name}.weight`, [out, inn], Math.sqrt(3 / inn))
    }
    ones(`model.layers.${layer}.input_layernorm.weight`)
    ones(`model.layers.${layer}.post_attention_layernorm.weight`)
  }
  ones('model.norm.weight')
  return tensors
}

/** Adapter start under PEFT names: seeded A, B of zeros. */
export function adapterWeights(s: BenchShape): BenchTensor[] {
  const tensors: BenchTensor[] = []
  for (let layer = 0; layer < s.layers; layer++) {
    for (const [name, out, inn] of projections(s)) {
      const key = `base_model.model.model.layers.${layer}.${name}`
      const values = seeded(RANK * inn, 7919 + tensors.length, 1 / Math.sqrt(inn))
      tensors.push({ name: `${key}.lora_A.weight`, shape: [RANK, inn], values })
      tensors.push({ name: `${key}.lora_B.weight`, shape: [out, RANK], values: new Float32Array(out * RANK) })
    }
  }
  return tensors
}

/** One batch of ids, the same every step: [batch · length]. */
export function batchIds(s: BenchShape): Int32Array {
  const noise = seeded(s.batch * s.length, 4242, 1)
  return Int32Array.from(noise, (x) => Math.min(s.vocabulary - 1, Math.floor(((x + 1) / 2) * s.vocabulary)))
}

/** Rope tables [length, head/2] for positions from 0. */
export function ropeTables(s: BenchShape): { cos: Float32Array; sin: Float32Array } {
  const half = s.hidden / s.heads / 2
  const cos = new Float32Array(s.length * half)
  const sin = new Float32Array(s.length * half)
  for (let t = 0; t < s.length; t++) {
    for (let i = 0; i < half; i++) {
      const angle = t / ROPE_THETA ** (i / half)
      cos[t * half + i] = Math.cos(angle)
      sin[t * half + i] = Math.sin(angle)
    }
  }
  return { cos, sin }
}

/** What every contestant gives: losses of its steps and ms of each step (finished on the device), first ones included. */
export interface BenchResult {
  peer: string
  losses: number[]
  times: number[]
  /** Processor's ms of each step, of all threads, which other work on the machine does not take from; null in a page. */
  processor: number[] | null
  /** On webgpu the most that buffers took, on wasm the most that tensors took; null where the library does not tell. */
  peakBytes: number | null
  /** Of the last step; 0 on wasm. */
  dispatches: number
  /** ms of host time and dispatches of the step's recordable work, through the ops and replayed; null for peers and on wasm. */
  host: { ops: HostTime; replayed: HostTime } | null
  flops: number
}

/** What a piece of work cost the host. */
export interface HostTime {
  ms: number
  dispatches: number
}

/** One step: trains on the batch and gives the loss, with all device work done. */
export interface Contestant {
  step(): Promise<number>
  /** Bytes held now, on wasm; null where the library does not tell. */
  bytes(): number | null
  /** Host time of the last step's recordable work, through the ops and replayed. */
  host?(): BenchResult['host']
  dispose(): void
}
