/** What a classification head makes of a text. Refuses to cut it. */
import { CodedError } from '../shared/errors'
import type { Trainable } from './adapters/trainable'
import { withGuard } from './device-guard'
import type { Model } from './models/model'
import type { Pass } from './nn/network'
import { classScores } from './ops/class-loss'
import { tf } from './tf'

/** A class and how sure the head is of it, from 0 to 1. */
interface ClassProbability {
  readonly name: string
  readonly probability: number
}

/**
 * All classes, the likeliest first. Forces a sync with the device.
 * @throws CodedError `usage` where there is no text, or more than the model has positions.
 */
export async function classify(model: Model, adapter: Trainable, ids: readonly number[]): Promise<ClassProbability[]> {
  const { network } = model
  if (ids.length === 0 || ids.length > network.positions)
    throw new CodedError('usage', `A text of ${ids.length} tokens cannot be classified.`, {
      where: 'prompt',
      fix: `Write 1 to ${Math.min(network.positions, model.record.context)} tokens.`,
    })
  const values = await withGuard(async () => {
    const probabilities = tf.tidy(() => {
      const pass: Pass = { batch: 1, seq: ids.length, past: 0, overlay: adapter.overlay(), caches: null }
      let x = network.embed(tf.tensor1d([...ids], 'int32'), pass)
      for (let i = 0; i < network.layers; i++) {
        const input = x
        x = tf.tidy(() => network.layer(i, input, pass))
        input.dispose()
      }
      const last = network.finish(tf.slice(x, [ids.length - 1, 0], [1, network.hidden]), pass)
      return tf.softmax(classScores(last, pass.overlay?.score as tf.Tensor2D))
    })
    try {
      return await probabilities.data()
    } finally {
      probabilities.dispose()
    }
  })
  return (adapter.classes ?? [])
    .map((name, i) => ({ name, probability: values[i] as number }))
    .sort((a, b) => b.probability - a.probability)
}

/** The same as text, a class a line: "joy 93%". */
export function classText(classes: readonly ClassProbability[]): string {
  return classes
    .map(({ name, probability }) => `${name} ${(100 * probability).toFixed(probability < 0.01 ? 1 : 0)}%`)
    .join('\n')
}
