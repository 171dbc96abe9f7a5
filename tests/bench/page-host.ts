/** Runs tasks in Chromium, each in a page of its own, over Vite's server. Refuses to download a browser. */
import { join } from 'node:path'
import { chromium } from '@playwright/test'
import { createServer } from 'vite'
import { ensureChromium, ROOT } from '../../scripts/setup.mjs'
import type { Host } from './hosts'

/** Pages of a headless Chromium, on software WebGPU unless `hardware`. Opens it at the first task. */
export function pageHost(hardware: boolean): Host {
  let opened: ReturnType<typeof open> | null = null
  return {
    async run(task) {
      const { browser, address } = await (opened ??= open(hardware))
      const page = await browser.newPage()
      try {
        await page.goto(`${address}?task=${encodeURIComponent(JSON.stringify(task))}`)
        await page.waitForFunction(() => window.benchOutcome, undefined, { timeout: 1_800_000 })
        const outcome = await page.evaluate(() => window.benchOutcome)
        if (!outcome || 'error' in outcome) throw new Error(`${JSON.stringify(task)} failed: ${outcome?.error}`)
        return outcome
      } finally {
        await page.close()
      }
    },
    async close() {
      if (!opened) return
      const { browser, server } = await opened
      await browser.close()
      await server.close()
    },
  }
}

async function open(hardware: boolean) {
  const server = await createServer({
    root: ROOT,
    configFile: join(ROOT, 'vite.config.ts'),
    server: { port: 5198, host: '127.0.0.1', hmr: false },
  })
  await server.listen()
  const args = ['--no-sandbox', '--enable-unsafe-webgpu']
  if (!hardware) args.push('--use-webgpu-adapter=swiftshader')
  const browser = await chromium.launch({ executablePath: ensureChromium(), args })
  return { browser, server, address: `http://127.0.0.1:${server.config.server.port}/tests/bench/page.html` }
}
