/**
 * Logits of a model as this engine computes them, for comparing with transformers: `tsx logits.ts MODEL_DIR IDS.json OUT.json`.
 * Refuses to write anything but what the forward pass gave.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { folderSource } from '../../src/cli/folder'
import { wasmFolder } from '../../src/cli/gpu'
import { loadModel, openDevice } from '../../src/engine'
import type { Model } from '../../src/engine'
import { logits } from '../../src/engine/ops'
import { tf } from '../../src/engine/tf'

/** Scores `[ids, vocabulary]` of one row. */
async function scoresOf({ network }: Model, ids: readonly number[]): Promise<number[][]> {
  const pass = { batch: 1, seq: ids.length, past: 0, lora: null, caches: null }
  const scores = tf.tidy(() => {
    let x = network.embed(tf.tensor1d([...ids], 'int32'), pass)
    for (let layer = 0; layer < network.layers; layer++) x = network.layer(layer, x, pass)
    return logits(network.finish(x), network.head, network.logitCap)
  })
  const values = (await scores.array()) as number[][]
  scores.dispose()
  return values
}

const [folder = '', input = '', output = ''] = process.argv.slice(2)
const { rows, texts } = JSON.parse(await readFile(input, 'utf8')) as { rows: number[][]; texts: string[] }
await openDevice('wasm', { wasmPath: wasmFolder() })
const model = await loadModel(await folderSource(folder), { id: 'local:conformance', name: 'conformance' })
const scores: number[][][] = []
for (const ids of rows) scores.push(await scoresOf(model, ids))
await writeFile(output, JSON.stringify({ logits: scores, ids: texts.map((text) => model.tokenizer.encode(text)) }))
process.exit(0)
