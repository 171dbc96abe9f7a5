/** Hand-offs: every setting is named or listed, for every tool; tests/conformance has TRL, PEFT, transformers and Ray build them. */
import { describe, expect, it } from 'vitest'
import { handoffRows } from '../../../../src/data'
import { handoffFiles, type HandoffInput } from '../../../../src/engine/export/handoff/files'
import { translate } from '../../../../src/engine/export/handoff/translate'
import { toYaml } from '../../../../src/engine/export/handoff/yaml'
import { BUILT_IN_TEMPLATES } from '../../../../src/engine/tokenizer/chat-template'
import { bytesFile, collect } from '../../../../src/engine/formats/out-file'
import { parseLoraConfig } from '../../../../src/engine/formats/peft-lora'
import {
  completeJob,
  SETTING_LIST,
  SETTINGS,
  type Job,
  type Setting,
  type SettingKey,
} from '../../../../src/shared/job'

const lines = (text: string) => ({ ...bytesFile('', text), rows: text.split('\n').length - 1 })
const NONE = lines('')
const PLAIN = { builtIn: 'plain' as const, source: BUILT_IN_TEMPLATES.plain.source }
const input = (job: Partial<Job> = {}, change: Partial<HandoffInput> = {}): HandoffInput => ({
  ...{
    job: completeJob(job),
    model: 'owner/base',
    name: 'my run',
    kind: 'pair',
    template: PLAIN,
    layers: 24,
    start: null,
  },
  ...{ train: lines('{"prompt":"a","completion":"b"}\n'.repeat(40)), valid: lines('x\n'), leftOut: { rows: 0, reason: '' } }, // prettier-ignore
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
    const chat = await written(input({}, { kind: 'chat', template: { builtIn: null, source: '' } }))
    expect(chat['llama_factory.yaml']).not.toContain('template:')
    expect(chat['train_trl.py']).toContain('"assistant_only_loss": True')
    const text = await written(input({}, { kind: 'text', valid: NONE }))
    expect(text['llama_factory.yaml']).toContain('stage: "pt"')
    expect(text['llama_factory.yaml']).not.toMatch(/^eval_|early_stopping|load_best/m)
    expect(text['train_trl.py']).not.toMatch(/only_loss|eval_strategy/)
  })

  it('learn only the last answer of a chat where that is asked for', async () => {
    const job = { trainOn: 'last' } as const
    const chat = await written(input(job, { kind: 'chat', template: { builtIn: null, source: '' } }))
    expect(chat['llama_factory.yaml']).toContain('train_on_prompt: false\nmask_history: true\n')
    expect(chat['train_trl.py']).toContain('"completion_only_loss": True')
    expect(chat['train_trl.py']).toContain('data_files=files).map(last_answer, remove_columns=["messages"])')
    expect(chat['train_trl.py']).not.toContain('assistant_only_loss')
    expect(chat['mlx_lora.yaml']).toContain('mask_prompt: true')
    expect((await written(input(job)))['train_trl.py']).not.toContain('last_answer')
  })

  it('bring the template of a model that has none, with its answers marked', async () => {
    for (const builtIn of ['plain', 'chatml'] as const) {
      const { source } = BUILT_IN_TEMPLATES[builtIn]
      const files = await written(input({}, { kind: 'chat', template: { builtIn, source } }))
      const script = files['train_trl.py'] as string
      const told = JSON.parse(/^CHAT_TEMPLATE = (.+)$/m.exec(script)?.[1] as string) as string
      expect(told).toMatch(/\{% generation %\}\{\{ message\['content'\] \}\}[^%]+\{% endgeneration %\}/)
      expect(told.replace(/\{% (end)?generation %\}/g, '').length).toBeGreaterThanOrEqual(source.length)
      expect(files['llama_factory.yaml']).toContain(`template: "${builtIn === 'plain' ? 'default' : 'chatml'}"`)
      expect(/# The model has no chat template/.test(files['llama_factory.yaml'] as string)).toBe(builtIn === 'plain')
    }
    const own = await written(input({}, { kind: 'chat', template: { builtIn: null, source: 'own' } }))
    expect(own['train_trl.py']).toContain('CHAT_TEMPLATE = None')
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

describe('every setting', () => {
  /** The settings that make one count, and those that make these count. */
  function conditionsOf({ when }: Setting): Partial<Job> {
    const own = Object.entries(when ?? {}).map(([other, values]) => {
      return { ...conditionsOf(SETTINGS[other as SettingKey]), [other]: values[0] }
    })
    return Object.assign({}, ...own) as Partial<Job>
  }
  /** A value that is not the default, and what makes the setting count. */
  function changed(key: SettingKey): Partial<Job> {
    const setting = SETTINGS[key] as Setting
    const base = conditionsOf(setting)
    switch (setting.kind) {
      case 'switch':
        return { ...base, [key]: !setting.default }
      case 'choice':
        return {
          ...base,
          [key]:
            key === 'method'
              ? 'full'
              : Object.keys(setting.choices).findLast(
                  (choice) => choice !== setting.default && choice !== 'classification',
                ),
        }
      case 'text':
        return {
          ...(key === 'replayData' ? { replayShare: 0.1 } : base),
          [key]: key === 'mix' ? 'other=0.2' : setting.form ? 'q_proj=8' : 'something',
        }
      case 'list':
        return { ...base, [key]: setting.choices.slice(0, 1) }
      default: {
        const low = setting.default === setting.min ? (setting.min + Math.min(setting.max, setting.min + 10)) / 2 : setting.min // prettier-ignore
        return { ...base, [key]: setting.kind === 'integer' ? Math.round(low) : low }
      }
    }
  }
  /** The adapter and the rows are files of their own. */
  const OWN_FILES: readonly SettingKey[] = ['data', 'evalData', 'evalFraction', 'evalSplit', 'splitBy', 'subset', 'model'] // prettier-ignore
  const start = {
    config: parseLoraConfig({ peft_type: 'LORA', r: 1, lora_alpha: 1, target_modules: ['q_proj'] }),
    tensors: Object.fromEntries(
      (['A', 'B'] as const).map((side) => [
        `base_model.model.model.layers.0.self_attn.q_proj.lora_${side}.weight`,
        { dtype: 'F32' as const, shape: side === 'A' ? [1, 2] : [2, 1], bytes: new Uint8Array(8) },
      ]),
    ),
  }
  const both = async (job: Partial<Job>) => {
    const files = await written(input(job, { start: job.initAdapter ? start : null }))
    return [files['llama_factory.yaml'] as string, files['train_trl.py'] as string] as const
  }

  /** Other methods are refused as a whole. */
  const isHandedOn = (key: SettingKey, { when }: Setting) =>
    key === 'method' ? 'full' in SETTINGS.method.choices : !when?.method || when.method.some((one) => one === 'lora' || one === 'full') // prettier-ignore
  const carried = SETTING_LIST.filter(([key, setting]) => !OWN_FILES.includes(key) && isHandedOn(key, setting))
  it('of methods that other trainers do not have is refused', () => {
    expect(() => handoffFiles(input({ objective: 'classification' }))).toThrow(/other trainers/)
    expect(() => handoffFiles(input({ method: 'bottleneck' }))).toThrow(/other trainers/)
  })

  it.each([
    ['ia3', 'IA3Config', '"feedforward_modules": ["down_proj"]'],
    ['prompt', 'PromptTuningConfig', '"prompt_tuning_init_text": "Be brief."'],
    ['prefix', 'PrefixTuningConfig', '"num_virtual_tokens": 7'],
  ] as const)('of %s goes to PEFT alone', async (method, config, option) => {
    const files = await written(input({ method, virtualTokens: 7, virtualText: 'Be brief.' }))
    expect(Object.keys(files).filter((name) => /yaml$/.test(name))).toEqual([])
    const script = files['train_trl.py'] as string
    expect(script).toContain(`import ${config}\n`)
    expect(script).toContain(`${config}(**{**PEFT`)
    expect(script).toContain(option)
    expect(script.includes('"gradient_checkpointing": False')).toBe(method === 'prefix')
    expect(files['README.md']).toContain('do not have its method')
    expect(files['ray_tune.py']).not.toContain('"r"')
  })

  it.each(carried.map(([key]) => key))(
    '%s changes the LLaMA-Factory and the TRL file, or is named in it',
    async (key) => {
      const change = changed(key)
      const { [key]: _own, ...without } = change
      const [before, after] = [await both(without), await both(change)]
      for (const i of [0, 1] as const) expect([key, after[i]]).not.toEqual([key, before[i]])
    },
  )

  it('of preferences goes to the objective that has it', async () => {
    const rows = { train: lines('{"prompt":"a","chosen":"b","rejected":"c"}\n') }
    const dpo = await written(input({ objective: 'dpo', beta: 0.3, wrongPairs: 0.1, sftWeight: 2, dropout: 0.1 }, rows))
    expect(dpo['llama_factory.yaml']).toMatch(/stage: "dpo"\n[^]*pref_loss: "sigmoid"\npref_beta: 0.3\ndpo_label_smoothing: 0.1\npref_ftx: 2\n/) // prettier-ignore
    expect(dpo['train_trl.py']).toContain('from trl import DPOTrainer')
    expect(dpo['train_trl.py']).toMatch(
      /"label_smoothing": 0.1,\n\s+"loss_type": \["sigmoid", "sft"\],\n\s+"loss_weights": \[1, 2\]/,
    )
    expect(JSON.parse(dpo['data/dataset_info.json'] as string).train).toMatchObject({
      ranking: true,
      columns: { prompt: 'prompt', chosen: 'chosen', rejected: 'rejected' },
    })
    expect(dpo).not.toHaveProperty(['mlx_lora.yaml'])
    const kto = await written(input({ objective: 'kto' }, { kind: 'chat' }))
    expect(kto['llama_factory.yaml']).toContain('stage: "kto"')
    expect(kto['train_trl.py']).toContain('"prompt": row["messages"][:-1]')
    expect(JSON.parse(kto['data/dataset_info.json'] as string).train.columns).toEqual({ messages: 'messages', kto_tag: 'label' }) // prettier-ignore
    const orpo = await written(input({ objective: 'orpo' }))
    expect(orpo['llama_factory.yaml']).toContain('pref_loss: "orpo"')
    expect(orpo['train_trl.py']).toContain('from trl.experimental.orpo import ORPOConfig')
  })

  it('of WSD names its way down, which is not the default of transformers', async () => {
    const [factory, script] = await both({ schedule: 'wsd', decayShare: 0.25, steps: 40 })
    for (const text of [factory, script]) expect(text).toMatch(/"?decay_type"?: "1-sqrt"/)
  })

  it('of LoRA goes to PEFT in its own words', async () => {
    const job = { rslora: true, dora: true, loraInit: 'pissa', loraPlus: 16, rankPattern: 'q_proj=4', alphaPattern: 'q_proj=8' } as const // prettier-ignore
    const [factory, script] = await both(job)
    for (const option of ['use_rslora: true', 'use_dora: true', 'pissa_init: true', 'loraplus_lr_ratio: 16'])
      expect(factory).toContain(option)
    expect(factory).toContain('# - Ranks by layer (q_proj=4): LLaMA-Factory has one rank')
    for (const option of [
      '"use_rslora": True',
      '"use_dora": True',
      '"init_lora_weights": "pissa"',
      '"rank_pattern": {"q_proj": 4}',
      'LORA_PLUS = 16',
    ])
      // prettier-ignore
      expect(script).toContain(option)
  })

  it('names the layers that are adapted as each tool counts them', async () => {
    const files = await written(input({ loraLayers: 2 }))
    expect(files['train_trl.py']).toContain('"layers_to_transform": [22, 23]')
    expect(files['mlx_lora.yaml']).toContain('num_layers: 2')
    expect(files['llama_factory.yaml']).toContain('# - LoRA layers (2): LLaMA-Factory adapts')
    expect((await written(input({})))['mlx_lora.yaml']).toContain('num_layers: -1')
  })

  it('takes the adapter that it starts from along', async () => {
    const files = await written(input({ initAdapter: 'run-1' }, { start }))
    expect(Object.keys(files)).toEqual(
      expect.arrayContaining(['start/adapter_config.json', 'start/adapter_model.safetensors', 'start-mlx/adapters.safetensors']), // prettier-ignore
    )
    expect(files['llama_factory.yaml']).toContain('adapter_name_or_path: "start"')
    expect(files['train_trl.py']).toContain('START = "start"')
    await expect(written(input({ initAdapter: 'run-1' }))).rejects.toMatchObject({ code: 'usage' })
  })
})

describe('rows', () => {
  const text = async (side: { size: number; chunks(): AsyncGenerator<Uint8Array> }) =>
    new TextDecoder().decode(await collect({ name: '', ...side }))
  const SFT = { objective: 'sft' } as const

  it('go to the side they were on, as the model is trained on them', async () => {
    const rows = [
      { instruction: 'a', output: 'b' },
      { instruction: 'c', output: 'd' },
      { instruction: '', output: '' },
      { instruction: 'not used', output: 'e' },
    ]
    const mapping = { format: 'alpaca' as const, columns: { instruction: 'instruction', output: 'output' } }
    const side = (index: number) => (index === 3 ? null : index === 1 ? 'valid' : 'train')
    const plain = await handoffRows(rows, mapping, SFT, false, side)
    expect(plain).toMatchObject({ kind: 'pair', train: { rows: 1 }, valid: { rows: 1 }, leftOut: { rows: 1 } })
    expect(await text(plain.valid)).toBe('{"prompt":"c","completion":"d"}\n')
    const chat = await handoffRows(rows, mapping, SFT, true, side)
    expect(chat.kind).toBe('chat')
    expect(await text(chat.train)).toBe('{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n') // prettier-ignore
    const held = { rows: rows.slice(3), mapping }
    expect(await text((await handoffRows(rows, mapping, SFT, false, side, held)).valid)).toContain('not used')
  })

  it('of two answers, and of rated ones, are written for the objective', async () => {
    const all = () => 'train' as const
    const DPO = { objective: 'dpo' } as const
    const columns = { prompt: 'prompt', chosen: 'chosen', rejected: 'rejected' }
    const rows = [{ prompt: 'a', chosen: 'b', rejected: 'c' }]
    const pairs = await handoffRows(rows, { format: 'preference', columns }, DPO, true, all)
    expect(await text(pairs.train)).toBe('{"prompt":"a","chosen":"b","rejected":"c"}\n')
    const turn = (role: string, content: string) => ({ role, content })
    const [asked, good, bad] = [turn('user', 'a'), turn('assistant', 'b'), turn('assistant', 'c')]
    const mapping = { format: 'preference' as const, columns: { chosen: 'chosen', rejected: 'rejected' } }
    const chats = await handoffRows([{ chosen: [asked, good], rejected: [asked, bad] }], mapping, DPO, true, all)
    expect(JSON.parse(await text(chats.train))).toEqual({ messages: [asked], chosen: good, rejected: bad })
    const rated = { format: 'kto' as const, columns: { prompt: 'prompt', completion: 'completion', label: 'label' } }
    const kto = await handoffRows([{ prompt: 'a', completion: 'b', label: false }], rated, { objective: 'kto' }, false, all) // prettier-ignore
    expect(JSON.parse(await text(kto.train))).toEqual({ prompt: 'a', completion: 'b', label: false })
    // Learnt like any others, where that was asked for.
    expect(await text((await handoffRows(rows, { format: 'preference', columns }, SFT, false, all)).train)).toBe(
      '{"prompt":"a","completion":"b"}\n',
    )
  })

  it('of token ids are refused', async () => {
    const mapping = { format: 'tokens' as const, columns: { input_ids: 'input_ids', labels: 'labels' } }
    const rows = [{ input_ids: [1, 2], labels: [1, 2] }]
    await expect(handoffRows(rows, mapping, SFT, false, () => 'train')).rejects.toMatchObject({ code: 'data.empty' })
  })
})
