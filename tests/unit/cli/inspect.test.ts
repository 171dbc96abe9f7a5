/** `finetab inspect PATH`: whatever lies there is named; what is nothing that is known is refused with what would do. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { downloadZip } from 'client-zip'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runCli } from '../../support/cli'

const GOLDEN = resolve(import.meta.dirname, '../../golden')
const MODEL = join(GOLDEN, 'llama-gqa-tied')
const ADAPTER = join(MODEL, 'adapter_init')
const LIMIT = 120_000

let folder: string
const at = (name: string) => join(folder, name)
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'finetab-inspect-'))
  await writeFile(at('rows.jsonl'), Array.from({ length: 8 }, (_, i) => `{"prompt":"a${i}","completion":" b"}\n`).join('')) // prettier-ignore
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const seen = async (path: string) => {
  const { code, events } = await runCli('inspect', path)
  return { code, ...events[0] }
}
async function zip(name: string, files: Record<string, string>): Promise<string> {
  const inputs = Object.entries(files).map(([path, input]) => ({ name: path, input }))
  await writeFile(at(name), new Uint8Array(await downloadZip(inputs).arrayBuffer()))
  return at(name)
}

describe('inspect PATH', () => {
  it.each(['peft', 'merged', 'gguf', 'gguf-lora', 'mlx'])(
    'knows what was exported as %s',
    { timeout: LIMIT },
    async (format) => {
      // prettier-ignore
      const out = at(format)
      expect((await runCli('export', '--model', MODEL, '--adapter', ADAPTER, '--format', format, '--out', out)).code).toBe(0) // prettier-ignore
      const wanted = {
        peft: { event: 'adapter', kind: 'PEFT LoRA', rank: 4 },
        merged: { event: 'model', family: 'llama', dtype: 'F32' },
        gguf: { event: 'model', family: 'llama', dtype: 'F32' },
        'gguf-lora': { event: 'adapter', kind: 'GGUF LoRA', rank: 4 },
        mlx: { event: 'adapter', kind: 'mlx-lm LoRA', rank: 4 },
      }[format]
      expect(await seen(out)).toMatchObject({ code: 0, ...wanted })
    },
  )

  it('knows GGUF files, weights, settings and tokenizers one by one', async () => {
    expect(await seen(join(GOLDEN, 'gguf-models/qwen2-q4_0.gguf'))).toMatchObject({ event: 'model', family: 'qwen2' })
    expect(await seen(join(MODEL, 'model.safetensors'))).toMatchObject({ event: 'weights', kind: 'model weights', tensors: 20 }) // prettier-ignore
    expect(await seen(join(ADAPTER, 'adapter_model.safetensors'))).toMatchObject({ kind: 'LoRA adapter, as PEFT names it', tensors: 28 }) // prettier-ignore
    expect(await seen(join(MODEL, 'tokenizer.json'))).toMatchObject({ event: 'tokenizer', sample: { same: true } })
    expect(await seen(join(MODEL, 'config.json'))).toMatchObject({ event: 'model', family: 'llama' })
    expect(await seen(join(ADAPTER, 'adapter_config.json'))).toMatchObject({ event: 'adapter', rank: 4 })
    expect(await seen('bundled:stories-3m')).toMatchObject({ event: 'model', family: 'llama' })
  })

  it('knows rows, jobs, hand-offs and zips', { timeout: LIMIT }, async () => {
    expect(await seen(at('rows.jsonl'))).toMatchObject({ code: 0, event: 'data', rows: 8, mapping: { format: 'pair' } })
    expect((await runCli('handoff', '--model', MODEL, '--data', at('rows.jsonl'), '--rank', '5', '--out', at('cluster'))).code).toBe(0) // prettier-ignore
    expect(await seen(at('cluster'))).toMatchObject({ event: 'job', settings: { rank: 5 } })
    await writeFile(at('job.json'), '{"rank":3,"schedule":"linear"}')
    expect(await seen(at('job.json'))).toMatchObject({ event: 'job', run: null, settings: { rank: 3 } })
    await writeFile(at('list.json'), '[{"prompt":"a","completion":"b"}]')
    expect(await seen(at('list.json'))).toMatchObject({ event: 'data', rows: 1 })
    expect(await seen(await zip('rows.zip', { 'a/train.jsonl': '{"prompt":"a","completion":"b"}\n' }))).toMatchObject({ event: 'data', rows: 1 }) // prettier-ignore
  })

  it('refuses what is nothing that it knows, and says what would do', async () => {
    const refused = async (path: string) => (({ code, what, fix }) => ({ code, what, fix }))((await seen(path)) as never) // prettier-ignore
    expect(await refused(at('nowhere/at-all'))).toMatchObject({ code: 'file.missing' })
    await writeFile(at('photo.jpg'), 'x')
    expect(await refused(at('photo.jpg'))).toMatchObject({ code: 'usage', fix: expect.stringContaining('GGUF') })
    await writeFile(at('pytorch_model.bin'), 'x')
    expect(await refused(at('pytorch_model.bin'))).toMatchObject({ code: 'model.pickle' })
    await mkdir(at('empty'))
    expect(await refused(at('empty'))).toMatchObject({ code: 'usage', what: 'The folder is empty.' })
    expect(await refused(await zip('model.zip', { 'm/config.json': '{}' }))).toMatchObject({ code: 'usage', fix: expect.stringContaining('Unpack') }) // prettier-ignore
    await writeFile(at('broken.safetensors'), 'x')
    expect(await refused(at('broken.safetensors'))).toMatchObject({ code: 'model.truncated' })
    await writeFile(at('broken.gguf'), 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')
    expect(await refused(at('broken.gguf'))).toMatchObject({ code: 'model.header' })
    expect((await runCli('inspect', 'a', 'b')).code).toBe(2)
  })
})
