/** How the adapter of a folder was trained, as far as the folder says. Refuses to guess: adapters made elsewhere have no record. */
import { basename, dirname } from 'node:path'
import type { TrainingRecord } from '../engine/export/plan'
import { completeJob } from '../shared/job'
import { hasCheckpoint, loadCheckpoint } from './session-folder'

/** The record of a run's folder, or of a checkpoint in it; null where there is none. */
export async function readTraining(folder: string): Promise<TrainingRecord | null> {
  const inside = /^checkpoint-(last|best)$/.test(basename(folder))
  const run = inside ? dirname(folder) : folder
  if (!(await hasCheckpoint(run))) return null
  const { checkpoint, note } = await loadCheckpoint(run)
  const { job, step, totalSteps, tokensSeen, bestStep, bestEvalLoss, metrics } = checkpoint.meta
  const losses = metrics.loss.filter(Number.isFinite)
  return {
    job: completeJob(job),
    data: { name: basename(job.data), trainRows: note.rows },
    mapping: note.mapping,
    ...{ step, totalSteps, tokensSeen, bestStep, bestEvalLoss, metrics, lastLoss: losses.at(-1) ?? null },
  }
}
