/** A file of tfjs-backend-wasm 4.22.0 that comes without types: the source of a thread's worker. */
declare module '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.worker.js' {
  export const wasmWorkerContents: string
}
