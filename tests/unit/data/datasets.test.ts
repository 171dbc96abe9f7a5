/**
 * Every public dataset at hand imports with the right recognition, or is refused for the right reason. The table in
 * docs/datasets.md is made here: `UPDATE_DOCS=1 npx vitest run --project unit tests/unit/data/datasets.test.ts`.
 */
import { openAsBlob, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { format as prettify } from 'prettier'
import { describe, expect, it } from 'vitest'
import { asSupervised, audit, importFile, mapRow, type FindingKind, type ImportedData } from '../../../src/data'
import { CodedError, toReport, type ErrorReport } from '../../../src/shared/errors'
import { sharedData } from './support'

/** Format and rows, or the code of the refusal, as a person finds them by reading the files. */
const EXPECTED: Record<string, [format: string, rows: number] | [code: string]> = {
  'alpaca/rasbt-instruction-data-1100.json': ['alpaca', 1100],
  'alpaca/rasbt-preference-1100.json': ['preference', 1100],
  'alpaca/seed_tasks.jsonl': ['alpaca', 175],
  'alpaca/user_oriented_instructions.jsonl': ['alpaca', 252],
  'banking77/test.csv': ['label', 3080],
  'banking77/train.csv': ['label', 10003],
  'chat/fastchat-dummy_conversation-sharegpt.json': ['sharegpt', 500],
  'chat/mt_bench-question.jsonl': ['unknown', 80],
  'chat/torchtune-alpaca_tiny.json': ['alpaca', 100],
  'chat/torchtune-chat_tiny.json': ['sharegpt', 1],
  'chat/torchtune-hh_rlhf_tiny.json': ['preference', 1],
  'chat/torchtune-instruct_tiny.json': ['alpaca', 2],
  'chat/torchtune-stack_exchange_paired_tiny.json': ['preference', 25],
  'clinc150/data_small.json': ['label', 7500],
  'fms-hf-tuning/datafolder/twitter_complaints_input_output_1.json': ['pair', 25],
  'fms-hf-tuning/datafolder/twitter_complaints_input_output_2.json': ['pair', 25],
  'fms-hf-tuning/json/malformatted_data.json': ['data.not-json'],
  'fms-hf-tuning/json/twitter_complaints_input_output.json': ['pair', 50],
  'fms-hf-tuning/json/twitter_complaints_small.json': ['label', 10],
  'fms-hf-tuning/json/twitter_complaints_tokenized_with_maykeye_tinyllama_v0.json': ['tokens', 10],
  'fms-hf-tuning/json/twitter_complaints_tokenized_with_maykeye_tinyllama_v0_only_input_ids.json': ['tokens', 10],
  'fms-hf-tuning/jsonl/multi_turn_chat.jsonl': ['chat', 10],
  'fms-hf-tuning/jsonl/multi_turn_chat_conversations.jsonl': ['chat', 10],
  'fms-hf-tuning/jsonl/multi_turn_chat_granite_instruct.jsonl': ['chat', 8],
  'fms-hf-tuning/jsonl/nestful_100_samples_input_output.jsonl': ['pair', 100],
  'fms-hf-tuning/jsonl/single_turn_chat.jsonl': ['chat', 18],
  'fms-hf-tuning/jsonl/twitter_complaints_input_output.jsonl': ['pair', 50],
  'fms-hf-tuning/jsonl/twitter_complaints_small.jsonl': ['label', 10],
  'fms-hf-tuning/jsonl/twitter_complaints_tokenized_with_maykeye_tinyllama_v0.jsonl': ['tokens', 10],
  'fms-hf-tuning/parquet/chat_dataset_tokenized_largelist.parquet': ['tokens', 1000],
  'fms-hf-tuning/parquet/chat_dataset_tokenized_sequence.parquet': ['tokens', 1000],
  'fms-hf-tuning/parquet/twitter_complaints_input_output.parquet': ['pair', 50],
  'fms-hf-tuning/parquet/twitter_complaints_small.parquet': ['label', 10],
  'fms-hf-tuning/parquet/twitter_complaints_tokenized_with_maykeye_tinyllama_v0.parquet': ['tokens', 10],
  'fms-hf-tuning/tinyllama_tokenizer_special_tokens/tokenizer_config.json': ['data.columns'],
  'gsm8k/test.jsonl': ['pair', 1319],
  'gsm8k/train.jsonl': ['pair', 7473],
  'llamafactory-demo/alpaca_en_demo.json': ['alpaca', 999],
  'llamafactory-demo/alpaca_zh_demo.json': ['alpaca', 1000],
  'llamafactory-demo/c4_demo.jsonl': ['text', 300],
  'llamafactory-demo/dataset_info.json': ['data.columns'],
  'llamafactory-demo/dpo_en_demo.json': ['preference', 300],
  'llamafactory-demo/glaive_toolcall_en_demo.json': ['sharegpt', 300],
  'llamafactory-demo/identity.json': ['alpaca', 91],
  'llamafactory-demo/kto_en_demo.json': ['kto', 300],
  'llamafactory-demo/mllm_demo.json': ['unknown', 6],
  'llamafactory-demo/reason_tool_use_demo_50.jsonl': ['chat', 50],
  'llamafactory-demo/v1_sft_demo.jsonl': ['chat', 500],
  'llamafactory-demo/wiki_demo.txt': ['text', 30],
  'mlx-wikisql/test.jsonl': ['text', 100],
  'mlx-wikisql/train.jsonl': ['text', 1000],
  'mlx-wikisql/valid.jsonl': ['text', 100],
  'names/names.txt': ['text', 32033],
  'sms-spam/sms.tsv': ['label', 5574],
  'tinyshakespeare/input.txt': ['text', 792],
}

interface Outcome {
  file: string
  data?: ImportedData
  refusal?: ErrorReport
  /** Rows that the mapping cannot use, by reason. */
  unusable: Map<string, number>
  /** What the audit finds without a model, by kind. */
  found: Partial<Record<FindingKind, number>>
}

const AUDIT = { maxLength: 512, trainOn: 'completion', evalFraction: 0, seed: 1, batchSize: 4 } as const
/** Kinds in the words of the table. */
const WORDS: Partial<Record<FindingKind, string>> = {
  'exact-duplicate': 'repeat another',
  'near-duplicate': 'nearly repeat another',
  conflict: 'contradict another',
  personal: 'with personal data',
  placeholder: 'with a placeholder',
  refusal: 'decline to answer',
  licence: 'with a licence note',
  boilerplate: 'with a stock phrase',
  language: 'in another language',
}

async function outcomeOf(file: string, path: string): Promise<Outcome> {
  const unusable = new Map<string, number>()
  try {
    const blob = await openAsBlob(path)
    const data = await importFile({ name: file.split('/').at(-1) as string, stream: blob.stream(), size: blob.size })
    if (data.mapping.format === 'unknown') return { file, data, unusable, found: {} }
    const mapping = asSupervised(data.mapping)
    for (const row of data.rows) {
      try {
        mapRow(row, mapping)
      } catch (error) {
        const reason = toReport(error).what
        if (!(error instanceof CodedError)) throw error
        unusable.set(reason, (unusable.get(reason) ?? 0) + 1)
      }
    }
    return { file, data, unusable, found: (await audit(data.rows, mapping, AUDIT)).counts }
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    return { file, refusal: toReport(error), unusable, found: {} }
  }
}

const DOC = resolve(import.meta.dirname, '../../../docs/datasets.md')

function document(outcomes: readonly Outcome[]): Promise<string> {
  const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;')
  const lines = outcomes.map(({ file, data, refusal, unusable, found }) => {
    if (refusal) return `| ${file} | refused: \`${refusal.code}\` | | ${cell(`${refusal.what} (${refusal.where})`)} | |`
    const kinds = Object.entries(WORDS).flatMap(([kind, words]) => {
      const count = found[kind as FindingKind] ?? 0
      return count > 0 ? [`${count.toLocaleString('en')} ${words}`] : []
    })
    const aside = data?.problems.length ? [`${data.problems.length} set aside`] : []
    const reasons = [...unusable].map(([reason, count]) => `${count}: ${reason}`)
    const format = data?.mapping.format === 'unknown' ? `not recognised: ${data.why}` : (data?.mapping.format ?? '')
    return `| ${file} | ${cell(format)} | ${data?.count.toLocaleString('en')} | ${cell([...aside, ...reasons].join('<br>') || 'none').replaceAll('&lt;br>', '<br>')} | ${kinds.join('<br>') || 'nothing'} |`
  })
  const text =
    INTRODUCTION +
    ['| file | recognised as | rows | problems | the audit finds |', '| --- | --- | --: | --- | --- |', ...lines].join(
      '\n',
    ) +
    '\n'
  return prettify(text, { parser: 'markdown', printWidth: 120 })
}

const INTRODUCTION = `# Datasets

Made by \`tests/unit/data/datasets.test.ts\`, which also checks it.

## What a row becomes

| recognised as | written as | what the model learns from |
| --- | --- | --- |
| pair | \`prompt\`, \`completion\` (also question and answer, input and output …), as texts or as lists of messages | tokenizer(prompt) + tokenizer(completion, no special tokens) + end token; the prompt is not learnt |
| alpaca | \`instruction\`, \`output\`, perhaps \`input\`, \`system\`, \`history\` | a pair: the prompt is the instruction, then a line break and the input where there is one; system and earlier turns come before it, each followed by a line break. A model with a chat template of its own gets the same as turns, of which the last answer is learnt |
| chat | \`messages\` of \`role\` and \`content\`, perhaps \`tools\` | the turns through the chat template; every answer and its end token are learnt, except those with \`weight: 0\` |
| sharegpt | \`conversations\` of \`from\` and \`value\`, perhaps \`system\`, \`tools\` | the same |
| text | \`text\`, or a .txt or .md file | tokenizer(text) + end token, all of it learnt |
| tokens | \`input_ids\`, perhaps \`labels\` | taken as it stands |
| label | a text and its class, in columns with or without names | a pair: the prompt is the text and a line break, the completion its class |
| preference | \`chosen\`, \`rejected\`, perhaps \`prompt\` | the better answer, once you say so |
| kto | an answer, and \`label\` or \`kto_tag\` for whether it was good | the good answers, once you say so |

A chat is rendered as a whole and tokenised without further special tokens, as transformers does. White space that a template
puts after an end token is not learnt. Rows are cut at the end when they are longer than the maximum length.

## Public datasets

These files are not part of the repository. Each was read as a person would drop it on the page. The audit ran without a model, so
nothing that depends on tokens is in the table.

`

describe('public datasets', () => {
  const folder = sharedData('datasets')
  const files = folder === undefined ? [] : readdirSync(folder, { recursive: true, withFileTypes: true })
  const names = files
    .filter((entry) => entry.isFile() && !/PROVENANCE|LICENSE/.test(entry.name))
    .map((entry) => relative(folder as string, resolve(entry.parentPath, entry.name)))
    .sort()
  if (folder === undefined) console.log(`skipped: ${Object.keys(EXPECTED).length} public datasets are not here`)

  it.skipIf(folder === undefined)('are all expected', () => {
    expect(names).toEqual(Object.keys(EXPECTED).sort())
  })

  it.skipIf(folder === undefined)(
    'are recognised, or refused for the right reason, as docs/datasets.md says',
    async () => {
      const outcomes: Outcome[] = []
      for (const file of names) {
        const outcome = await outcomeOf(file, resolve(folder as string, file))
        outcomes.push(outcome)
        const found = outcome.refusal ? [outcome.refusal.code] : [outcome.data?.mapping.format, outcome.data?.count]
        expect(found, file).toEqual(EXPECTED[file])
        expect(outcome.data?.problems ?? [], file).toEqual([])
      }
      const text = await document(outcomes)
      if (process.env.UPDATE_DOCS) writeFileSync(DOC, text)
      expect(readFileSync(DOC, 'utf8')).toBe(text)
    },
    120_000,
  )
})
