/** Settings as the page writes them. Refuses to change one. */
import { percent } from '../shared/format'
import type { Setting } from '../shared/job'
import { parseMix } from '../shared/mix'
import type { DatasetRecord } from '../shared/records'

/** What computes, as people know it. */
export const BACKEND_NAMES = { webgpu: 'WebGPU', wasm: 'WebAssembly', cpu: 'Plain JavaScript' } as const

/** The name of a stored run's backend; as it is where it has none. */
export function backendName(backend: string): string {
  return BACKEND_NAMES[backend as keyof typeof BACKEND_NAMES] ?? backend
}

/** A setting's value for a person: "2e-4", "q_proj, v_proj", "from epochs". */
export function settingText(setting: Setting, value: unknown): string {
  if (setting.kind === 'choice') return setting.choices[String(value)] ?? String(value)
  if (setting.kind === 'switch') return value ? 'on' : 'off'
  if (value === 0 && setting.zero) return setting.zero
  if (Array.isArray(value)) return value.join(', ')
  const text =
    typeof value === 'number' && value !== 0 && Math.abs(value) < 0.001 ? value.toExponential() : String(value)
  return `${text || 'none'}${setting.unit ? ` ${setting.unit}` : ''}`
}

/** Datasets that a setting names, by their names where they are still here: "Night train 20%, notes.csv 10%". */
export function sourceText(value: string, list: readonly DatasetRecord[]): string {
  const nameOf = (id: string) => list.find((dataset) => dataset.id === id)?.name ?? `${id} (no longer here)`
  const parts = parseMix(value)
  return parts
    .map((part) => (typeof part === 'string' ? nameOf(part) : `${nameOf(part.dataset)} ${percent(part.share)}`))
    .join(', ')
}
