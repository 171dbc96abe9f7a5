/** The forecast against what jobs of many kinds really hold at their peak, counted byte by byte. */
import { expect, it } from 'vitest'
import { forecastAndMeasure, MEMORY_JOBS } from '../support/memory-jobs'

it.each(MEMORY_JOBS)('the forecast holds for $name', async (job) => {
  const { forecast, measured } = await forecastAndMeasure(job)
  const off = forecast.total / measured - 1
  expect(Math.abs(off), `forecast ${forecast.total}, measured ${measured}: ${off}`).toBeLessThan(0.1)
})
