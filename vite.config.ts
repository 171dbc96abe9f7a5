/** Builds the page as a static folder that works under any base path. */
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'
import { offlineFiles } from './scripts/offline-files.ts'

export default defineConfig({
  base: './',
  plugins: [svelte(), offlineFiles()],
  worker: { format: 'es' },
  build: { target: 'es2023', chunkSizeWarningLimit: 2500 },
  server: { port: 5173 },
  optimizeDeps: {
    // Bundled ahead they would bring a second copy of Svelte's runtime.
    exclude: ['@lucide/svelte', 'virtua'],
    include: [
      '@tensorflow/tfjs',
      '@tensorflow/tfjs-backend-webgpu',
      '@tensorflow/tfjs-backend-wasm',
      '@huggingface/tokenizers',
      '@huggingface/jinja',
      'client-zip',
      'comlink',
      'diff',
      'idb-keyval',
      'pure-rand/generator/xoroshiro128plus',
      'pure-rand/distribution/uniformInt',
      'uplot',
    ],
  },
})
