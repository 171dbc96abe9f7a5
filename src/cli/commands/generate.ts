/** `finetab generate`: text from a prompt, with or without an adapter. Refuses to keep a conversation. */
import { encodePrompt, encodeText } from '../../data'
import { classify, classText, generate as continuation } from '../../engine'
import type { Sampling } from '../../shared/protocol'
import { DEFAULT_SAMPLING } from '../../shared/protocol'
import { completeJob } from '../../shared/job'
import type { Mapping } from '../../shared/records'
import type { CommandContext } from '../context'
import { requireFlags } from '../flags'
import { INTERRUPTED } from '../interrupt'
import { openModelFolder } from '../model-folder'
import { formatNumber } from '../output'
import { loadAdapterFolder, loadModelFolder, openBackend, quantizationFor } from '../runtime'
import { readNote } from '../session-folder'

/** Runs the command; the exit code. */
export async function generate(context: CommandContext): Promise<number> {
  const { options, given, output, interrupt } = context
  requireFlags('generate', new Set([...Object.keys(given), ...Object.keys(options)]))
  const folder = await openModelFolder(String(given.model))
  await openBackend(completeJob(given), context)
  const model = await loadModelFolder(folder, context, await quantizationFor(context))
  const adapter = await loadAdapterFolder(model, options.adapter)
  adapter?.setStrength(options.strength ?? 1)
  const mapping = await mappingOf(context, model.record.hasChatTemplate)
  if (adapter?.classes && (options.strength ?? 1) > 0) {
    const text = encodeText(options.prompt ?? '', mapping, model.tokenizer)
    const classes = await classify(model, adapter, text)
    output.event('classes', { classes, prompt_ids: text })
    output.result(`${classText(classes)}\n`)
    return 0
  }
  const ids = encodePrompt(options.prompt ?? '', mapping, model.tokenizer, model.chatTemplate)
  const stream = continuation(model, adapter, ids, samplingOf(context), interrupt.signal)
  let step = await stream.next()
  for (; !step.done; step = await stream.next()) {
    output.result(step.value.text)
    if (await interrupt.breathe()) continue
  }
  const { ids: made, text, reason, tokensPerSecond } = step.value
  output.event('generation', { ids: made, text, reason, prompt_ids: ids, tokens_per_second: tokensPerSecond })
  output.result('\n')
  output.note(`${made.length} tokens, ${formatNumber(Math.round(tokensPerSecond))} tokens/s, ended by ${reason}`)
  return interrupt.requested ? INTERRUPTED : 0
}

/** How the prompt is written: as in the adapter's training, else through the model's chat template if it has one. */
async function mappingOf({ options }: CommandContext, hasTemplate: boolean): Promise<Mapping> {
  const note = options.raw || options.adapter === undefined ? null : await readNote(options.adapter)
  return note?.mapping ?? { format: hasTemplate && !options.raw ? 'chat' : 'pair', columns: {} }
}

function samplingOf({ options, given }: CommandContext): Sampling {
  const fallback = DEFAULT_SAMPLING
  return {
    maxNewTokens: options['max-new-tokens'] ?? fallback.maxNewTokens,
    temperature: options.temperature ?? fallback.temperature,
    topK: options['top-k'] ?? fallback.topK,
    topP: options['top-p'] ?? fallback.topP,
    repetitionPenalty: options['repetition-penalty'] ?? (options.temperature === 0 ? 1 : fallback.repetitionPenalty),
    stop: options.stop ?? fallback.stop,
    seed: given.seed === undefined ? fallback.seed : Number(given.seed),
  }
}
