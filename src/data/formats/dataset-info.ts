/** LLaMA-Factory's dataset_info.json as mappings for the files it names. Refuses pictures and sounds. */
import { CodedError } from '../../shared/errors'
import type { Mapping } from '../../shared/records'
import { isObject } from '../../shared/json'
import type { Step } from '../steps/types'

interface DescribedDataset {
  name: string
  /** The file's name beside dataset_info.json; undefined where the data are on a hub. */
  file?: string
  /** `owner/name` on the Hugging Face Hub. */
  hub?: string
  mapping: Mapping
  /** Roles that its turns spell in their own way. */
  steps: Step[]
  /** Why it cannot be used, where it cannot. */
  refused?: string
}

/**
 * Every dataset that the file describes.
 * @throws CodedError `data.columns` where it is no dataset_info.json.
 */
export function readDatasetInfo(value: unknown): DescribedDataset[] {
  if (!isObject(value) || !Object.values(value).every(isObject)) {
    throw new CodedError('data.columns', 'This is no dataset_info.json.', {
      fix: 'Choose the file that lists datasets by name.',
    })
  }
  return Object.entries(value).map(([name, entry]) => describe(name, entry as Record<string, unknown>))
}

function describe(name: string, entry: Record<string, unknown>): DescribedDataset {
  const columns = strings(entry.columns)
  const tags = strings(entry.tags)
  const described: DescribedDataset = { name, mapping: mappingOf(entry, columns, tags), steps: roleSteps(tags) }
  if (typeof entry.file_name === 'string') described.file = entry.file_name
  if (typeof entry.hf_hub_url === 'string') described.hub = entry.hf_hub_url
  const media = ['images', 'videos', 'audios'].find((key) => key in columns)
  if (media) described.refused = `The rows are about ${media}; only text can be trained on.`
  return described
}

function mappingOf(
  entry: Record<string, unknown>,
  columns: Record<string, string>,
  tags: Record<string, string>,
): Mapping {
  const turns = entry.formatting === 'sharegpt' || entry.formatting === 'openai'
  const made = (format: Mapping['format'], roles: Record<string, string | undefined>): Mapping => ({
    format,
    columns: Object.fromEntries(
      Object.entries(roles).filter((role): role is [string, string] => role[1] !== undefined),
    ),
  })
  const { system, tools } = columns
  if (turns) {
    const messages = columns.messages ?? (entry.formatting === 'openai' ? 'messages' : 'conversations')
    if (entry.ranking === true) {
      return made('preference', {
        prompt: messages,
        chosen: columns.chosen ?? 'chosen',
        rejected: columns.rejected ?? 'rejected',
      })
    }
    if (columns.kto_tag) return made('kto', { messages, label: columns.kto_tag })
    const openai = entry.formatting === 'openai' || tags.role_tag === 'role'
    return openai
      ? made('chat', { messages, system, tools })
      : made('sharegpt', { conversations: messages, system, tools })
  }
  const prompt = columns.prompt ?? 'instruction'
  const input = columns.query ?? ('columns' in entry ? undefined : 'input')
  if (entry.ranking === true)
    return made('preference', {
      prompt,
      input,
      chosen: columns.chosen ?? 'chosen',
      rejected: columns.rejected ?? 'rejected',
    })
  const output = columns.response ?? ('columns' in entry ? undefined : 'output')
  if (columns.kto_tag) return made('kto', { prompt, completion: output ?? 'output', label: columns.kto_tag })
  if (output === undefined) return made('text', { text: prompt })
  return made('alpaca', { instruction: prompt, input, output, system, history: columns.history })
}

/** Role names that differ from the usual ones. */
function roleSteps(tags: Record<string, string>): Step[] {
  const usual: [string, string][] = [
    ['user_tag', 'user'],
    ['assistant_tag', 'assistant'],
    ['observation_tag', 'observation'],
    ['function_tag', 'function_call'],
    ['system_tag', 'system'],
  ]
  const known = new Set(['user', 'human', 'assistant', 'gpt', 'observation', 'tool', 'function_call', 'system'])
  return usual.flatMap(([tag, role]): Step[] => {
    const own = tags[tag]
    return own === undefined || known.has(own) ? [] : [{ kind: 'rename-role', from: own, to: role }]
  })
}

function strings(value: unknown): Record<string, string> {
  if (!isObject(value)) return {}
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  )
}
