/**
 * How this machine's graphics card multiplies fastest: measured before the first training on it, kept for all that follow. Refuses to
 * make anyone wait for it at any other time.
 */
import { takeUpTuning, tuneOnce } from '../src/engine'
import type { OnProgress } from '../src/shared/files'
import { getSetting, setSetting } from '../src/storage'

const store = { get: (key: string) => getSetting<unknown>(key), set: setSetting }

/** Measures the open device unless it was measured before. @throws the signal's reason; CodedError `storage.*`. */
export function measureDevice(onProgress: OnProgress, signal: AbortSignal): Promise<void> {
  const tell = (done: number, total: number): void =>
    onProgress({ stage: 'Measuring the graphics card', done, total, unit: 'items' })
  return tuneOnce(store, { signal, onProgress: tell })
}

/** Takes up what was measured on the open device, where it was. */
export const recallDevice = (): Promise<void> => takeUpTuning(store)
