/**
 * The memory forecast beside what jobs really hold, on one backend: `node --import tsx tests/bench/memory.ts wasm|webgpu [NAME]`, prints a
 * line of JSON a job. WebGPU is Dawn's, so it needs a driver. Refuses to judge: tests/engine/memory.test.ts does.
 */
import { create, globals } from 'webgpu'
import { openDevice } from '../../src/engine'
import { forecastAndMeasure, MEMORY_JOBS, SMOLLM2_JOB } from '../support/memory-jobs'

const [backend = 'wasm', only = ''] = process.argv.slice(2)
if (backend === 'webgpu') {
  const gpu = create([])
  Object.assign(globalThis, globals)
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true })
  await openDevice('webgpu')
} else await openDevice('wasm')
// The real model takes minutes on WebAssembly.
const jobs = backend === 'webgpu' ? [...MEMORY_JOBS, SMOLLM2_JOB] : MEMORY_JOBS
for (const job of jobs.filter(({ name }) => name.includes(only))) {
  const { forecast, measured } = await forecastAndMeasure(job)
  console.log(JSON.stringify({ name: job.name, backend, measured, ...forecast, remedies: undefined }))
}
process.exit(0)
