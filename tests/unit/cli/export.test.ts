/** `finetab export` in every format and type, read back by our own readers; tests/conformance has others read the same files. */
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { folderSource, writeOutFiles } from '../../../src/cli/folder'
import { openWeights } from '../../../src/engine/formats/checkpoint-index'
import { readGguf } from '../../../src/engine/formats/gguf-read'
import { bytesFile } from '../../../src/engine/formats/out-file'
import { readMlx } from '../../../src/engine/formats/mlx'
import { CodedError } from '../../../src/shared/errors'
import { runCli } from '../../support/cli'

const MODEL = resolve(import.meta.dirname, '../../golden/llama-gqa-tied')
const ADAPTER = join(MODEL, 'adapter_init')
const LIMIT = 120_000

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'finetab-export-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const exported = (out: string, ...more: string[]) =>
  runCli('export', '--model', MODEL, '--adapter', ADAPTER, '--out', join(folder, out), ...more)

describe('export', () => {
  it('never writes over the base model', { timeout: LIMIT }, async () => {
    const base = join(folder, 'base')
    await cp(MODEL, base, { recursive: true })
    const over = ['--adapter', ADAPTER, '--format', 'merged', '--out', join(folder, 'base', '..', 'base')]
    const { code, events } = await runCli('export', '--model', base, ...over)
    expect([code, events[0]]).toMatchObject([2, { code: 'usage', what: 'This would write over the base model.' }])
    expect(await readFile(join(base, 'model.safetensors'))).toEqual(await readFile(join(MODEL, 'model.safetensors')))
    const file = ['--adapter', ADAPTER, '--format', 'gguf', '--name', 'mine', '--out', join(folder, 'files')]
    expect((await runCli('export', '--model', MODEL, ...file)).code).toBe(0)
    const again = await runCli('export', '--model', join(folder, 'files', 'mine.gguf'), ...file)
    expect([again.code, again.events[0]?.code]).toEqual([2, 'usage'])
  })

  it('writes whole models in the type that was asked for', { timeout: LIMIT }, async () => {
    for (const [dtype, stored, most] of [
      ['f32', 'F32', 1e-5],
      ['f16', 'F16', 0.1],
      ['bf16', 'BF16', 1],
    ] as const) {
      const { code, events } = await exported(`merged-${dtype}`, '--format', 'merged', '--dtype', dtype)
      expect([code, events[0]]).toMatchObject([0, { event: 'done', format: 'merged', dtype, tensors: 20 }])
      expect(Number(events[0]?.largest_logit_difference)).toBeLessThan(most)
      expect(Number(events[0]?.largest_difference) > 0).toBe(dtype !== 'f32')
      const weights = await openWeights(await folderSource(join(folder, `merged-${dtype}`)))
      expect(weights.info('model.norm.weight').dtype).toBe(stored)
    }
  })

  it('writes GGUF files in the type that was asked for', { timeout: LIMIT }, async () => {
    for (const [dtype, stored] of [
      ['f32', 'F32'],
      ['f16', 'F16'],
      ['bf16', 'BF16'],
      ['q8_0', 'Q8_0'],
    ] as const) {
      const { code, events } = await exported(
        `gguf-${dtype}`,
        ...['--format', 'gguf', '--dtype', dtype, '--name', 'Tiny one'],
      )
      expect([code, events[0]]).toMatchObject([0, { event: 'done', tensors: 20 }])
      const gguf = await readGguf(await folderSource(join(folder, `gguf-${dtype}`)), 'Tiny-one.gguf')
      expect(gguf.tensors.get('blk.0.attn_q.weight')?.type).toBe(stored)
      expect(gguf.metadata.get('general.name')).toBe('Tiny one')
    }
  })

  it('writes adapters for llama.cpp and mlx-lm', { timeout: LIMIT }, async () => {
    expect((await exported('lora', '--format', 'gguf-lora')).code).toBe(0)
    const lora = await readGguf(await folderSource(join(folder, 'lora')), 'adapter-init-lora.gguf')
    expect(lora.tensors.size).toBe(28)
    expect((await exported('mlx', '--format', 'mlx')).code).toBe(0)
    expect(Object.keys((await readMlx(await folderSource(join(folder, 'mlx')))).tensors)).toHaveLength(28)
    const seen = async (path: string) => (await runCli('inspect', '--adapter', path)).events[0]
    expect(await seen(join(folder, 'lora/adapter-init-lora.gguf'))).toMatchObject({ kind: 'GGUF LoRA', rank: 4, alpha: 8, layers: 14 }) // prettier-ignore
    expect(await seen(join(folder, 'mlx'))).toMatchObject({ event: 'adapter', rank: 4, alpha: 8, tensors: 28, run: null }) // prettier-ignore
    // What mlx-lm wrote can be exported again.
    const back = await runCli(
      ...['export', '--model', MODEL, '--adapter', join(folder, 'mlx'), '--out', join(folder, 'back')],
    )
    expect([back.code, back.events[0]]).toMatchObject([0, { format: 'peft', tensors: 28, largest_difference: 0 }])
  })

  it('takes settings, curve and card along for a run of its own', { timeout: LIMIT }, async () => {
    const data = join(folder, 'rows.jsonl')
    await writeFile(data, Array.from({ length: 8 }, (_, i) => `{"prompt":"a${i}","completion":" b"}\n`).join(''))
    const run = join(folder, 'run')
    const places = ['--model', MODEL, '--data', data, '--out', run, '--backend', 'wasm']
    expect((await runCli('train', ...places, '--steps', '3', '--rank', '3')).code).toBe(0)
    const looked = await runCli('inspect', '--adapter', run)
    expect(looked.events[0]).toMatchObject({ event: 'adapter', rank: 3, run: { step: 3, total_steps: 3 } })
    const out = join(folder, 'whole')
    const { code, events } = await runCli('export', '--model', MODEL, '--adapter', run, '--out', out)
    expect(code).toBe(0)
    const names = ['README.md', 'adapter_config.json', 'adapter_model.safetensors', 'job.json', 'metrics.csv']
    expect(events[0]?.files).toEqual(expect.arrayContaining(names))
    expect(JSON.parse(await readFile(join(out, 'job.json'), 'utf8'))).toMatchObject({ rank: 3, steps: 3 })
    expect((await readFile(join(out, 'metrics.csv'), 'utf8')).split('\n').length).toBeGreaterThan(3)
    const card = await readFile(join(out, 'README.md'), 'utf8')
    expect(card).toContain('rows.jsonl: 7 examples to learn from.')
    expect(card).toContain('| LoRA rank | 3 |')
  })

  it('takes a GGUF file for a model, and gives a run of it back as GGUF', { timeout: LIMIT }, async () => {
    const gguf = resolve(import.meta.dirname, '../../golden/gguf-models/llama-gqa-tied-q8_0.gguf')
    const seen = await runCli('inspect', '--model', gguf)
    expect(seen.events[0]).toMatchObject({ event: 'model', family: 'llama', parameters: 20_288 })
    const out = join(folder, 'from-gguf')
    const flags = ['--model', gguf, '--adapter', ADAPTER, '--out', out, '--format', 'gguf', '--dtype', 'f16']
    const { code, events } = await runCli('export', ...flags)
    expect([code, events[0]]).toMatchObject([0, { format: 'gguf', tensors: 20 }])
    const again = await runCli('inspect', '--model', join(out, 'adapter-init.gguf'))
    expect(again.events[0]).toMatchObject({ dtype: 'F16', parameters: 20_288 })
  })

  it('refuses formats and types that there are not', { timeout: LIMIT }, async () => {
    for (const flags of [
      ['--format', 'onnx'],
      ['--format', 'peft', '--dtype', 'f16'],
      ['--format', 'merged', '--dtype', 'q8_0'],
    ]) {
      const { code, events } = await exported('none', ...flags)
      expect([code, events[0]?.code]).toEqual([2, 'usage'])
    }
    expect(await readdir(folder)).not.toContain('none')
  })

  it('leaves nothing where the check fails, and what was there where it was', async () => {
    const out = join(folder, 'kept')
    await writeOutFiles(out, [bytesFile('a.txt', 'old')], { check: async () => 0 })
    const check = async () => {
      throw new CodedError('export.verify', 'no')
    }
    const files = [bytesFile('a.txt', 'new'), bytesFile('b.txt', 'new')]
    await expect(writeOutFiles(out, files, { check })).rejects.toMatchObject({ code: 'export.verify' })
    expect(await readdir(out)).toEqual(['a.txt'])
    expect(await readFile(join(out, 'a.txt'), 'utf8')).toBe('old')
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })
})
