/**
 * `finetab export`: an adapter in the form that other tools read, read back and compared. Refuses to leave a folder that
 * failed the comparison.
 */
import { resolve } from 'node:path'
import { readPeft, writePeft } from '../../engine/formats/peft'
import { loadAdapter } from '../../engine'
import { completeJob } from '../../shared/job'
import { CodedError } from '../../shared/errors'
import type { TensorData } from '../../shared/records'
import type { CommandContext } from '../context'
import { requireFlags } from '../flags'
import { folderSource, prepareFolder, writeFileSafely } from '../folder'
import { openModelFolder } from '../model-folder'
import { formatBytes } from '../output'
import { loadModelFolder, openBackend } from '../runtime'

const FORMATS = ['peft']

/** Runs the command; the exit code. */
export async function exportAdapter(context: CommandContext): Promise<number> {
  const { options, given, output } = context
  requireFlags('export', new Set([...Object.keys(given), ...Object.keys(options)]))
  const format = options.format ?? 'peft'
  if (!FORMATS.includes(format)) {
    throw new CodedError('usage', `There is no format "${format}".`, {
      where: `--format ${format}`,
      fix: `Use one of ${FORMATS.join(', ')}.`,
    })
  }
  const out = resolve(options.out ?? '')
  const folder = await openModelFolder(String(given.model))
  const stored = await readPeft(await folderSource(options.adapter ?? ''))
  await openBackend(completeJob({ backend: 'wasm', ...given }).backend, context)
  const model = await loadModelFolder(folder, context)
  // Loading names every tensor that does not fit this model.
  const adapter = await loadAdapter(model, stored).toPeft(String(given.model))
  const files = writePeft(adapter)
  await prepareFolder(out)
  for (const file of files) await writeFileSafely(`${out}/${file.name}`, file.bytes)
  const back = await readPeft(await folderSource(out))
  const difference = largestDifference(adapter.tensors, back.tensors)
  if (difference !== 0) {
    throw new CodedError('export.verify', `What was read back differs by ${difference}.`, {
      where: out,
      fix: 'Do not use the files; check the disk and export again.',
    })
  }
  const bytes = files.reduce((sum, file) => sum + file.bytes.length, 0)
  const tensors = Object.keys(adapter.tensors).length
  output.event('done', { out, format, files: files.map(({ name }) => name), bytes, tensors, largest_difference: 0 })
  output.note(`${out}: ${tensors} tensors, ${formatBytes(bytes)}, read back and equal to the adapter`)
  return 0
}

/** Largest difference of any byte; Infinity where names, shapes or types differ. */
function largestDifference(a: Record<string, TensorData>, b: Record<string, TensorData>): number {
  const names = Object.keys(a)
  if (names.length !== Object.keys(b).length) return Infinity
  let worst = 0
  for (const name of names) {
    const left = a[name] as TensorData
    const right = b[name]
    if (!right || left.dtype !== right.dtype || left.shape.join() !== right.shape.join()) return Infinity
    if (left.bytes.length !== right.bytes.length) return Infinity
    for (let i = 0; i < left.bytes.length; i++) {
      worst = Math.max(worst, Math.abs((left.bytes[i] as number) - (right.bytes[i] as number)))
    }
  }
  return worst
}
