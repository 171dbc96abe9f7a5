/**
 * The one thing page and workers agree on: two APIs, their requests, and the events that come back.
 * Refuses DOM types other than File, Blob and handles of folders, and anything that structured clone cannot carry.
 */
import type { ErrorReport } from './errors'
import type { ExportDtype, ExportFormat } from './exports'
import type { AuditReport, Finding, FindingKind } from './audit'
import type { OnProgress } from './files'
import type { Job } from './job'
import type { PromptingTrial, Rehearsal, RehearsalKind, RehearsalStep } from './judgement'
import type { MetricColumns } from './metrics'
import type {
  ChatMessage,
  CheckpointKind,
  DatasetId,
  DatasetRecord,
  DatasetStats,
  DeviceReport,
  Mapping,
  MemoryForecast,
  ModelFacts,
  ModelId,
  ModelRecord,
  PreviewRow,
  RowProblem,
  RunId,
  RunMark,
  RunRecord,
  RunSample,
} from './records'
import type { DataRecipe, RowOrigin, Step } from './steps'

/** What training tells the page; `metrics` come about every 100 ms with all rows since the last. */
export type TrainEvent =
  | { kind: 'stage'; stage: string; done: number; total: number }
  | { kind: 'started'; run: RunRecord }
  | { kind: 'metrics'; columns: MetricColumns; tokensPerSecond: number; secondsLeft: number | null }
  | { kind: 'sample'; sample: RunSample }
  | { kind: 'mark'; mark: RunMark }
  | { kind: 'ended'; run: RunRecord }
export type OnTrainEvent = (event: TrainEvent) => void

export interface Sampling {
  maxNewTokens: number
  /** 0 is greedy. */
  temperature: number
  /** 0 is off. */
  topK: number
  /** 1 is off. */
  topP: number
  /** 1 is off. */
  repetitionPenalty: number
  stop: string[]
  seed: number
}
export const DEFAULT_SAMPLING: Sampling = {
  maxNewTokens: 128,
  temperature: 0.7,
  topK: 0,
  topP: 0.95,
  repetitionPenalty: 1.1,
  stop: [],
  seed: 1,
}

export interface GenerateRequest extends Sampling {
  modelId: ModelId
  /** A run whose adapter is used; null for the base model. */
  runId: RunId | null
  checkpoint: CheckpointKind
  /** 0 is the base model, 1 the adapter as trained, up to 1.5. */
  strength: number
  /** Another run's adapter on the same model, which acts beside it. */
  beside?: { runId: RunId; checkpoint: CheckpointKind; strength: number }
  /** Plain text, or turns for the model's chat template. */
  prompt: string | ChatMessage[]
  /** Examples of the run's dataset that come before a single question; none where left out. */
  shots?: number
}
/** New text since the last call; never half a character. */
export type OnText = (delta: string) => void
export interface GenerateResult {
  ids: number[]
  text: string
  /** Why it ended. */
  reason: 'end' | 'stop' | 'length' | 'cancelled'
  tokensPerSecond: number
}

export interface ExportRequest {
  runId: RunId
  checkpoint: CheckpointKind
  format: ExportFormat
  /** Of whole models; as the base is stored where left out. */
  dtype?: ExportDtype
  /** A folder that the person picked: files go into a new folder in it instead of a zip. */
  folder?: FileSystemDirectoryHandle
}
export interface ExportResult {
  name: string
  bytes: number
  /** The zip; null where the files went into a folder. */
  blob: Blob | null
  /** What was read back and compared, in one sentence with the largest difference. */
  verification: string
}

/** A run's job for larger machines. */
export interface HandoffRequest {
  runId: RunId
  /** The base model as the other machine should name it: `owner/name` on a hub, or a path there. */
  model: string
  /** As in {@link ExportRequest}. */
  folder?: FileSystemDirectoryHandle
}

