/** Hand-offs: every setting is named or listed, for every tool; tests/conformance has TRL, PEFT, transformers and Ray build them. */
import { describe, expect, it } from 'vitest'
import { handoffRows } from '../../../../src/data'
import { handoffFiles, type HandoffInput } from '../../../../src/engine/export/handoff/files'
import { translate } from '../../../../src/engine/export/handoff/translate'
import { toYaml } from '../../../../src/engine/export/handoff/yaml'
import { bytesFile, collect } from '../../../../src/engine/formats/out-file'
import { completeJob, SETTING_LIST, SETTINGS, type Job } from '../../../../src/shared/job'

const input = (job: Partial<Job> = {}, change: Partial<HandoffInput> = {}): HandoffInput => ({
  ...{ job: completeJob(job), model: 'owner/base', name: 'my run', kind: 'pair', hasChatTemplate: false },
  ...{ train: bytesFile('t', '{"prompt":"a","completion":"b"}\n'), valid: bytesFile('v', 'x'), trainRows: 40, validRows: 1, leftOutRows: 0 }, // prettier-ignore
  ...change,
})
const written = async (given: HandoffInput) =>
  Object.fromEntries(
    await Promise.all(
      handoffFiles(given).map(async (file) => [file.name, new TextDecoder().decode(await collect(file))] as const),
    ),
  )

describe('translate', () => {
  it.each(['llama-factory', 'trl', 'mlx'] as const)('%s: every setting is an option, a place or a reason', (tool) => {
    const { options, fates } = translate(completeJob({ steps: 10, gradAccum: 2 }), tool, 10)
    expect(fates.map(({ key }) => key)).toEqual(SETTING_LIST.map(([key]) => key))
    for (const { options: names } of fates) for (const name of names) expect(options).toHaveProperty(name)
    for (const { isLost, text } of fates) if (isLost) expect(text).not.toBe('')
  })

  it('changes with every number that the tools know', () => {
    const usual = JSON.stringify(translate(completeJob({}), 'llama-factory', 100).options)
    const known = ['learningRate', 'batchSize', 'gradAccum', 'rank', 'dropout', 'maxLength', 'epochs', 'steps', 'clip', 'seed', 'warmupSteps', 'weightDecay', 'neftune', 'evalEvery'] as const // prettier-ignore
    for (const key of known) {
      const { min, max } = SETTINGS[key]
      const value = key === 'learningRate' ? 1e-3 : Math.min(max, Math.max(min, 0.5, SETTINGS[key].kind === 'integer' ? 7 : 0.5)) // prettier-ignore
      const changed = JSON.stringify(translate(completeJob({ [key]: value }), 'llama-factory', 100).options)
      expect([key, changed]).not.toEqual([key, usual])
    }
  })

  it('counts mlx-lm’s batches, and says what it does not have', () => {
    const job = completeJob({ steps: 10, gradAccum: 4, warmupSteps: 2, schedule: 'cosine', rank: 8, alpha: 16 })
    const { options, fates } = translate(job, 'mlx', 10)
    expect(options).toMatchObject({ iters: 40, lora_parameters: { rank: 8, scale: 2 } })
    expect(options.lr_schedule).toEqual({ name: 'cosine_decay', arguments: [2e-4, 32, 0], warmup: 8 })
    expect(fates.find(({ key }) => key === 'clip')).toMatchObject({ isLost: true })
  })
})

describe('files', () => {
  it('name the columns that the rows have', async () => {
    const pair = await written(input())
    expect(JSON.parse(pair['data/dataset_info.json'] as string)).toMatchObject({
      train: { file_name: 'train.jsonl', columns: { prompt: 'prompt', response: 'completion' } },
      valid: { file_name: 'valid.jsonl' },
    })
    expect(pair['llama_factory.yaml']).toContain('template: "empty"\n')
    const chat = await written(input({}, { kind: 'chat', hasChatTemplate: true }))
    expect(chat['llama_factory.yaml']).not.toContain('template:')
    expect(chat['train_trl.py']).toContain('"assistant_only_loss": True')
    const text = await written(input({}, { kind: 'text', valid: null }))
    expect(text['llama_factory.yaml']).toContain('stage: "pt"')
    expect(text['llama_factory.yaml']).not.toMatch(/^eval_|early_stopping|load_best/m)
    expect(text['train_trl.py']).not.toMatch(/only_loss|eval_strategy/)
  })

  it('learn only the last answer of a chat where that is asked for', async () => {
    const job = { trainOn: 'last' } as const
    const chat = await written(input(job, { kind: 'chat', hasChatTemplate: true }))
    expect(chat['llama_factory.yaml']).toContain('train_on_prompt: false\nmask_history: true\n')
    expect(chat['train_trl.py']).toContain('"completion_only_loss": True')
    expect(chat['train_trl.py']).toContain('data_files=files).map(last_answer, remove_columns=["messages"])')
    expect(chat['train_trl.py']).not.toContain('assistant_only_loss')
    expect(chat['mlx_lora.yaml']).toContain('mask_prompt: true')
    expect((await written(input(job)))['train_trl.py']).not.toContain('last_answer')
  })

  it('list every setting with what became of it', async () => {
    const { 'README.md': readme } = await written(input({ ema: 0.9 }))
    for (const [, { label }] of SETTING_LIST) expect(readme).toContain(`| ${label} |`)
    expect(readme).toContain('- Weight averaging (0.9): The trainer keeps no running mean')
  })

  it('write numbers that YAML reads as numbers', () => {
    expect(toYaml({ a: 1e-5, b: 1.5e-7, c: 2e21, d: { e: [1, 'x: y'] }, f: true, g: null })).toBe(
      'a: 0.00001\nb: 1.5e-7\nc: 2.0e+21\nd:\n  e: [1, "x: y"]\nf: true\ng: null\n',
    )
    expect(() => toYaml({ a: Number.NaN })).toThrow()
  })
})

describe('rows', () => {
  it('go to the side they were on, as the model is trained on them', async () => {
    const rows = [
      { instruction: 'a', output: 'b' },
      { instruction: 'c', output: 'd' },
      { instruction: '', output: '' },
    ]
    const mapping = { format: 'alpaca' as const, columns: { instruction: 'instruction', output: 'output' } }
    const plain = await handoffRows(rows, mapping, false, (index) => index === 1)
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
    expect(plain).toMatchObject({ kind: 'pair', trainRows: 1, validRows: 1 })
    expect(plain.skipped).toHaveLength(1)
    expect(text(plain.valid)).toBe('{"prompt":"c","completion":"d"}\n')
    const chat = await handoffRows(rows, mapping, true, () => false)
    expect(chat.kind).toBe('chat')
    expect(text(chat.train).split('\n')[0]).toBe('{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}') // prettier-ignore
  })

  it('of token ids are refused', async () => {
    const mapping = { format: 'tokens' as const, columns: { input_ids: 'input_ids', labels: 'labels' } }
    const rows = [{ input_ids: [1, 2], labels: [1, 2] }]
    await expect(handoffRows(rows, mapping, false, () => false)).rejects.toMatchObject({ code: 'data.empty' })
  })
})
