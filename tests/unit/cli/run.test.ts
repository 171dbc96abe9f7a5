/** The command line as a person runs it, in processes of its own: train, interrupt, resume, evaluate, generate, export. */
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { folderSource } from '../../../src/cli/folder'
import { Interrupt } from '../../../src/cli/interrupt'
import { lockFolder } from '../../../src/cli/lock'
import { execute } from '../../../src/cli/main'
import type { Streams } from '../../../src/cli/output'
import { Output } from '../../../src/cli/output'
import { readPeft } from '../../../src/engine/formats/peft'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const MODEL = join(ROOT, 'tests/golden/llama-gqa-tied')
const ADAPTER = join(MODEL, 'adapter_init')
const LIMIT = 300_000

type Event = Record<string, unknown> & { event: string }
interface Ended {
  code: number
  events: Event[]
  stdout: string
  stderr: string
}

/** Runs the command; `watch` sees each event and may send a signal. The code of a killed process is -1. */
function finetab(
  argv: readonly string[],
  watch?: (event: Event, kill: (signal: NodeJS.Signals) => void) => void,
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(ROOT, 'scripts/finetab.mjs'), ...argv])
    const ended: Ended = { code: -1, events: [], stdout: '', stderr: '' }
    let rest = ''
    child.stderr.on('data', (piece: Buffer) => (ended.stderr += piece.toString()))
    child.stdout.on('data', (piece: Buffer) => {
      ended.stdout += piece.toString()
      if (!argv.includes('--json')) return
      const lines = (rest + piece.toString()).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const event = JSON.parse(line) as Event
        ended.events.push(event)
        watch?.(event, (signal) => child.kill(signal))
      }
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ ...ended, code: code ?? -1 }))
  })
}

const only = (events: readonly Event[], name: string) => events.filter(({ event }) => event === name)
const column = (events: readonly Event[], name: string) => only(events, 'step').map((event) => Number(event[name]))

interface Golden {
  rows: { input_ids: number[]; labels: number[] }[]
  row_losses: Record<'base' | 'adapter', { loss: number; tokens: number }[]>
  runs: { name: string; steps: { loss: number; grad_norm: number; lr: number }[] }[]
}

