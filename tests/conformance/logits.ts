/**
 * Logits of a model as this engine computes them, for comparing with transformers: `tsx logits.ts MODEL_DIR IDS.json OUT.json`.
 * Refuses to write anything but what the forward pass gave.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { folderSource } from '../../src/cli/folder'
import { wasmFolder } from '../../src/cli/gpu'
import { loadModel, openDevice } from '../../src/engine'
import { scoresOf } from '../../src/engine/export/scores'

const [folder = '', input = '', output = ''] = process.argv.slice(2)
const { rows, texts } = JSON.parse(await readFile(input, 'utf8')) as { rows: number[][]; texts: string[] }
await openDevice('wasm', { wasmPath: wasmFolder() })
const model = await loadModel(await folderSource(folder), { id: 'local:conformance', name: 'conformance' })
const scores: number[][][] = []
for (const ids of rows) {
  const values = [...(await scoresOf(model, null, ids))]
  const wide = values.length / ids.length
  scores.push(ids.map((_, i) => values.slice(i * wide, (i + 1) * wide)))
}
await writeFile(output, JSON.stringify({ logits: scores, ids: texts.map((text) => model.tokenizer.encode(text)) }))
process.exit(0)
