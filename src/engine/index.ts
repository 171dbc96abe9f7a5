/** What workers and the command line import of the engine. Refuses to add behaviour of its own. */
import { principalStarts } from './adapters/pissa'
import type { SessionInput } from './train/session'
import { TrainSession } from './train/session'

export { openDevice, type Device } from './device'
export { threadsFor, type ThreadHost } from './wasm-threads'
export { stackAdapters } from './adapters/stack'
export { checkModel, inspectModel, loadModel, type Model } from './models/model'
export { loadTrainable } from './adapters/start'
export type { Trainable } from './adapters/trainable'
export { checkpointAdapter } from './train/checkpoint'
export { deviceBytes, TrainSession } from './train/session'
export type { SessionEvent, SessionOutcome, StepEvent } from './train/events'
export { totalSteps } from './train/schedule'
export { evaluate, tokenLosses, totalOf, type Evaluation, type RowResult } from './train/evaluate'
export { takeUpTuning, tuneOnce, type Tuning } from './ops/gemm-tuning'
export { generate } from './generate'
export { classify, classText } from './classify'
export { batchShares, checkFits, forecast, spareMemory } from './memory'

/** A session ready to run, fresh or from a checkpoint. Throws CodedError `job.invalid`, `checkpoint.mismatch`, `adapter.*`, `data.empty`. */
export async function createSession(input: SessionInput): Promise<TrainSession> {
  return new TrainSession({ ...input, starts: await principalStarts(input) })
}
