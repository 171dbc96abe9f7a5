/**
 * `finetab export`: an adapter, or the model with it, in the form that other tools read, read back and compared. Refuses to leave files
 * that failed the comparison.
 */
import { basename, resolve } from 'node:path'
import { loadTrainable, loadModel } from '../../engine'
import type { Model } from '../../engine'
import { statedLicence } from '../../engine/export/licence'
import { planExport, type ExportMaterial } from '../../engine/export/plan'
import { compareScores, probeIds, scoresOf } from '../../engine/export/scores'
import { jobOf, type PeftAdapter } from '../../engine/formats/peft'
import { CodedError } from '../../shared/errors'
import {
  dtypesOf,
  EXPORT_FORMAT_NAMES,
  exportFormatsOf,
  type ExportDtype,
  type ExportFormat,
} from '../../shared/exports'
import type { FileSource } from '../../shared/files'
import { completeJob } from '../../shared/job'
import { openAdapter } from '../adapter'
import type { CommandContext } from '../context'
import { requireFlags } from '../flags'
import { prepareFolder, writeOutFiles } from '../folder'
import { nameForPeft, openModelFolder, refuseModelFolder, type ModelFolder } from '../model-folder'
import { formatBytes } from '../output'
import { loadModelFolder, openBackend } from '../runtime'
import { readTraining } from '../training-record'

/** Runs the command; the exit code. */
export async function exportAdapter(context: CommandContext): Promise<number> {
  const { options, given, output } = context
  requireFlags('export', new Set([...Object.keys(given), ...Object.keys(options)]))
  const folder = await openModelFolder(String(given.model))
  const stored = await openAdapter(options.adapter ?? '')
  const [usual = 'peft'] = exportFormatsOf(jobOf(stored.config))
  const format = oneOf('format', EXPORT_FORMAT_NAMES, options.format ?? usual)
  const dtype = options.dtype === undefined ? undefined : dtypeOf(format, options.dtype)
  const out = resolve(options.out ?? '')
  await openBackend(completeJob({ backend: 'wasm', ...given }), context)
  const { material, wanted } = await gather(folder, stored, context)
  const plan = await planExport(format, material, dtype)
  await prepareFolder(out)
  await refuseModelFolder(
    out,
    folder,
    plan.files.map(({ name }) => name),
  )
  const bytes = plan.files.reduce((sum, { size }) => sum + size, 0)
  const found = await writeOutFiles(out, plan.files, {
    check: async (written) => {
      const read = await plan.verify(written)
      const computed = format === 'merged' ? await compareComputed(written, wanted) : null
      return { ...read, computed }
    },
    onBytes: (done, file) => output.progress({ stage: `Writing ${file}`, done, total: bytes, unit: 'bytes' }),
  })
  output.endBar()
  const { tensors, largestDifference, computed, text } = found
  const files = plan.files.map(({ name }) => name)
  output.event('done', {
    ...{ out, format, dtype: dtype ?? null, files, bytes, tensors },
    ...{ largest_difference: largestDifference, largest_logit_difference: computed?.largestDifference ?? null },
  })
  output.note(`${out}: ${files.length} files, ${formatBytes(bytes)}`)
  output.note([text, computed?.text ?? ''].filter(Boolean).join(' '))
  return 0
}

/** What is written from, and what base and adapter make of a few tokens; nothing stays on the device. */
async function gather(
  folder: ModelFolder,
  stored: PeftAdapter,
  context: CommandContext,
): Promise<{ material: ExportMaterial; wanted: Float32Array }> {
  const { options } = context
  const path = options.adapter ?? ''
  const model = await loadModelFolder(folder, context)
  try {
    // Loading names every tensor that does not fit this model.
    const adapter = loadTrainable(model, stored)
    const material: ExportMaterial = {
      adapter: { ...stored, config: { ...stored.config, base_model_name_or_path: nameForPeft(folder) } },
      base: folder.source,
      model: model.record,
      licence: await statedLicence(folder.source),
      tokenizer: model.tokenizer,
      template: model.chatTemplate,
      name: options.name ?? basename(resolve(path)).replace(/\.zip$/i, ''),
      training: await readTraining(path),
    }
    return { material, wanted: await scoresOf(model, adapter, probeIds(model)) }
  } finally {
    model.dispose()
  }
}

/** @throws CodedError `export.verify` */
async function compareComputed(written: FileSource, wanted: Float32Array): Promise<ReturnType<typeof compareScores>> {
  const model: Model = await loadModel(written, { id: 'local:export', name: 'export' })
  try {
    return compareScores(wanted, await scoresOf(model, null, probeIds(model)), model.record.dtype)
  } finally {
    model.dispose()
  }
}

function dtypeOf(format: ExportFormat, given: string): ExportDtype {
  const dtypes = dtypesOf(format)
  if (dtypes.length > 0) return oneOf('dtype', dtypes, given)
  throw new CodedError('usage', `--format ${format} has only one type.`, {
    where: `--dtype ${given}`,
    fix: 'Leave --dtype out.',
  })
}

function oneOf<T extends string>(flag: string, choices: readonly T[], given: string): T {
  const found = choices.find((choice) => choice === given)
  if (found !== undefined) return found
  throw new CodedError('usage', `There is no ${flag} "${given}" here.`, {
    where: `--${flag} ${given}`,
    fix: `Use one of ${choices.join(', ')}.`,
  })
}
