/** The one door to TensorFlow.js: every other file of the engine imports `tf` from here. */
import * as tf from '@tensorflow/tfjs'

export { tf }
