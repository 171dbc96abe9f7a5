/** The model card and the Ollama Modelfile. */
import { describe, expect, it } from 'vitest'
import { modelCard, type CardInput } from '../../../../src/engine/export/model-card'
import { modelfile } from '../../../../src/engine/export/modelfile'
import { loadTokenizer } from '../../../../src/engine/tokenizer'
import { loadChatTemplate, type BuiltInTemplate } from '../../../../src/engine/tokenizer/chat-template'
import { defaultJob } from '../../../../src/shared/job'
import { memoryFolder } from '../../../support/folder'

const CARD: CardInput = {
  name: 'My | <b>tune</b>\n# Not a heading',
  kind: 'peft',
  base: { name: 'owner/base: "x"', family: 'llama', parameters: 656_000, licence: 'MIT' },
  training: {
    data: { name: 'identity.json', trainRows: 1234, evalRows: 56, description: 'Who is who.' },
    job: { ...defaultJob(), rank: 7, learningRate: 3e-4 },
    results: {
      steps: 60,
      lastLoss: 1.23456,
      bestStep: 40,
      bestEvalLoss: 1.5,
      evaluations: Array.from({ length: 30 }, (_, i) => ({ step: i * 2, evalLoss: 3 - i / 20 })),
    },
  },
}

describe('modelCard', () => {
  it('says how other methods and a classification head are loaded', () => {
    const training = CARD.training!
    const of = (change: object) =>
      modelCard({ ...CARD, training: { ...training, job: { ...training.job, ...change } } })
    expect(of({ method: 'prefix' })).toContain('A learnt prefix of')
    expect(of({ method: 'bottleneck' })).toContain('PEFT has no bottleneck adapters')
    const head = of({ objective: 'classification' })
    for (const part of ['pipeline_tag: text-classification', 'AutoModelForSequenceClassification', 'classes.json'])
      expect(head).toContain(part)
  })

  it('says what was trained, on what, how, and how well', () => {
    const card = modelCard(CARD)
    expect(card).toMatch(/^---\nbase_model: "owner\/base: \\"x\\""\nlicense: "MIT"\nlibrary_name: peft\n/)
    expect(card).toContain('# My \\| &lt;b&gt;tune&lt;/b&gt; # Not a heading\n')
    for (const part of [
      '656,000 parameters',
      '1,234 examples',
      '56 kept',
      'Who is who.',
      '60 steps',
      '1.2346',
      'Best validation loss 1.5000 at step 40',
      '| LoRA rank | 7 |',
      '| Learning rate | 0.0003 |',
      'under MIT',
    ])
      expect(card).toContain(part)
    expect(card.match(/^\| \d+ \| \d\.\d{4} \|$/gm)).toHaveLength(12)
    expect(card).toContain('| 0 | 3.0000 |')
    expect(card).toContain('| 58 | 1.5500 |')
  })

  it('says over which base weights an adapter was trained', () => {
    const over = (kind: CardInput['kind'], quantization: 'none' | 'nf4'): string =>
      modelCard({ ...CARD, kind, training: { ...CARD.training!, job: { ...defaultJob(), quantization } } })
    expect(over('peft', 'none')).not.toContain('## Base weights')
    expect(over('peft', 'nf4')).toContain("trained over the base model's weights in nf4")
    expect(over('merged', 'nf4')).toContain('merged into the original weights')
  })

  it('claims nothing that was not measured', () => {
    const card = modelCard({
      ...CARD,
      base: { ...CARD.base, licence: undefined },
      training: {
        ...CARD.training!,
        results: { steps: 3, lastLoss: null, bestStep: null, bestEvalLoss: null, evaluations: [] },
      },
    })
    expect(card).not.toContain('license:')
    expect(card).not.toContain('training loss at the end')
    expect(card).toContain('No validation loss was measured.')
    expect(card).toContain('it was not stated')
  })

  it('says so where nothing is known of the training', () => {
    const card = modelCard({ ...CARD, training: undefined })
    expect(card).toContain('how it was trained is not recorded')
    expect(card).not.toMatch(/## (Data|Results|Settings)/)
  })

  it('says how to load every kind', () => {
    for (const [kind, word] of [
      ['peft', 'PeftModel'],
      ['merged', 'AutoTokenizer'],
      ['gguf', 'ollama create'],
      ['gguf-lora', '--lora'],
      ['mlx', 'mlx_lm'],
    ] as const)
      expect(modelCard({ ...CARD, kind })).toContain(word)
  })
})

describe('modelfile', () => {
  const source = (template?: string) =>
    memoryFolder({
      'tokenizer.json': JSON.stringify({
        model: { type: 'BPE', vocab: { '<s>': 0, '</s>': 1, '<|im_end|>': 2 }, merges: [] },
        added_tokens: ['<s>', '</s>', '<|im_end|>'].map((content, id) => ({ id, content, special: true })),
      }),
      'tokenizer_config.json': JSON.stringify({
        bos_token: '<s>',
        eos_token: '</s>',
        add_bos_token: true,
        chat_template: template,
      }),
    })
  const write = async (template?: string, choice?: BuiltInTemplate) => {
    const tokenizer = await loadTokenizer(source(template))
    const chatTemplate = await loadChatTemplate(source(template), tokenizer, choice)
    return modelfile({ from: './model.gguf', chatTemplate, tokenizer })
  }

  it('puts ChatML in Ollama’s language', async () => {
    expect(await write(undefined, 'chatml')).toBe(
      'FROM ./model.gguf\nTEMPLATE """{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"""\nPARAMETER stop "</s>"\n',
    )
  })

  it('puts the plain template so, and stops before the next turn', async () => {
    const text = await write()
    expect(text).toContain(
      '"""{{ if .System }}{{ .System }}\n\n{{ end }}User: {{ .Prompt }}\n\nAssistant:{{ .Response }}</s>\n\n"""',
    )
    expect(text).toContain('PARAMETER stop "\\nUser:"')
  })

  it('puts a template of one’s own so, default system text and braces included', async () => {
    const own = `{{ bos_token }}{% if messages[0].role != 'system' %}[default]{% endif %}{% for m in messages %}<{{ m.role }}>{{ '{{' }}{{ m.content | trim }}</{{ m.role }}>{% endfor %}{% if add_generation_prompt %}<assistant>{{ '{{' }}{% endif %}`
    expect(await write(own)).toContain(
      '"""{{ if .System }}<system>{{ "{{" }}{{ .System }}</system>{{ end }}<user>{{ "{{" }}{{ .Prompt }}</user><assistant>{{ "{{" }}{{ .Response }}</assistant>"""',
    )
  })

  it('leaves templates alone that cannot be put so', async () => {
    for (const own of [
      '{{ raise_exception("no") }}',
      '{{ messages | length }}',
      '{{ messages[0].content | upper }}',
      '{% if %}',
    ])
      expect(await write(own)).toBe('FROM ./model.gguf\nPARAMETER stop "</s>"\n')
  })

  it('names the adapter beside its base', async () => {
    const tokenizer = await loadTokenizer(source())
    const chatTemplate = await loadChatTemplate(source(), tokenizer)
    expect(modelfile({ from: 'base', adapter: './adapter.gguf', chatTemplate, tokenizer })).toMatch(
      /^FROM base\nADAPTER \.\/adapter\.gguf\n/,
    )
  })
})