let folder: string
let data: string
let golden: Golden
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'finetab-'))
  data = join(folder, 'rows.jsonl')
  golden = JSON.parse(await readFile(join(MODEL, 'golden.json'), 'utf8')) as Golden
  await writeFile(data, golden.rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** The settings of the recorded run. */
const RECORDED =
  '--steps 20 --batch-size 2 --grad-accum 2 --lr 5e-3 --warmup-steps 3 --schedule cosine --weight-decay 0.01 --clip 1 --no-shuffle ' +
  '--eval-fraction 0 --dropout 0 --max-length 64 --train-on completion --backend wasm --json'

function trainFlags(out: string, more = ''): string[] {
  return [
    'train',
    '--model',
    MODEL,
    '--data',
    data,
    '--out',
    join(folder, out),
    ...`${RECORDED} ${more}`.trim().split(' '),
  ]
}

function expectClose(actual: readonly number[], expected: readonly number[], tolerance: number): void {
  expect(actual).toHaveLength(expected.length)
  const worst = Math.max(...actual.map((value, i) => Math.abs(value - (expected[i] as number)) / Math.max(1e-6, Math.abs(expected[i] as number)))) // prettier-ignore
  expect(worst).toBeLessThan(tolerance)
}

describe('train', () => {
  it('gives the losses, norms and rates that PyTorch gives', { timeout: LIMIT }, async () => {
    const { code, events, stderr } = await finetab([...trainFlags('golden'), '--init-adapter', ADAPTER])
    expect([code, stderr]).toEqual([0, ''])
    const steps = golden.runs[0]?.steps ?? []
    expectClose(column(events, 'loss'), steps.map(({ loss }) => loss), 1e-4) // prettier-ignore
    expectClose(column(events, 'grad_norm'), steps.map(({ grad_norm }) => grad_norm), 1e-3) // prettier-ignore
    expectClose(column(events, 'lr'), steps.map(({ lr }) => lr), 1e-6) // prettier-ignore
    expect(only(events, 'done')).toMatchObject([{ out: join(folder, 'golden'), best_step: 20 }])
    const state = JSON.parse(await readFile(join(folder, 'golden', 'trainer_state.json'), 'utf8')) as Golden & {
      global_step: number
      log_history: { loss: number }[]
    }
    expect(state.global_step).toBe(20)
    expect(state.log_history.map(({ loss }) => loss)).toEqual(column(events, 'loss'))
  })

  it(
    'goes on after an interrupt, and after being killed, with the very same losses, on one thread or several',
    { timeout: LIMIT },
    async () => {
      const settings = '--rank 4 --dropout 0.1 --save-every 4 --eval-every 5 --eval-fraction 0.3'
      const whole = await finetab(trainFlags('whole', `${settings} --threads 1`))
      const first = await finetab(trainFlags('parts', `${settings} --threads 1`), (event, kill) => {
        if (event.event === 'step' && event.step === 7) kill('SIGINT')
      })
      const stoppedAt = Number(only(first.events, 'interrupted')[0]?.step)
      expect(stoppedAt).toBeGreaterThanOrEqual(7)
      const second = await finetab(trainFlags('parts', `${settings} --resume --threads 2`), (event, kill) => {
        if (event.event === 'step' && event.step === 14) kill('SIGKILL')
      })
      const third = await finetab(trainFlags('parts', `${settings} --resume --threads 3`))
      expect([whole.code, first.code, second.code, third.code]).toEqual([0, 130, -1, 0])
      expect(column(second.events, 'step')[0]).toBe(stoppedAt + 1)
      expect(column(third.events, 'step')[0]).toBeGreaterThan(12)
      const parts = [...first.events, ...second.events, ...third.events]
      const losses = (events: readonly Event[]) =>
        new Map(only(events, 'step').map(({ step, loss }) => [step, Number(loss)]))
      expectClose([...losses(parts).values()], [...losses(whole.events).values()], 1e-6)
      const evals = (events: readonly Event[]) =>
        new Map(only(events, 'eval').map(({ step, eval_loss }) => [step, eval_loss]))
      expect(evals(parts)).toEqual(evals(whole.events))
      const adapters = await Promise.all(
        ['whole', 'parts'].map((out) => readFile(join(folder, out, 'adapter_model.safetensors'))),
      )
      expect(adapters[0]?.equals(adapters[1] as Buffer)).toBe(true)
    },
  )

  it('refuses to resume with other settings', { timeout: LIMIT }, async () => {
    const { code, events } = await finetab(trainFlags('golden', '--resume --rank 5'))
    expect([code, events[0]?.code]).toEqual([2, 'checkpoint.mismatch'])
  })

  it(
    'refuses to resume on other rows of the same number, or with a damaged checkpoint',
    { timeout: LIMIT },
    async () => {
      const other = join(folder, 'other.jsonl')
      const [first, ...rest] = (await readFile(data, 'utf8')).trimEnd().split('\n')
      await writeFile(other, `${rest.join('\n')}\n${first}\n`)
      const changed = await finetab(['train', '--out', join(folder, 'golden'), '--resume', '--data', other, '--json'])
      expect([changed.code, only(changed.events, 'error')[0]?.code]).toEqual([2, 'checkpoint.mismatch'])
      for (const text of ['{"version":1}', 'null', '{"version":1,"job":5,"metrics":{},"note":{}}']) {
        await mkdir(join(folder, 'damaged', 'checkpoint-last'), { recursive: true })
        await writeFile(join(folder, 'damaged', 'checkpoint-last', 'checkpoint.json'), text)
        const damaged = await finetab(['train', '--out', join(folder, 'damaged'), '--resume', '--json'])
        expect([damaged.code, damaged.events[0]?.code]).toEqual([2, 'checkpoint.mismatch'])
      }
    },
  )

  it('refuses a folder that another process trains into', { timeout: LIMIT }, async () => {
    const out = join(folder, 'shared')
    await mkdir(out, { recursive: true })
    const release = await lockFolder(out)
    const refused = await finetab(trainFlags('shared', '--steps 1'))
    expect([refused.code, refused.events.at(-1)?.code]).toEqual([1, 'run.locked'])
    expect(await readdir(out)).toEqual(['training.lock'])
    release()
    expect((await finetab(trainFlags('shared', '--steps 1'))).code).toBe(0)
    expect(await readdir(out)).not.toContain('training.lock')
  })

  it('starts with what a recipe chose, and says why', { timeout: LIMIT }, async () => {
    const flags = ['train', '--model', MODEL, '--data', data, '--out', join(folder, 'recipe'), '--steps', '2', '--backend', 'wasm', '--json'] // prettier-ignore
    const { code, events } = await finetab(flags)
    expect(code).toBe(0)
    const start = only(events, 'start')[0] as unknown as {
      job: Record<string, unknown>
      reasons: { key: string; text: string }[]
    }
    expect(start.job).toMatchObject({ steps: 2, backend: 'wasm' })
    for (const { key, text } of start.reasons) {
      expect(start.job).toHaveProperty(key)
      expect(text).not.toBe('')
    }
  })

  it('says which validation rows are trained on too', { timeout: LIMIT }, async () => {
    const { code, events, stderr } = await finetab(trainFlags('leak', `--eval-data ${data} --steps 1`))
    expect(code).toBe(0)
    expect(only(events, 'shared_rows')).toMatchObject([{ shared: golden.rows.length, rows: golden.rows.length }])
    expect(stderr).toContain('validation rows are trained on too')
  })

  it('says why rows are not recognised, and what can be done without the page', { timeout: LIMIT }, async () => {
    const odd = join(folder, 'odd.jsonl')
    await writeFile(odd, '{"prompt": 1, "completion": 2}\n'.repeat(20))
    const { code, events } = await finetab(['train', '--model', MODEL, '--data', odd, '--out', join(folder, 'odd'), '--json']) // prettier-ignore
    expect([code, events[0]?.code, events[0]?.where]).toEqual([2, 'data.columns', odd])
    expect(events[0]?.what).toContain('hardly any texts in "prompt", "completion"')
    expect(events[0]?.fix).toContain('rename the columns')
  })

  it('talks to people without --json', { timeout: LIMIT }, async () => {
    const flags = trainFlags('people').filter((flag) => flag !== '--json')
    const { code, stdout, stderr } = await finetab([...flags, '--steps', '2'])
    expect([code, stdout]).toEqual([0, ''])
    expect(stderr).toContain('grad norm')
    expect(stderr).toContain(join(folder, 'people'))
  })
})

describe('rehearse', () => {
  it('makes the first steps of the very run, and keeps nothing', { timeout: LIMIT }, async () => {
    const flags = trainFlags('rehearsed').filter((flag, i, all) => flag !== '--out' && all[i - 1] !== '--out')
    const { code, events } = await finetab([
      'rehearse',
      ...flags.slice(1),
      '--warmup-steps',
      '0',
      '--init-adapter',
      ADAPTER,
    ])
    expect(code).toBe(0)
    expect(column(events, 'loss')[0]).toBeCloseTo(golden.runs[0]?.steps[0]?.loss ?? 0, 4)
    expect(only(events, 'rehearsal')).toMatchObject([{ kind: 'time', totalSteps: 20, seconds: expect.any(Number) }])
  })
})

describe('rehearse --kind prompting', () => {
  it('lets the base answer with and without examples', { timeout: LIMIT }, async () => {
    const asked = join(folder, 'asked.jsonl')
    const lines = Array.from({ length: 20 }, (_, i) => JSON.stringify({ prompt: `say ${i}`, completion: 'the hat' }))
    await writeFile(asked, lines.join('\n'))
    const flags = ['rehearse', '--kind', 'prompting', '--model', MODEL, '--data', asked, '--backend', 'wasm', '--json']
    const { code, events } = await finetab(flags)
    expect(code).toBe(0)
    expect(only(events, 'prompting')).toMatchObject([{ shots: 3, answered: 2, verdict: expect.any(String) }])
  })
})

describe('rehearse with a validation dataset', () => {
  it('times the evaluation of that dataset, and trains on all other rows', { timeout: LIMIT }, async () => {
    const flags = ['rehearse', '--model', MODEL, '--data', data, '--eval-data', data, '--batch-size', '1', '--epochs', '1', '--backend', 'wasm', '--json'] // prettier-ignore
    const { code, events } = await finetab(flags)
    expect(code).toBe(0)
    expect(only(events, 'rehearsal')).toMatchObject([{ totalSteps: golden.rows.length }])
    expect(only(events, 'rehearsal')[0]?.evalTime).toBeGreaterThan(0)
  })
})

describe('evaluate', () => {
  it('gives the losses of single rows that PEFT gives', { timeout: LIMIT }, async () => {
    const flags = ['evaluate', '--model', MODEL, '--data', data, '--backend', 'wasm', '--json']
    for (const [which, more] of [
      ['base', []],
      ['adapter', ['--adapter', ADAPTER]],
    ] as const) {
      const { code, events } = await finetab([...flags, ...more])
      expect(code).toBe(0)
      const rows = only(events, 'row')
      const expected = golden.row_losses[which]
      expect(rows.map(({ index, tokens }) => [index, tokens])).toEqual(expected.map(({ tokens }, i) => [i, tokens]))
      expectClose(rows.map(({ loss }) => Number(loss)), expected.map(({ loss }) => loss), 1e-4) // prettier-ignore
      const tokens = expected.reduce((sum, row) => sum + row.tokens, 0)
      const mean = expected.reduce((sum, row) => sum + row.loss * row.tokens, 0) / tokens
      const total = only(events, 'total')[0]
      expectClose([Number(total?.loss), Number(total?.perplexity)], [mean, Math.exp(mean)], 1e-4)
    }
  })

  it('puts the base beside an adapter, with scores and what was forgotten', { timeout: LIMIT }, async () => {
    const flags = ['evaluate', '--model', MODEL, '--data', data, '--adapter', ADAPTER, '--backend', 'wasm', '--json']
    const { code, events } = await finetab(flags)
    expect(code).toBe(0)
    const losses = (name: string) => only(events, 'row').map((row) => Number(row[name]))
    expectClose(losses('base_loss'), golden.row_losses.base.map(({ loss }) => loss), 1e-4) // prettier-ignore
    const scores = only(events, 'scores')[0]?.scores as { key: string; base: { value: number; low: number } }[]
    const tokens = golden.row_losses.base.reduce((sum, row) => sum + row.tokens, 0)
    const mean = golden.row_losses.base.reduce((sum, row) => sum + row.loss * row.tokens, 0) / tokens
    const loss = scores.find(({ key }) => key === 'loss')?.base
    expectClose([Number(loss?.value)], [mean], 1e-4)
    expect(loss?.low).toBeLessThan(mean)
    expect(only(events, 'forgetting')).toMatchObject([{ passages: 24, rise: { value: expect.any(Number) } }])
  })
})

describe('generate', () => {
  it('repeats itself with a seed, and takes less of the adapter where asked to', { timeout: LIMIT }, async () => {
    const flags = ['generate', '--model', MODEL, '--adapter', ADAPTER, '--prompt', 'the cat', '--max-new-tokens', '12', '--seed', '3', '--backend', 'wasm', '--json'] // prettier-ignore
    const made = await Promise.all([finetab(flags), finetab(flags), finetab([...flags, '--strength', '0'])])
    const [once, again, none] = made.map(({ events }) => events[0])
    expect(made.map(({ code }) => code)).toEqual([0, 0, 0])
    expect(once).toMatchObject({ event: 'generation', text: expect.any(String) })
    expect(again?.ids).toEqual(once?.ids)
    expect(none?.ids).not.toEqual(once?.ids)
  })
})

describe('export', () => {
  it('writes the adapter that it read', { timeout: LIMIT }, async () => {
    const out = join(folder, 'exported')
    const { code, events } = await finetab([
      'export',
      '--model',
      MODEL,
      '--adapter',
      ADAPTER,
      '--format',
      'peft',
      '--out',
      out,
      '--json',
    ])
    expect([code, events[0]?.event]).toEqual([0, 'done'])
    const config = JSON.parse(await readFile(join(out, 'adapter_config.json'), 'utf8')) as Record<string, unknown>
    expect(config).toMatchObject({ peft_type: 'LORA', r: 4, lora_alpha: 8, base_model_name_or_path: MODEL })
    const [read, written] = await Promise.all([ADAPTER, out].map(async (path) => readPeft(await folderSource(path))))
    expect(written?.tensors).toEqual(read?.tensors)
  })
})

describe('inspect', () => {
  it('says what a model and a dataset are', { timeout: LIMIT }, async () => {
    const { code, events } = await finetab(['inspect', '--model', MODEL, '--data', data, '--json'])
    expect(code).toBe(0)
    expect(only(events, 'model')).toMatchObject([{ family: 'llama', vocabulary: 101, layers: 2, dtype: 'F32' }])
    expect(only(events, 'data')).toMatchObject([{ rows: 7, mapping: { format: 'tokens' } }])
    expect(only(events, 'stats')).toMatchObject([{ rows: 7, truncatedRows: 0 }])
  })
})

describe('bad input', () => {
  it('ends with 2, a code, a place and what to do', { timeout: LIMIT }, async () => {
    const broken = join(folder, 'broken.json')
    await writeFile(broken, '[{"prompt": ')
    const out = join(folder, 'bad')
    const common = ['--out', out, '--backend', 'wasm', '--json']
    const cases: [string, string[]][] = [
      ['usage', ['train', '--model', MODEL, '--json']],
      ['file.missing', ['train', '--model', 'no-such-model', '--data', data, ...common]],
      ['file.missing', ['train', '--model', MODEL, '--data', join(folder, 'none.jsonl'), ...common]],
      ['data.not-json', ['train', '--model', MODEL, '--data', broken, ...common]],
      ['checkpoint.missing', ['train', '--model', MODEL, '--data', data, '--resume', ...common]],
      ['usage', ['export', '--model', MODEL, '--adapter', ADAPTER, '--out', out, '--format', 'pickle', '--json']],
    ]
    for (const [expected, argv] of cases) {
      const written = { stdout: '', stderr: '' }
      const stream = (name: 'stdout' | 'stderr') => ({ write: (text: string) => (written[name] += text) !== '' })
      const streams = { stdout: stream('stdout'), stderr: stream('stderr') } as unknown as Streams
      const output = new Output(true, streams)
      expect([await execute(argv, output, new Interrupt(output)), argv]).toEqual([2, argv])
      const report = JSON.parse(written.stdout) as Record<string, string>
      expect(report).toMatchObject({ event: 'error', code: expected })
      expect(report.fix).not.toBe('')
      expect(written.stderr).toContain(`error ${expected}`)
    }
    await expect(stat(out)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('names the tensors of an adapter for another model', { timeout: LIMIT }, async () => {
    const other = join(ROOT, 'tests/golden/llama-untied-llama3-rope/adapter_init')
    const { code, events, stderr } = await finetab(['evaluate', '--model', MODEL, '--data', data, '--adapter', other, '--backend', 'wasm', '--json']) // prettier-ignore
    expect([code, events[0]?.code]).toEqual([2, 'adapter.mismatch'])
    expect(stderr).toContain('model.layers.0.self_attn.q_proj')
  })

  it('says that a device is missing, and names the other backend', { timeout: LIMIT }, async () => {
    const { code, events } = await finetab([
      'generate',
      '--model',
      MODEL,
      '--prompt',
      'x',
      '--backend',
      'webgpu',
      '--json',
    ])
    if (code === 0) return expect(events[0]?.event).toBe('generation')
    expect([code, events[0]?.code]).toEqual([2, 'device.none'])
    expect(String(events[0]?.fix)).toContain('--backend wasm')
  })
})