/** A model on a hub. */
export interface HubRequest {
  /** `owner/name`, `owner/name@revision`, or the address of its page. */
  name: string
  /** Empty for Hugging Face. */
  endpoint: string
  /** For gated models; kept nowhere. Empty for none. */
  token: string
}
/** What a hub has under a name, before anything large is fetched. */
export interface HubListing {
  id: ModelId
  owner: string
  name: string
  commit: string
  /** The address of its page. */
  page: string
  /** As the hub spells it, "apache-2.0"; empty where it tells none. */
  licence: string
  gated: boolean
  /** Bytes of the files that would be fetched. */
  bytes: number
  /** What its settings and headers say; null where they may not be read, or say that it cannot be loaded here. */
  record: ModelRecord | null
  /** Why it cannot be loaded here. */
  refusal: ErrorReport | null
  /** Why its files may not be read, with this token or without one. */
  locked: ErrorReport | null
  /** Whether it is stored here already, and else the bytes that an interrupted transfer left. */
  stored: boolean
  transferred: number
}

/** The stage of a transfer in which it can be paused: bytes are on their way. */
export const FETCHING = 'Fetching'

/** What a run is judged by. */
export interface JudgeRequest {
  runId: RunId
  checkpoint: CheckpointKind
  /** Another dataset; null for the rows that the run held back. */
  datasetId: DatasetId | null
  /** Most rows whose loss is measured, and of them those that both models answer. */
  rows: number
  answers: number
  /** Examples in the prompt of the base for a third column; 0 for none. */
  shots: number
  /** A regular expression that good answers match; empty for none. */
  pattern: string
}

/** Which side of a row a variation has anew: its prompt, its answer, or both. */
export type VariationKind = 'prompt' | 'answer' | 'both'
export interface VaryRequest {
  datasetId: DatasetId
  /** Position of the row that is varied. */
  position: number
  kind: VariationKind
  count: number
  modelId: ModelId
  /** A run whose adapter writes; null for the base model. */
  runId: RunId | null
  checkpoint: CheckpointKind
  temperature: number
  seed: number
}
/** The texts of a row; running text has no prompt. */
export interface RowSides {
  prompt: string | null
  answer: string
}
/** A variation, or what was thrown away and why. */
export type Variation = RowSides | { refused: string }

