/** Test projects: `unit` and `wasm` in Node, `browser` in Chromium; the suites in tests/engine run on every backend. */
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { playwright } from '@vitest/browser-playwright'
import { defineConfig } from 'vitest/config'
import viteConfig from './vite.config.ts'

const launchOptions = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'],
}

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', environment: 'node', include: ['tests/unit/**/*.test.ts'], testTimeout: 60_000 } },
      {
        test: {
          name: 'wasm',
          environment: 'node',
          include: ['tests/engine/**/*.test.ts'],
          setupFiles: ['tests/support/wasm.ts'],
          testTimeout: 60_000,
        },
      },
      // by hand only, where Node has a Vulkan, Metal or D3D12 driver: npx vitest run --project dawn tests/engine/ops-
      {
        test: {
          name: 'dawn',
          environment: 'node',
          include: ['tests/engine/**/*.test.ts'],
          setupFiles: ['tests/support/dawn.ts'],
          testTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        plugins: [svelte()],
        optimizeDeps: viteConfig.optimizeDeps,
        worker: viteConfig.worker,
        test: {
          name: 'browser',
          include: ['tests/engine/**/*.test.ts', 'tests/browser/**/*.test.ts'],
          setupFiles: ['tests/support/webgpu.ts'],
          globalSetup: ['tests/support/hub-setup.ts'],
          testTimeout: 120_000,
          fileParallelism: false,
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            provider: playwright({ launchOptions }),
            instances: [{ browser: 'chromium' }],
          },
        },
      },
    ],
  },
})
