/** jax-js: the same model and Adam under one jit of value-and-grad and update. The fastest public peer. */
import {
  blockUntilReady,
  defaultDevice,
  init,
  jit,
  nn,
  numpy as np,
  tree,
  valueAndGrad,
  type Device,
} from '@jax-js/jax'
import {
  adapterWeights,
  baseWeights,
  batchIds,
  EPSILON,
  LEARNING_RATE,
  ropeTables,
  SCALE,
  type BenchShape,
  type Contestant,
} from '../shapes'

type Arrays = Record<string, np.Array>

/** Builds the model on a jax-js device. @throws Error where the device is not there. */
export async function jaxPeer(s: BenchShape, device: Device): Promise<Contestant> {
  if (!(await init(device)).includes(device)) throw new Error(`jax-js has no ${device} here`)
  defaultDevice(device)
  const rows = s.batch * s.length
  const head = s.hidden / s.heads
  const toArrays = (tensors: ReturnType<typeof baseWeights>): Arrays =>
    Object.fromEntries(tensors.map((t) => [t.name, np.array(t.values).reshape(t.shape)]))
  const base = toArrays(baseWeights(s))
  let adapter = toArrays(adapterWeights(s))
  const zeros = () => tree.map((x: np.Array) => np.zeros(x.shape), tree.ref(adapter)) as Arrays
  let first = zeros()
  let second = zeros()
  const ids = batchIds(s)
  const tables = ropeTables(s)
  const cos = np.array(tables.cos).reshape([1, s.length, 1, head / 2])
  const sin = np.array(tables.sin).reshape([1, s.length, 1, head / 2])
  const mask = np
    .tril(np.ones([s.length, s.length]))
    .sub(1)
    .mul(1e9)
  const labelValues = Int32Array.from({ length: rows }, (_, i) =>
    (i + 1) % s.length === 0 ? 0 : (ids[i + 1] as number),
  )
  const weights = Float32Array.from({ length: rows }, (_, i) => ((i + 1) % s.length === 0 ? 0 : 1))
  const inputs = np.array(ids, { dtype: np.int32 })
  const labels = np.array(labelValues, { dtype: np.int32 })
  const counted = np.array(weights)
  const count = weights.reduce((a, b) => a + b, 0)

  const loss = (lora: Arrays, w: Arrays): np.Array => {
    const norm = (x: np.Array, name: string) => {
      const mean = np.mean(np.square(x.ref), -1, { keepdims: true })
      return x.div(np.sqrt(mean.add(EPSILON))).mul((w[name] as np.Array).ref)
    }
    const linear = (x: np.Array, name: string) => {
      const a = (lora[`base_model.model.${name}.lora_A.weight`] as np.Array).ref
      const b = (lora[`base_model.model.${name}.lora_B.weight`] as np.Array).ref
      const low = np.matmul(np.matmul(x.ref, a.transpose()), b.transpose())
      return np.matmul(x, (w[`${name}.weight`] as np.Array).ref.transpose()).add(low.mul(SCALE))
    }
    const rope = (x: np.Array) => {
      const one = x.ref.slice([], [], [], [0, head / 2])
      const two = x.slice([], [], [], [head / 2, head])
      return np.concatenate(
        [one.ref.mul(cos.ref).sub(two.ref.mul(sin.ref)), two.mul(cos.ref).add(one.mul(sin.ref))],
        -1,
      )
    }
    const attention = (x: np.Array, prefix: string) => {
      const group = s.heads / s.kvHeads
      const repeat = (y: np.Array) =>
        np
          .broadcastTo(y.reshape([s.batch, s.length, s.kvHeads, 1, head]), [s.batch, s.length, s.kvHeads, group, head])
          .reshape([s.batch, s.length, s.heads, head])
          .transpose([0, 2, 1, 3])
      const q = rope(linear(x.ref, `${prefix}.q_proj`).reshape([s.batch, s.length, s.heads, head])).transpose([
        0, 2, 1, 3,
      ])
      const k = repeat(rope(linear(x.ref, `${prefix}.k_proj`).reshape([s.batch, s.length, s.kvHeads, head])))
      const v = repeat(linear(x, `${prefix}.v_proj`).reshape([s.batch, s.length, s.kvHeads, head]))
      const scores = np.matmul(q, k.transpose([0, 1, 3, 2])).mul(1 / Math.sqrt(head))
      const mixed = np.matmul(nn.softmax(scores.add(mask.ref), -1), v)
      return linear(mixed.transpose([0, 2, 1, 3]).reshape([rows, s.hidden]), `${prefix}.o_proj`)
    }
    let x = np.take((w['model.embed_tokens.weight'] as np.Array).ref, inputs.ref, 0)
    for (let layer = 0; layer < s.layers; layer++) {
      const prefix = `model.layers.${layer}`
      x = x.ref.add(attention(norm(x, `${prefix}.input_layernorm.weight`), `${prefix}.self_attn`))
      const y = norm(x.ref, `${prefix}.post_attention_layernorm.weight`)
      const gate = nn.silu(linear(y.ref, `${prefix}.mlp.gate_proj`))
      x = x.add(linear(gate.mul(linear(y, `${prefix}.mlp.up_proj`)), `${prefix}.mlp.down_proj`))
    }
    const hidden = norm(x, 'model.norm.weight')
    const logits = np.matmul(hidden, (w['model.embed_tokens.weight'] as np.Array).ref.transpose())
    const picked = np.sum(logits.ref.mul(nn.oneHot(labels.ref, s.vocabulary)), -1)
    const each = nn.logsumexp(logits, -1).sub(picked)
    tree.dispose(lora)
    tree.dispose(w)
    return np.sum(each.mul(counted.ref)).div(count)
  }

  const update = jit((lora: Arrays, m: Arrays, v: Arrays, w: Arrays, correction: np.Array) => {
    const [value, grads] = valueAndGrad(loss)(tree.ref(lora), w) as [np.Array, Arrays]
    const next: { lora: Arrays; m: Arrays; v: Arrays } = { lora: {}, m: {}, v: {} }
    for (const key of Object.keys(lora)) {
      const grad = grads[key] as np.Array
      const mean = (m[key] as np.Array).mul(0.9).add(grad.ref.mul(0.1))
      const square = (v[key] as np.Array).mul(0.999).add(np.square(grad).mul(0.001))
      const hatM = mean.ref.mul(correction.ref.slice(0))
      const hatV = square.ref.mul(correction.ref.slice(1))
      next.m[key] = mean
      next.v[key] = square
      next.lora[key] = (lora[key] as np.Array).sub(hatM.div(np.sqrt(hatV).add(1e-8)).mul(LEARNING_RATE))
    }
    correction.dispose()
    return { value, ...next }
  })

  let steps = 0
  return {
    async step() {
      steps++
      const correction = np.array([1 / (1 - 0.9 ** steps), 1 / (1 - 0.999 ** steps)])
      const result = update(adapter, first, second, tree.ref(base), correction)
      adapter = result.lora
      first = result.m
      second = result.v
      await blockUntilReady(tree.ref(adapter))
      const [value] = await result.value.data()
      return value as number
    },
    bytes: () => null,
    dispose() {
      for (const arrays of [adapter, first, second, base]) tree.dispose(arrays)
      for (const array of [cos, sin, mask, inputs, labels, counted]) array.dispose()
    },
  }
}