/** The engine worker: device, models, training, generation, export. */
export interface EngineApi {
  /** Opens the device (again, if the choice differs) and tests its gradients. */
  openDevice(choice: 'auto' | 'webgpu' | 'wasm'): Promise<DeviceReport>
  /** Every model at hand: bundled ones first, then stored ones, newest first. Opens none. */
  listModels(): Promise<ModelRecord[]>
  /** Reads, checks and stores a local Hugging Face folder; nothing is stored if it is refused. */
  importModel(files: { path: string; file: File }[], onProgress: OnProgress): Promise<ModelRecord>
  /** Looks a model up on a hub, and reads its settings and headers; fetches no weights. */
  findHubModel(request: HubRequest): Promise<HubListing>
  /** Fetches a hub's model by ranges, checks and stores it; goes on with a transfer that was interrupted. */
  fetchHubModel(request: HubRequest, onProgress: OnProgress): Promise<ModelRecord>
  /** Ends the transfer under way; what came so far is kept for the next {@link EngineApi.fetchHubModel}. */
  pauseFetch(): Promise<void>
  /** Loads a model onto the device unless it is there already. */
  openModel(id: ModelId, onProgress: OnProgress): Promise<ModelRecord>
  deleteModel(id: ModelId): Promise<void>
  /** Predicts the memory of a job, on its own model or on one of another shape. */
  forecast(job: Job, rowLength: number, model?: ModelFacts): Promise<MemoryForecast>
  /** The share of the memory that batches of 1 to 16 rows of this length would take in this job. */
  batchShares(job: Job, rowLength: number): Promise<number[]>
  /** Stores a new run with an immutable copy of the job; does not start it. */
  createRun(job: Job, name: string): Promise<RunRecord>
  /** Starts or resumes a run from its last checkpoint; settles when it ends, is paused, stopped or fails. */
  train(id: RunId, onEvent: OnTrainEvent): Promise<RunRecord>
  /** Ends after the current step with a checkpoint; the run can be resumed. */
  pause(): Promise<void>
  /** Ends after the current step with a checkpoint, and marks the run stopped. */
  stop(): Promise<void>
  generate(request: GenerateRequest, onText: OnText): Promise<GenerateResult>
  cancelGenerate(): Promise<void>
  /** Lets a model write variations of a row, each told as it comes; {@link EngineApi.cancelGenerate} ends it. */
  vary(request: VaryRequest, onVariation: (variation: Variation) => void, onProgress: OnProgress): Promise<void>
  /** Scores a run beside its base and keeps what was found on the run. */
  judge(request: JudgeRequest, onProgress: OnProgress): Promise<RunRecord>
  /** Measures how far each layer was moved and keeps it on the run. */
  measureChange(id: RunId, checkpoint: CheckpointKind, onProgress: OnProgress): Promise<RunRecord>
  /** A few real steps of a job that is not started; refused while a run trains. */
  rehearse(
    kind: RehearsalKind,
    job: Job,
    onStep: (step: RehearsalStep) => void,
    onProgress: OnProgress,
  ): Promise<Rehearsal>
  /** Lets the base answer some held-back rows with and without examples in its prompt; refused while a run trains. */
  tryPrompting(job: Job, onProgress: OnProgress): Promise<PromptingTrial>
  /** Ends judging, measuring and rehearsing under way; they reject with `cancelled`. */
  cancelJudging(): Promise<void>
  exportRun(request: ExportRequest, onProgress: OnProgress): Promise<ExportResult>
  /** A run's job with its rows for LLaMA-Factory, TRL, mlx-lm and Ray Tune. */
  handOff(request: HandoffRequest, onProgress: OnProgress): Promise<ExportResult>
  /** Ends exports and hand-offs under way; they reject with `cancelled`, and nothing of them is left. */
  cancelExport(): Promise<void>
  /** How badly the base model expected each of these tokens, in nats; NaN for the first. */
  tokenLosses(modelId: ModelId, ids: readonly number[]): Promise<Float32Array>
  /** A PEFT folder or zip as a run of status `imported` over a model. */
  importAdapter(modelId: ModelId, files: { path: string; file: File }[]): Promise<RunRecord>
}

export interface PreviewRequest {
  datasetId: DatasetId
  mapping: Mapping
  modelId: ModelId
  maxLength: number
  trainOn: Job['trainOn']
  /** The state of the dataset that is asked for, so that an answer is never taken for another's. */
  revision: string
}

/** Which rows are held back for validation. */
export type SplitRequest = Pick<Job, 'evalFraction' | 'evalSplit' | 'splitBy' | 'seed'>

/** What an audit needs to know beside the rows. */
export interface AuditRequest extends SplitRequest {
  datasetId: DatasetId
  revision: string
  /** Without a model, what depends on tokens is left out. */
  modelId: ModelId | null
  maxLength: number
  trainOn: Job['trainOn']
  batchSize: number
  /** A dataset of its own for validation, and its state; empty for none. */
  evalData: DatasetId
  evalRevision: string
}
/** An audit without its findings, which stay in the worker. */
export type AuditSummary = Omit<AuditReport, 'findings'> & {
  /** Whether every row was looked at, or only the first ones so far. */
  complete: boolean
}

/** Which rows a table shows, and in which order. */
export interface RowQuery {
  datasetId: DatasetId
  /** Rows that hold this text, whatever its case. Empty for all. */
  search: string
  /** Rows with such a finding of the last audit. */
  finding: FindingKind | null
  order: 'file' | 'longest' | 'shortest'
}
/** A row as a table shows it. */
export interface TableRow {
  /** 0-based position among the rows that are left. */
  position: number
  /** 0-based number in the file; rows written by hand are numbered on from there. */
  number: number
  /** What the model is given and what it is to learn, as the mapping has it; the start of long texts. */
  prompt: string
  answer: string
  /** Why the row cannot be used. */
  problem?: string
  findings: Finding[]
  /** For a row that was not in the file: which model wrote it, or that a person did. */
  origin?: RowOrigin | 'hand'
}

