/**
 * Where models come from: the page itself, a picked folder, a hub.
 * Refuses to load them: it only supplies bytes.
 */
export { bundledSource, fetchSample, listBundled, listSamples, type BundledModel, type SampleDataset } from './bundled'
export { fingerprintModel } from './fingerprint'
export { datasetFile, isAddress } from './dataset-file'
export { folderOf, pickedSource, type PickedFile } from './folder'
export { Hub, HUGGING_FACE, verifyFiles, type HubModel, type HubOptions } from './hub'
export { parseHubName } from './hub-name'
export { onlyFile, onlyModelFiles } from './model-files'
