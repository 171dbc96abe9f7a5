/** Builds the page as a static folder that works under any base path. */
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'
import { offlineFiles } from './scripts/offline-files.ts'

/** With these the page may share memory between threads, which WebAssembly needs for several; in a build public/sw.js adds them. */
const headers = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }

export default defineConfig({
  base: './',
  plugins: [svelte(), offlineFiles()],
  worker: { format: 'es' },
  build: { target: 'es2023', chunkSizeWarningLimit: 2500 },
  server: { port: 5173, headers },
  preview: { headers },
  optimizeDeps: {
    // Bundled ahead they would bring a second copy of Svelte's runtime.
    exclude: ['@lucide/svelte', 'virtua'],
    include: [
      '@tensorflow/tfjs',
      '@tensorflow/tfjs-backend-webgpu',
      '@tensorflow/tfjs-backend-wasm',
      '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.js',
      '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.worker.js',
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
