/** Plain TensorFlow.js: the model in its ops, its own tape, its own Adam. The peer that everybody starts from. */
import * as tf from '@tensorflow/tfjs'
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

/** Builds the model on the current backend. */
export function tapePeer(s: BenchShape): Contestant {
  const before = tf.memory().numBytes
  const base = new Map(baseWeights(s).map((t) => [t.name, tf.tensor(t.values, t.shape)]))
  const adapter = new Map(adapterWeights(s).map((t) => [t.name, tf.variable(tf.tensor(t.values, t.shape))]))
  const rows = s.batch * s.length
  const head = s.hidden / s.heads
  const ids = batchIds(s)
  const inputs = tf.tensor1d(ids, 'int32')
  const last = (i: number) => (i + 1) % s.length === 0
  const labels = tf.tensor1d(
    Int32Array.from(ids, (_, i) => (last(i) ? 0 : (ids[i + 1] as number))),
    'int32',
  )
  const counted = tf.tensor1d(Float32Array.from(ids, (_, i) => (last(i) ? 0 : 1)))
  const tables = ropeTables(s)
  const cos = tf.tensor4d(tables.cos, [1, s.length, 1, head / 2])
  const sin = tf.tensor4d(tables.sin, [1, s.length, 1, head / 2])
  const mask = tf.tidy(() =>
    tf.linalg
      .bandPart(tf.ones([s.length, s.length]), -1, 0)
      .sub(1)
      .mul(1e9),
  )
  const weight = (name: string) => base.get(name) as tf.Tensor

  const norm = (x: tf.Tensor, name: string) => x.mul(x.square().mean(-1, true).add(EPSILON).rsqrt()).mul(weight(name))

  const linear = (x: tf.Tensor, name: string) => {
    const a = adapter.get(`base_model.model.${name}.lora_A.weight`) as tf.Tensor2D
    const b = adapter.get(`base_model.model.${name}.lora_B.weight`) as tf.Tensor2D
    const low = tf.matMul(tf.matMul(x as tf.Tensor2D, a, false, true), b, false, true)
    return tf.matMul(x as tf.Tensor2D, weight(`${name}.weight`) as tf.Tensor2D, false, true).add(low.mul(SCALE))
  }

  const rope = (x: tf.Tensor4D) => {
    const [first, second] = tf.split(x, 2, -1) as [tf.Tensor, tf.Tensor]
    return tf.concat([first.mul(cos).sub(second.mul(sin)), second.mul(cos).add(first.mul(sin))], -1) as tf.Tensor4D
  }

  const heads = (x: tf.Tensor, count: number) => x.reshape([s.batch, s.length, count, head]) as tf.Tensor4D

  const attention = (x: tf.Tensor, prefix: string) => {
    const group = s.heads / s.kvHeads
    const repeat = (y: tf.Tensor4D) =>
      tf
        .tile(y.transpose([0, 2, 1, 3]).reshape([s.batch, s.kvHeads, 1, s.length * head]), [1, 1, group, 1])
        .reshape([s.batch, s.heads, s.length, head])
    const q = rope(heads(linear(x, `${prefix}.q_proj`), s.heads)).transpose([0, 2, 1, 3])
    const k = repeat(rope(heads(linear(x, `${prefix}.k_proj`), s.kvHeads)))
    const v = repeat(heads(linear(x, `${prefix}.v_proj`), s.kvHeads))
    const scores = tf.softmax(
      tf
        .matMul(q, k, false, true)
        .mul(1 / Math.sqrt(head))
        .add(mask),
    )
    return linear(tf.matMul(scores, v).transpose([0, 2, 1, 3]).reshape([rows, s.hidden]), `${prefix}.o_proj`)
  }

  const forward = () => {
    let x: tf.Tensor = tf.gather(weight('model.embed_tokens.weight'), inputs)
    for (let layer = 0; layer < s.layers; layer++) {
      const prefix = `model.layers.${layer}`
      x = x.add(attention(norm(x, `${prefix}.input_layernorm.weight`), `${prefix}.self_attn`))
      const y = norm(x, `${prefix}.post_attention_layernorm.weight`)
      const gate = linear(y, `${prefix}.mlp.gate_proj`)
      x = x.add(linear(gate.mul(gate.sigmoid()).mul(linear(y, `${prefix}.mlp.up_proj`)), `${prefix}.mlp.down_proj`))
    }
    const hidden = norm(x, 'model.norm.weight') as tf.Tensor2D
    const logits = tf.matMul(hidden, weight('model.embed_tokens.weight') as tf.Tensor2D, false, true)
    return tf.losses.softmaxCrossEntropy(tf.oneHot(labels, s.vocabulary), logits, counted) as tf.Scalar
  }

  const optimiser = tf.train.adam(LEARNING_RATE, 0.9, 0.999, 1e-8)
  const variables = [...adapter.values()]
  return {
    async step() {
      const loss = optimiser.minimize(forward, true, variables) as tf.Scalar
      const [value] = await loss.data()
      const probe = variables[0]?.flatten().slice([0], [1])
      await probe?.data()
      probe?.dispose()
      loss.dispose()
      return value as number
    },
    bytes: () => tf.memory().numBytes - before,
    dispose() {
      optimiser.dispose()
      for (const tensor of [...base.values(), ...variables, inputs, labels, counted, cos, sin, mask]) tensor.dispose()
    },
  }
}
