/** Rows that another dataset has too: leaks between training and validation. Refuses to say which side should lose them. */
import type { OnProgress } from '../../shared/files'
import type { Mapping } from '../../shared/records'
import { asRead } from '../../shared/roles'
import { mapRow } from '../formats/map'
import { partsOf, type Parts } from '../formats/parts'
import { fingerprint } from '../hash'
import { unknownFormat, withBreaks } from '../prepare'
import type { RowSource } from '../types'
import { NearIndex } from './near'

/** Rows between two reports of progress. */
const REPORT = 256

/**
 * Positions, ascending, of the rows that `other` has word for word, nearly, or with the same prompt: what the audit calls a leak.
 * Rows that cannot be used are passed over.
 * @throws CodedError `data.columns` where a format is not known; `cancelled` on abort.
 */
export async function sharedRows(
  rows: RowSource,
  mapping: Mapping,
  other: { rows: RowSource; mapping: Mapping },
  { onProgress, signal, total = 0 }: { onProgress?: OnProgress; signal?: AbortSignal; total?: number } = {},
): Promise<number[]> {
  const wholes = new Set<number>()
  const prompts = new Set<number>()
  const near = new NearIndex()
  for await (const [, parts] of partsIn(other.rows, other.mapping, signal)) {
    const { asked, whole } = keysOf(parts)
    wholes.add(whole)
    if (parts.prompt.trim() !== '') prompts.add(asked)
    near.add(textOf(parts))
  }
  const shared: number[] = []
  for await (const [position, parts] of partsIn(rows, mapping, signal)) {
    const { asked, whole } = keysOf(parts)
    if (wholes.has(whole) || prompts.has(asked) || near.find(textOf(parts))) shared.push(position)
    if (position % REPORT === 0) onProgress?.({ stage: 'Comparing the datasets', done: position, total, unit: 'rows' })
  }
  return shared
}

async function* partsIn(
  rows: RowSource,
  given: Mapping,
  signal: AbortSignal | undefined,
): AsyncGenerator<[number, Parts]> {
  const mapping = asRead(given)
  if (mapping.format === 'unknown') throw unknownFormat()
  let position = 0
  for await (const row of withBreaks(rows, signal)) {
    const at = position++
    let parts: Parts
    try {
      parts = partsOf(mapRow(row, mapping))
    } catch {
      continue
    }
    yield [at, parts]
  }
}

const textOf = ({ prompt, answer }: Parts) => `${prompt}\n${answer}`

/** Fingerprints of the prompt and of the whole row, as the audit makes them. */
export function keysOf({ prompt, answer }: Parts): { asked: number; answered: number; whole: number } {
  const asked = fingerprint(prompt)
  const answered = fingerprint(answer, 1)
  return { asked, answered, whole: fingerprint(`${asked} ${answered}`) }
}