/** Steps as the page lists them. */
export interface StepList {
  /** Done, first to last; what an audit found is not sent along. */
  done: { step: Step; rows: number }[]
  /** Rows of the file. */
  rows: number
  /** How many can be done again. */
  undone: number
}
/** Change to the list of steps; `remove` takes one out of the middle, `cut` all of them off. */
export type StepChange = { add: readonly Step[] } | { remove: number } | 'undo' | 'redo' | 'clear'

/** How rows are written to a file. */
export interface RowExport {
  /** A format of rows, or the columns as they are. */
  format: 'columns' | 'alpaca' | 'sharegpt' | 'chat' | 'pair' | 'text'
  file: 'jsonl' | 'json' | 'csv' | 'tsv' | 'txt'
}
export interface RowExportResult {
  blob: Blob
  /** Rows that the format cannot say, with the first reason. */
  left: number
  reason: string
}

/** What a person gives as a dataset: one or more files, text, or the address of a file with a token where it needs one. */
export type DataSource = File | File[] | { name: string; text: string } | { address: string; token: string }

/** The data worker: files, rows, previews. */
export interface DataApi {
  /** Every dataset at hand: bundled samples first, then stored ones, newest first. */
  listDatasets(): Promise<DatasetRecord[]>
  /** Several files, and those of a zip, become one dataset. A token goes to the address's own host only, and is kept nowhere. */
  importDataset(source: DataSource, onProgress: OnProgress): Promise<DatasetRecord>
  /** Stops the import in progress; nothing is stored. */
  cancelImport(): Promise<void>
  renameDataset(id: DatasetId, name: string): Promise<void>
  deleteDataset(id: DatasetId): Promise<void>
  problems(id: DatasetId): Promise<RowProblem[]>
  /** Rows in tokens, at any positions. */
  preview(request: PreviewRequest, positions: readonly number[]): Promise<PreviewRow[]>
  stats(request: PreviewRequest, split: SplitRequest, onProgress: OnProgress): Promise<DatasetStats>
  steps(id: DatasetId): Promise<StepList>
  /** Changes the steps and works out what they come to; an audit under way is ended. */
  changeSteps(request: AuditRequest, change: StepChange, onProgress: OnProgress): Promise<StepList>
  /** The steps that mean the same on another file. */
  recipe(id: DatasetId): Promise<DataRecipe>
  /** A recipe's file, checked. @throws CodedError `data.row` */
  readRecipe(file: File): Promise<DataRecipe>
  /** Looks through all rows: tells first what the first rows show, then all. Who asks again ends the last one. */
  audit(request: AuditRequest, onPart: (part: AuditSummary) => void, onProgress: OnProgress): Promise<AuditSummary>
  /** Ends the audit under way. */
  cancelAudit(): Promise<void>
  /** Positions of the rows that a query asks for; null for all of them in their order. */
  query(query: RowQuery, onProgress: OnProgress): Promise<Uint32Array | null>
  tableRows(id: DatasetId, positions: readonly number[]): Promise<TableRow[]>
  /** One row as it is, to be edited. */
  wholeRow(id: DatasetId, position: number): Promise<Record<string, unknown>>
  /** The texts of a row that can be varied. @throws CodedError `data.row` */
  rowSides(id: DatasetId, position: number): Promise<RowSides>
  /** A row with other texts, its other columns as they are. */
  variedRow(id: DatasetId, position: number, sides: RowSides): Promise<Record<string, unknown>>
  exportRows(id: DatasetId, request: RowExport, onProgress: OnProgress): Promise<RowExportResult>
}
