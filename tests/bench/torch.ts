/** PyTorch beside the others, where a Python that has it is found. Refuses to install it. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { GemmRow } from './gemm'
import type { Measured } from './report'
import { SHAPES, stepFlops } from './shapes'

interface TorchResult {
  device: string
  version: string
  products: { m: number; k: number; n: number; gflops: number }[]
  steps: { model: string; losses: number[]; times: number[] }[]
}

/** Runs `script` (peers/torch_step.py) for some models; null where no Python with PyTorch is there. `PYTHON` names another one. */
function runTorch(script: string, models: readonly string[], steps: number): TorchResult | null {
  const python = [process.env.PYTHON, '.venv/bin/python', 'python3', 'python'].find(
    (name) => name && spawnSync(name, ['-c', 'import torch, numpy']).status === 0,
  )
  if (!python) return null
  const folder = mkdtempSync(join(tmpdir(), 'finetab-bench-'))
  try {
    const shapes = join(folder, 'shapes.json')
    writeFileSync(shapes, JSON.stringify(models.map((name) => SHAPES[name])))
    const { status, stdout, stderr } = spawnSync(python, [script, shapes, String(steps)], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`PyTorch failed: ${stderr.slice(-800)}`)
    return JSON.parse(stdout) as TorchResult
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** What was measured on webgpu, with PyTorch's steps of the same models and its products of the same shapes beside it. */
export function withTorch(
  measured: readonly Measured[],
  script: string,
): { device: string; measured: Measured[] } | null {
  const own = measured.filter(
    ({ task }) => task.bench === 'step' && task.backend === 'webgpu' && task.peer === 'finetab',
  )
  const torch = runTorch(
    script,
    own.flatMap(({ task }) => ('model' in task ? [task.model] : [])),
    12,
  )
  if (!torch) return null
  const device = `PyTorch ${torch.version}, ${torch.device}`
  const steps = torch.steps.map(({ model, losses, times }): Measured => ({
    task: { bench: 'step', backend: 'webgpu', model, peer: 'torch' },
    outcome: {
      device,
      software: false,
      result: {
        peer: 'torch',
        losses,
        times,
        processor: null,
        peakBytes: null,
        dispatches: 0,
        host: null,
        flops: stepFlops(SHAPES[model]!),
      },
    },
  }))
  for (const { task, outcome } of measured) {
    if (task.bench !== 'gemm' || task.backend !== 'webgpu') continue
    for (const { m, k, n, gflops } of torch.products) {
      const row = (outcome.result as GemmRow[]).find(
        (row) => row.m === m && row.k === k && row.n === n && row.form === 'x·Wᵀ',
      )
      if (row) row.gflops.torch = gflops
    }
  }
  return { device, measured: [...measured, ...steps] }
}
