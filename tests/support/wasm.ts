/** Set-up of the vitest project `wasm`: TensorFlow.js's wasm backend in Node. Refuses to fall back to another backend. */
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm'
import { tf } from '../../src/engine/tf'

setWasmPaths(new URL('../../node_modules/@tensorflow/tfjs-backend-wasm/dist/', import.meta.url).pathname)
if (!(await tf.setBackend('wasm'))) throw new Error('The wasm backend did not start.')
await tf.ready()
