/**
 * The page that travels with an exported model: what it is made of, how it was trained, how well it does and how to load it. Refuses to
 * claim anything that was not measured or said.
 */
import type { ExportFormat } from '../../shared/exports'
import { applies, SETTING_LIST, type Job } from '../../shared/job'

export interface CardInput {
  /** Of the tuned model. */
  name: string
  kind: ExportFormat
  base: { name: string; family: string; parameters: number; licence?: string }
  /** How it was trained; left out where that is not known. */
  training?: {
    data: { name: string; description?: string; trainRows: number; evalRows?: number }
    job: Job
    results: TrainingResults
  }
}

interface TrainingResults {
  steps: number
  lastLoss: number | null
  bestStep: number | null
  bestEvalLoss: number | null
  evaluations: readonly { step: number; evalLoss: number }[]
}

/** Evaluations shown; the first, the last and those between, evenly. */
const MOST_ROWS = 12

const LIBRARY: { readonly [K in ExportFormat]: string } = {
  peft: 'peft',
  merged: 'transformers',
  gguf: 'gguf',
  'gguf-lora': 'gguf',
  mlx: 'mlx',
}

/** README.md with the header that model hubs read. */
export function modelCard(input: CardInput): string {
  const { base, training } = input
  const made = training
    ? `fine-tuned with ${METHODS[training.job.method ?? 'lora']} in Finetab.`
    : 'written by Finetab; how it was trained is not recorded.'
  const sections = [
    frontMatter(input),
    `# ${oneLine(input.name)}`,
    `${whatOf(input)} of ${oneLine(base.name)} (${base.family}, ${base.parameters.toLocaleString('en')} parameters), ${made}`,
    ...(training
      ? [
          `## Data\n\n${dataText(training.data)}`,
          `## Results\n\n${resultText(training.results)}`,
          ...baseText(training.job, input.kind),
          `## Settings\n\n${settingsTable(training.job)}`,
        ]
      : []),
    `## Use\n\n${useOf(input)}`,
    `## Licence\n\n${base.licence ? `The base model is under ${oneLine(base.licence)}; what is made from it is bound by that.` : "The base model's licence applies; it was not stated in its files."}`,
  ]
  return `${sections.join('\n\n')}\n`
}

function dataText({ name, description, trainRows, evalRows }: NonNullable<CardInput['training']>['data']): string {
  const kept = evalRows === undefined ? '' : `, ${evalRows.toLocaleString('en')} kept for validation`
  const about = description ? ` ${oneLine(description)}` : ''
  return `${oneLine(name)}: ${trainRows.toLocaleString('en')} examples to learn from${kept}.${about}`
}

/** What it means that the base was held in fewer bits in training. */
function baseText({ quantization }: Job, kind: CardInput['kind']): string[] {
  if (quantization === undefined || quantization === 'none') return []
  const whole = kind === 'merged' || kind === 'gguf'
  const what = whole
    ? 'The adapter was merged into the original weights, so this model computes a little differently from what was trained.'
    : 'Over the original weights it computes a little differently from what was trained.'
  return [`## Base weights\n\nThe adapter was trained over the base model's weights in ${quantization}. ${what}`]
}

const METHODS: { readonly [M in Job['method']]: string } = {
  lora: 'LoRA',
  full: 'full fine-tuning',
  ia3: '(IA)³',
  bottleneck: 'bottleneck adapters',
  prompt: 'prompt tuning',
  prefix: 'prefix tuning',
}

function whatOf({ kind, training }: CardInput): string {
  const method = training?.job.method ?? 'lora'
  if (kind === 'peft' && training?.job.objective === 'classification')
    return 'A LoRA adapter with a classification head'
  if (kind !== 'peft' || method === 'lora' || method === 'full') return WHAT[kind]
  return { ia3: 'Factors ((IA)³)', bottleneck: 'Bottleneck adapters', prompt: 'A learnt prompt', prefix: 'A learnt prefix' }[method] // prettier-ignore
}

function frontMatter({ base, kind, training }: CardInput): string {
  const lines = [
    `base_model: ${JSON.stringify(base.name)}`,
    ...(base.licence ? [`license: ${JSON.stringify(base.licence)}`] : []),
    `library_name: ${LIBRARY[kind]}`,
    `pipeline_tag: ${training?.job.objective === 'classification' ? 'text-classification' : 'text-generation'}`,
    'tags:',
    '  - finetab',
    `  - ${training?.job.method ?? 'lora'}`,
  ]
  return `---\n${lines.join('\n')}\n---`
}

