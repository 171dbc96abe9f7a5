/** The one door to TensorFlow.js: every other file of the engine imports `tf` from here. Refuses to choose a backend. */
import * as tf from '@tensorflow/tfjs'
import '@tensorflow/tfjs-backend-wasm'

/** Of tfjs-backend-wasm 4.22.0. */
interface Shared {
  inputs: { x: tf.TensorInfo }
  backend: { incRef(id: object): void }
}

// That backend copies what others share: every tensor that a gradient keeps. Nothing here writes into a tensor that it did not make.
tf.unregisterKernel('Identity', 'wasm')
tf.registerKernel({
  kernelName: 'Identity',
  backendName: 'wasm',
  kernelFunc: (given) => {
    const { inputs, backend } = given as unknown as Shared
    const { dataId, shape, dtype } = inputs.x
    backend.incRef(dataId)
    return { dataId, shape, dtype }
  },
})

export { tf }
