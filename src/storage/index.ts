/**
 * What the browser keeps for this page: runs, datasets, models, settings.
 * Refuses secrets that nobody asked to be kept; pages read from here, workers also write.
 */
export {
  cleanDatasets,
  deleteDataset,
  getDataset,
  listDatasets,
  missingDataset,
  readProblems,
  readRows,
  storeDataset,
  updateDataset,
} from './datasets'
export { whenRunIsFree, withRunLock } from './locks'
export {
  cleanModels,
  deleteModel,
  getModel,
  listModels,
  listTransfers,
  modelSource,
  storeModel,
  type PendingTransfer,
} from './models'
export {
  appendMetrics,
  deleteRun,
  getMetrics,
  getRun,
  listRuns,
  loadCheckpoint,
  loadImportedAdapter,
  putImportedRun,
  putRun,
  replaceMetrics,
  saveCheckpoint,
  updateRun,
} from './runs'
export { getSetting, requestPersistence, setSetting, storageEstimate, type StorageEstimate } from './settings'
export { keepRevision, putSteps, readOverlay, readRevision, readSteps, type Overlay } from './steps'
