/**
 * Watches one piece of GPU work: what WebGPU only logs (no memory, an invalid dispatch, a lost device) becomes a coded error.
 * Refuses to recover: the caller discards the work.
 */
import { CodedError } from '../shared/errors'

interface Watched {
  device: GPUDevice
  /** Why the device was lost; null while it is there. */
  lost: string | null
  /** What it complained of outside any guarded work; null if nothing. */
  complaint: string | null
}

let watched: Watched | null = null

/** Says which device computes from now on; null where none does. */
export function watchDevice(device: GPUDevice | null): void {
  if (!device) {
    watched = null
    return
  }
  const entry: Watched = { device, lost: null, complaint: null }
  watched = entry
  void device.lost.then((info) => {
    entry.lost = info.message || info.reason
  })
  device.addEventListener('uncapturederror', ({ error }) => {
    entry.complaint ??= error.message
  })
}

/** The error that a lost device is reported with. */
function lostError(reason: string): CodedError {
  return new CodedError('device.lost', `The graphics device stopped answering: ${reason}`, {
    where: 'WebGPU device',
    fix: 'Resume from the last checkpoint; if it happens again, choose a smaller batch or run on WebAssembly.',
  })
}

function invalidError(message: string): CodedError {
  return new CodedError('internal', `A GPU operation was invalid: ${message}`, { where: 'WebGPU device' })
}

/**
 * Runs work that ends by reading a result back, inside error scopes.
 * @throws CodedError `device.out-of-memory`, `device.lost`, `internal` (an invalid dispatch), or what the work throws.
 */
export async function withGuard<T>(work: () => Promise<T>): Promise<T> {
  const current = watched
  if (!current) return work()
  if (current.lost !== null) throw lostError(current.lost)
  if (current.complaint !== null) throw invalidError(current.complaint)
  const { device } = current
  device.pushErrorScope('out-of-memory')
  device.pushErrorScope('validation')
  let result: T | undefined
  let failure: unknown = null
  try {
    result = await work()
  } catch (error) {
    failure = error ?? new Error('failed')
  }
  const [invalid, memory] = await Promise.all([device.popErrorScope(), device.popErrorScope()]).catch(() => [
    null,
    null,
  ])
  if (memory)
    throw new CodedError('device.out-of-memory', 'The graphics device has no memory left for this step.', {
      where: memory.message,
      fix: 'Choose a smaller batch with more accumulation, or a shorter maximum length.',
    })
  // The loss is told a moment after the first failing call.
  await Promise.resolve()
  if (current.lost !== null) throw lostError(current.lost)
  if (failure !== null) throw failure
  if (invalid) throw invalidError(invalid.message)
  return result as T
}
