/** The forecast against what jobs of many kinds really hold at their peak, counted byte by byte. */
import { expect, it } from 'vitest'
import { tf } from '../../src/engine/tf'
import { forecastAndMeasure, MEMORY_JOBS } from '../support/memory-jobs'

// Not on WebGPU yet: there the forecast has not been measured over so many jobs.
it.skipIf(tf.getBackend() !== 'wasm').each(MEMORY_JOBS)('the forecast holds for $name', async (job) => {
  const { forecast, measured } = await forecastAndMeasure(job)
  if (globalThis.process?.env.MEMORY_FIGURES)
    console.log(job.name, Math.round(forecast.total / 1e4) / 100, Math.round(measured / 1e4) / 100, (forecast.total / measured).toFixed(3), JSON.stringify(forecast)) // prettier-ignore
  expect(Math.abs(forecast.total / measured - 1), `forecast ${forecast.total}, measured ${measured}`).toBeLessThan(
    job.within ?? 0.1,
  )
})
