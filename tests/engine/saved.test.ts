/** Adapters that replace whole weights (modules_to_save), against logits recorded with PEFT; they stay as they are, wherever they go. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadModel, loadTrainable, stackAdapters, type Model } from '../../src/engine'
import { scoresOf } from '../../src/engine/export/scores'
import { exportGguf } from '../../src/engine/formats/gguf-export'
import { ggufFolder } from '../../src/engine/formats/gguf-source'
import { mergedFolder } from '../../src/engine/formats/merged'
import { collect, type OutFile } from '../../src/engine/formats/out-file'
import { asLora, plainDeltas, readPeft, savedTensors, type LoraPeft } from '../../src/engine/formats/peft'
import { readSafetensorsHeader, readTensor, toFloat32 } from '../../src/engine/formats/safetensors'
import { checkpointAdapter } from '../../src/engine/train/checkpoint'
import { loadTokenizer } from '../../src/engine/tokenizer'
import { tf } from '../../src/engine/tf'
import type { FileSource } from '../../src/shared/files'
import {
  encodedRows,
  goldenFolder,
  goldenJob,
  goldenModel,
  goldenSource,
  readGolden,
  sessionOver,
} from '../support/golden'
import { peftFolder } from '../support/exported'
import { memoryFolder } from '../support/memory-folder'

const CASES = {
  untied: 'llama-untied-llama3-rope',
  'tied-embeddings': 'llama-gqa-tied',
  'tied-both': 'llama-gqa-tied',
  'tied-together': 'llama-gqa-tied',
  gpt2: 'gpt2',
}

const furthest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] as number))), 0)

async function written(files: readonly OutFile[]): Promise<FileSource> {
  return memoryFolder(
    Object.fromEntries(await Promise.all(files.map(async (file) => [file.name, await collect(file)]))),
  )
}

describe.each(Object.entries(CASES))('%s', (name, base) => {
  let model: Model
  let peft: LoraPeft
  let ids: number[]
  let wanted: Float32Array

  beforeAll(async () => {
    const folder = await goldenFolder(`saved/${name}`, ['adapter_config.json', 'adapter_model.safetensors', 'golden.safetensors']) // prettier-ignore
    peft = asLora(await readPeft(folder))
    const header = await readSafetensorsHeader(folder, 'golden.safetensors')
    const raw = await readTensor(folder, header, 'ids')
    ids = Array.from(new Int32Array(raw.bytes.slice().buffer))
    wanted = toFloat32(await readTensor(folder, header, 'logits'))
    model = await goldenModel(base)
  })
  afterAll(() => model.dispose())

  it('gives the logits of PEFT, and those of the base at strength 0', async () => {
    // What the base lays out on first use stays with it.
    const first = loadTrainable(model, peft)
    first.setStrength(0.5)
    await scoresOf(model, first, ids)
    await scoresOf(model, null, ids)
    first.dispose()
    const before = tf.memory().numTensors
    const adapter = loadTrainable(model, peft)
    expect(furthest(await scoresOf(model, adapter, ids), wanted)).toBeLessThan(1e-4)
    const plain = await scoresOf(model, null, ids)
    expect(furthest(plain, wanted)).toBeGreaterThan(1e-2)
    adapter.setStrength(0.5)
    const half = await scoresOf(model, adapter, ids)
    expect(Math.min(furthest(half, wanted), furthest(half, plain))).toBeGreaterThan(1e-3)
    adapter.setStrength(0)
    expect(furthest(await scoresOf(model, adapter, ids), plain)).toBe(0)
    adapter.dispose()
    expect(tf.memory().numTensors).toBe(before)
  })

  it('merges into a model, and into a GGUF file, that gives them too', async () => {
    const source = await goldenSource(base)
    const merged = await written(await mergedFolder(source, peft, { dtype: 'same' }))
    const again = await loadModel(merged, { id: 'local:merged', name: 'merged' })
    expect(furthest(await scoresOf(again, null, ids), wanted)).toBeLessThan(1e-4)
    expect(again.config.tied).toBe(false)
    again.dispose()
    if (base === 'gpt2') return
    const tokenizer = await loadTokenizer(source)
    const gguf = await exportGguf({ source, adapter: peft, tokenizer, type: 'F32', name: 'saved', fileName: 'saved.gguf' }) // prettier-ignore
    const file = await ggufFolder(await written([gguf.file]), 'saved.gguf')
    const fromGguf = await loadModel(file, { id: 'local:gguf', name: 'gguf' })
    expect(furthest(await scoresOf(fromGguf, null, ids), wanted)).toBeLessThan(1e-4)
    fromGguf.dispose()
  })

  it('is trained on with its whole weights as they are, and comes out with them', async () => {
    const golden = await readGolden(base)
    const job = goldenJob(golden, { steps: 3, dropout: 0 })
    const rows = encodedRows(golden)
    const session = await sessionOver(rows, { model, job, initAdapter: peft })
    const losses = [await session.advance(), await session.advance()]
    expect(losses.every(Boolean)).toBe(true)
    const checkpoint = await session.checkpoint()
    session.dispose()
    const stored = checkpointAdapter(checkpoint, base) as LoraPeft
    expect(savedTensors(stored)).toEqual(savedTensors(peft))
    expect(stored.config.modules_to_save).toEqual(peft.config.modules_to_save)
    const changed = Object.keys(stored.tensors).filter((key) => key.endsWith('lora_B.weight'))
    for (const key of changed) expect(stored.tensors[key]!.bytes).not.toEqual(peft.tensors[key]!.bytes)
    const back = await readPeft(peftFolder(stored))
    expect(back).toEqual(stored)
    const second = await sessionOver(rows, { model, job, checkpoint })
    await second.advance()
    expect(savedTensors(checkpointAdapter(await second.checkpoint(), base))).toEqual(savedTensors(peft))
    second.dispose()
  })

  it('is refused where its weights do not fit, and by formats that have no place for them', () => {
    const [first = ''] = Object.keys(savedTensors(peft))
    const key = `base_model.model.${first}`
    const tensor = peft.tensors[key]!
    const broken = { ...peft, tensors: { ...peft.tensors, [key]: { ...tensor, shape: [1, ...tensor.shape] } } }
    expect(() => loadTrainable(model, broken)).toThrow(/should be \[/)
    const stray = { ...peft, tensors: { ...peft.tensors, 'base_model.model.model.other.weight': tensor } }
    expect(() => loadTrainable(model, stray)).toThrow(/model\.other\.weight is not in this model/)
    const bytes = tensor.bytes.slice()
    bytes.set([0, 0, 0xc0, 0x7f])
    const nan = { ...peft, tensors: { ...peft.tensors, [key]: { ...tensor, bytes } } }
    expect(() => loadTrainable(model, nan)).toThrow(/NaN/)
    expect(() => plainDeltas(peft)).toThrow(/replaced whole/)
    expect(() => stackAdapters([{ adapter: peft, weight: 1 }])).toThrow(/whole weights/)
  })
})
