/** The labels of real conversations under real tokenizers and templates: exactly the answers and their end tokens. */
import { openAsBlob, readFileSync, readdirSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { encodeExample, encodeRendered, importFile, mapRow, type ChatExample } from '../../../src/data'
import { loadTokenizer } from '../../../src/engine/tokenizer'
import { loadChatTemplate, type BuiltInTemplate } from '../../../src/engine/tokenizer/chat-template'
import type { FileSource } from '../../../src/shared/files'
import { sharedData } from './support'

function folderOf(path: string): FileSource {
  return {
    list: async () => readdirSync(path).map((name) => ({ name, size: statSync(resolve(path, name)).size })),
    read: async (name, start, end) => new Uint8Array(readFileSync(resolve(path, name))).slice(start, end),
  }
}

async function conversations(file: string, count: number): Promise<ChatExample[]> {
  const blob = await openAsBlob(file)
  const data = await importFile({ name: file, stream: blob.stream(), size: blob.size })
  return data.rows.slice(0, count).map((row) => mapRow(row, data.mapping) as ChatExample)
}

const CHATS = [
  'chat/fastchat-dummy_conversation-sharegpt.json',
  'fms-hf-tuning/jsonl/multi_turn_chat.jsonl',
  'llamafactory-demo/v1_sft_demo.jsonl',
]

/** Folder, template, and what follows an answer. */
const CASES: [string, BuiltInTemplate, string][] = [
  ['tokenizers/qwen2.5', 'chatml', '<|im_end|>'],
  ['tokenizers/smollm-135m', 'chatml', '<|im_end|>'],
  ['tokenizers/gpt2', 'plain', '<|endoftext|>'],
  ['tokenizers/pythia', 'alpaca', '<|endoftext|>'],
  ['tokenizers/maykeye-tinyllama-v0', 'plain', '</s>'],
  ['models/tinystories-656K', 'plain', '<|end_story|>'],
]

describe('answers under real tokenizers', () => {
  const here = sharedData('tokenizers/qwen2.5') !== undefined
  if (!here) console.log(`skipped: ${CASES.length} real tokenizers are not here`)

  it.skipIf(!here).each(CASES)(
    '%s with %s',
    async (folder, builtIn, end) => {
      const source = folderOf(sharedData(folder) as string)
      const tokenizer = await loadTokenizer(source)
      const template = await loadChatTemplate(source, tokenizer, builtIn)
      expect(template.builtIn).toBe(builtIn)
      const chats = (
        await Promise.all(CHATS.map((file) => conversations(sharedData(`datasets/${file}`) as string, 12)))
      ).flat()
      expect(chats.length).toBeGreaterThan(30)
      for (const chat of chats) {
        const encoded = encodeExample(chat, tokenizer, template, { maxLength: 1e6, trainOn: 'completion' })
        expect(encoded.problem).toBeUndefined()
        const runs: number[][] = []
        encoded.labels.forEach((label, i) => {
          if (label === -100) return
          if (encoded.labels[i - 1] === -100 || encoded.labels[i - 1] === undefined) runs.push([])
          runs.at(-1)?.push(label)
        })
        const answers = chat.messages.filter(
          (message, i) => message.role === 'assistant' && !chat.unlearnt?.includes(i),
        )
        const carried = (text: string) => tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: false })).trim()
        expect(runs.map((run) => tokenizer.decode(run).trim())).toEqual(
          answers.map((answer) => `${carried(answer.content)}${end}`),
        )
        const first = chat.messages.findIndex((message) => message.role === 'assistant')
        const prompt = template.render(chat.messages.slice(0, first), { addGenerationPrompt: true })
        const promptIds = encodeRendered(prompt, tokenizer, template)
        expect([...encoded.inputIds.slice(0, promptIds.length)]).toEqual(promptIds)
        if (end !== '<|im_end|>')
          expect(encoded.labels.filter((label) => label === tokenizer.eosId)).toHaveLength(answers.length)
      }
    },
    120_000,
  )
})