function resultText(results: TrainingResults): string {
  const { steps, lastLoss, bestStep, bestEvalLoss, evaluations } = results
  const sentences = [
    `${steps} steps${lastLoss === null ? '' : `; training loss at the end ${lastLoss.toFixed(4)}`}.`,
    bestEvalLoss === null || bestStep === null
      ? 'No validation loss was measured.'
      : `Best validation loss ${bestEvalLoss.toFixed(4)} at step ${bestStep}.`,
  ]
  if (evaluations.length === 0) return sentences.join(' ')
  const last = evaluations.length - 1
  const shown = Math.min(MOST_ROWS, evaluations.length)
  const rows = Array.from({ length: shown }, (_, i) => evaluations[Math.round((i * last) / Math.max(1, shown - 1))]!)
  const table = [
    '| step | validation loss |',
    '| ---: | ---: |',
    ...rows.map(({ step, evalLoss }) => `| ${step} | ${evalLoss.toFixed(4)} |`),
  ]
  return `${sentences.join(' ')}\n\n${table.join('\n')}`
}

function settingsTable(job: Job): string {
  const used = SETTING_LIST.filter(([key, setting]) => !setting.hidden && applies(key, job))
  const rows = used.map(([key, setting]) => {
    const value = job[key]
    const text = value === 0 && setting.zero ? setting.zero : Array.isArray(value) ? value.join(', ') : String(value)
    return `| ${setting.label} | ${oneLine(text)}${setting.unit && value !== 0 ? ` ${setting.unit}` : ''} |`
  })
  return ['| setting | value |', '| --- | --- |', ...rows].join('\n')
}

/** Text from outside, kept from breaking the page's form. */
function oneLine(text: string): string {
  return text
    .replace(/\s+/g, ' ')
    .replace(/[|<>]/g, (char) => ({ '|': '\\|', '<': '&lt;', '>': '&gt;' })[char]!)
    .trim()
}

const WHAT: { readonly [K in ExportFormat]: string } = {
  peft: 'A LoRA adapter',
  merged: 'A fine-tuned copy',
  gguf: 'A fine-tuned copy in GGUF',
  'gguf-lora': 'A LoRA adapter in GGUF',
  mlx: 'A LoRA adapter for mlx-lm',
}

const code = (language: string, text: string) => `\`\`\`${language}\n${text}\n\`\`\``

const USE: { readonly [K in ExportFormat]: (base: string) => string } = {
  peft: (base) =>
    code(
      'python',
      [
        'from peft import PeftModel',
        'from transformers import AutoModelForCausalLM',
        '',
        `model = AutoModelForCausalLM.from_pretrained(${JSON.stringify(base)})`,
        'model = PeftModel.from_pretrained(model, ".")',
      ].join('\n'),
    ),
  merged: () =>
    code(
      'python',
      [
        'from transformers import AutoModelForCausalLM, AutoTokenizer',
        '',
        'model = AutoModelForCausalLM.from_pretrained(".")',
        'tokenizer = AutoTokenizer.from_pretrained(".")',
      ].join('\n'),
    ),
  gguf: () => code('sh', 'ollama create my-model -f Modelfile   # or open the .gguf file in llama.cpp or LM Studio'),
  'gguf-lora': () => code('sh', 'llama-cli -m BASE.gguf --lora adapter.gguf   # BASE is the same base model as GGUF'),
  mlx: (base) => code('sh', `mlx_lm.generate --model ${JSON.stringify(base)} --adapter-path . --prompt "…"`),
}

function useOf({ kind, base, training }: CardInput): string {
  if (kind === 'peft' && training?.job.method === 'bottleneck')
    return 'PEFT has no bottleneck adapters: import this folder in Finetab. Its tensors are named as PEFT names its own; after each layer that is named, `y + adapter_up(gelu(adapter_down(y)))`.'
  if (kind === 'peft' && training?.job.objective === 'classification')
    return code(
      'python',
      [
        'import json',
        'from peft import PeftModel',
        'from transformers import AutoModelForSequenceClassification',
        '',
        'classes = json.load(open("classes.json"))["classes"]',
        `model = AutoModelForSequenceClassification.from_pretrained(${JSON.stringify(oneLine(base.name))}, num_labels=len(classes))`,
        'model = PeftModel.from_pretrained(model, ".")  # its scores are in the order of the classes',
      ].join('\n'),
    )
  return USE[kind](oneLine(base.name))
}
