/** What `inspect PATH` says of files that are part of something: weights alone, a tokenizer, a job, a hand-off. Refuses to change anything. */
import { basename, dirname, join } from 'node:path'
import { readSafetensorsHeader } from '../../engine/formats/safetensors'
import { loadTokenizer } from '../../engine/tokenizer'
import { SETTINGS, type SettingKey } from '../../shared/job'
import type { CommandContext } from '../context'
import { exists, folderSource } from '../folder'
import { factTable as table, formatBytes } from '../output'
import { readJobFile, settingText } from '../settings'

const number = (value: number): string => value.toLocaleString('en')

/** A safetensors file without its folder. */
export async function inspectWeights(path: string, { output }: CommandContext): Promise<void> {
  const folder = await folderSource(dirname(path))
  const { tensors } = await readSafetensorsHeader(folder, basename(path))
  const types = new Map<string, number>()
  let bytes = 0
  let values = 0
  for (const { dtype, shape, start, end } of tensors.values()) {
    types.set(dtype, (types.get(dtype) ?? 0) + 1)
    bytes += end - start
    values += shape.reduce((product, size) => product * size, 1)
  }
  const names = [...tensors.keys()]
  const kind = kindOfWeights(names)
  const dtypes = Object.fromEntries(types)
  output.event('weights', { path, kind, tensors: names.length, values, bytes, dtypes })
  const [first, last] = [names[0] ?? '', names.at(-1) ?? '']
  output.result(
    table([
      ['Weights', path],
      ['Kind', kind],
      ['Tensors', `${number(names.length)}, ${number(values)} values, ${formatBytes(bytes)}`],
      ['Types', [...types].map(([dtype, count]) => `${dtype} (${number(count)})`).join(', ')],
      ['Names', names.length > 1 ? `${first} … ${last}` : first],
    ]),
  )
  const settings = ['adapter_config.json', 'config.json']
  const beside = await Promise.all(settings.map((name) => exists(join(dirname(path), name))))
  if (beside.some(Boolean)) output.note(`Its settings stand beside it: inspect ${dirname(path)} says more.`)
  else output.note('Its settings are not beside it: a model needs config.json, an adapter adapter_config.json.')
}

/** What weights are, by how they are named. */
function kindOfWeights(names: readonly string[]): string {
  if (names.some((name) => /\.lora_[AB]\.weight$/.test(name))) return 'LoRA adapter, as PEFT names it'
  if (names.some((name) => /\.lora_[ab]$/.test(name))) return 'LoRA adapter, as mlx-lm names it'
  if (names.some((name) => /embed|wte|layers\.\d+\.|\bh\.\d+\./.test(name))) return 'model weights'
  return 'tensors of no known model'
}

/** A tokenizer without its model; files beside it (tokenizer_config.json) count. */
export async function inspectTokenizer(path: string, { output }: CommandContext): Promise<void> {
  const tokenizer = await loadTokenizer(await folderSource(dirname(path)))
  const { vocabularySize, bosId, eosId, specialIds } = tokenizer
  const shown = (id: number | null) => (id === null ? 'none' : `${tokenizer.tokenOf(id) ?? ''} (${id})`)
  const sample = 'Hello, world! 123'
  const ids = tokenizer.encode(sample, { addSpecialTokens: false })
  const same = tokenizer.decode(ids) === sample
  output.event('tokenizer', { path, vocabulary: vocabularySize, bos: bosId, eos: eosId, special: specialIds.size, sample: { text: sample, ids, same } }) // prettier-ignore
  output.result(
    table([
      ['Tokenizer', path],
      ['Vocabulary', `${number(vocabularySize)} tokens, ${number(specialIds.size)} of them special`],
      ['Begins with', shown(bosId)],
      ['Ends with', shown(eosId)],
      ['Sample', `${JSON.stringify(sample)}: ${tokenizer.pieces(ids).map((piece) => JSON.stringify(piece)).join(' ')}`], // prettier-ignore
    ]),
  )
}

/** A job file: every setting that is not at its default. */
export async function inspectJob(path: string, { output }: CommandContext): Promise<void> {
  const { given, run } = await readJobFile(path)
  const entries = Object.entries(given) as [SettingKey, never][]
  const changed = entries.filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(SETTINGS[key].default))
  output.event('job', { path, run: run?.run ?? null, settings: given })
  output.result(
    table([
      ['Job file', path],
      ...(run ? [['Of the run', run.run] as const, ['Trained on', `${run.dataset.name}, ${number(run.dataset.trainRows)} rows`] as const] : []), // prettier-ignore
      ...changed.map(([key, value]) => [SETTINGS[key].label, settingText(key, value)] as const),
    ]),
  )
  output.note(`Run it: npm run -s finetab -- train --job ${path} --out DIR`)
}
