/** One measurement of the benches, on a device that it opens itself: what a page or a process of its own runs. Refuses several at once. */
import { openDevice, type DeviceEnvironment } from '../../src/engine/device'
import { measurePeak } from '../support/peak'
import { benchAttention, type AttentionRow } from './attention'
import { contest, type Peer } from './contest'
import { benchGemm, type GemmRow } from './gemm'
import { benchGenerate, type GenerateRow } from './generate'
import { countWork } from './measure'
import { benchOps, type OpRow } from './ops'
import { SHAPES, type BenchResult, type BenchShape } from './shapes'

export type Backend = 'wasm' | 'webgpu'

export type Task = { readonly backend: Backend } & (
  | { readonly bench: 'device' | 'gemm' | 'attention' | 'ops' }
  | { readonly bench: 'step'; readonly model: string; readonly peer: Peer | 'torch'; readonly steps?: number }
  /** A step of `model` on one row of `length` tokens, for its bytes; Finetab with so many bytes to `spare`. */
  | {
      readonly bench: 'memory'
      readonly model: string
      readonly peer: Peer
      readonly length: number
      readonly spare: number
    }
  | { readonly bench: 'generate'; readonly model: string }
)

export interface Outcome {
  /** The adapter by name. */
  readonly device: string
  /** Computes on the processor. */
  readonly software: boolean
  readonly result: BenchResult | GemmRow[] | AttentionRow[] | OpRow[] | GenerateRow | null
}

export async function runTask(task: Task, environment: DeviceEnvironment): Promise<Outcome> {
  const counts = countWork()
  const { report } = await openDevice(task.backend, environment)
  const slow = task.backend === 'webgpu' && report.software
  const outcome = (result: Outcome['result']): Outcome => ({
    device: report.adapter,
    software: report.software,
    result,
  })
  switch (task.bench) {
    case 'device':
      return outcome(null)
    case 'gemm':
      return outcome(await benchGemm(task.backend, !report.software))
    case 'attention':
      if (slow) return outcome(await benchAttention([64, 128, 256, 512], 128))
      if (report.software) return outcome(await benchAttention([128, 256, 512, 1024], 1024))
      return outcome(await benchAttention([256, 512, 1024, 2048, 4096, 8192], 2048))
    case 'ops':
      return outcome(await benchOps(!report.software))
    case 'generate':
      return outcome(await benchGenerate(shapeOf(task.model), slow ? 24 : 64))
    case 'memory': {
      const shape = { ...shapeOf(task.model), batch: 1, length: task.length }
      const work = (): Promise<BenchResult> => contest(task.peer, task.backend, shape, 2, counts, task.spare)
      const { result, peak } = await measurePeak(work)
      return outcome({ ...result, peakBytes: peak })
    }
    case 'step':
      if (task.peer === 'torch') throw new Error('PyTorch runs in a process of its own: see torch.ts.')
      return outcome(await contest(task.peer, task.backend, shapeOf(task.model), task.steps ?? (slow ? 6 : 12), counts))
  }
}

function shapeOf(name: string): BenchShape {
  const shape = SHAPES[name]
  if (!shape) throw new Error(`no model ${name}: there are ${Object.keys(SHAPES).join(', ')}`)
  return shape
}
