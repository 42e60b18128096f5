// Generated from llmops/faces/wire.py. Do not edit: run python -m llmops.faces.server > jupyter_extension/src/schema.ts

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export const KINDS = ['model', 'dataset', 'prompt', 'chain', 'knowledge', 'benchmark', 'report', 'release', 'deployment', 'policy', 'pool', 'price', 'template'] as const;

/** A parameter of a verb, a view or a template */
export interface Param {
  name: string;
  type: string;
  doc: string;
  default: Json;
  required: boolean;
  choices: Json[];
  kind: string;
  many: boolean;
  group: string;
}

/** A function that makes a run */
export interface Verb {
  name: string;
  doc: string;
  writes: string;
  instant: boolean;
  params: Param[];
}

/** A function from the store to a table */
export interface View {
  name: string;
  doc: string;
  params: Param[];
}

/** A notebook that can be run */
export interface TemplateRow {
  name: string;
  title: string;
  doc: string;
  params: Param[];
}

/** What this server can do */
export interface Schema {
  version: string;
  store: string;
  kinds: string[];
  verbs: Verb[];
  views: View[];
  event_kinds: { [key: string]: string };
}

/** A version in a list */
export interface VersionRow {
  ref: string;
  kind: string;
  name: string;
  number: number;
  digest: string;
  created: string;
  made_by: string;
  aliases: string[];
  status: string;
  waived: string;
  summary: { [key: string]: Json };
}

/** One page of versions */
export interface VersionList {
  items: VersionRow[];
  next: string | null;
}

/** A fact */
export interface EventRow {
  seq: number;
  at: string;
  kind: string;
  about: string;
  data: { [key: string]: Json };
}

/** A file of a version */
export interface FileRow {
  path: string;
  blob: string;
  size: number;
}

/** A version or a run in a lineage */
export interface Node {
  id: string;
  type: string;
  label: string;
  status: string;
}

/** From what was read to what read it, and on to what it wrote */
export interface Edge {
  source: string;
  target: string;
}

/** A lineage */
export interface Graph {
  nodes: Node[];
  edges: Edge[];
}

/** A metric over steps */
export interface Series {
  name: string;
  points: number[][];
  band: number[][];
}

/** Everything on the page of a version */
export interface VersionPage {
  version: VersionRow;
  body: { [key: string]: Json };
  files: FileRow[];
  card: string;
  history: EventRow[];
  lineage: Graph;
  series: Series[];
  versions: VersionRow[];
  actions: string[];
  page: boolean;
  reports: string[];
  subjects: string[];
  rollback: string[];
  proven: string[];
}

/** A row of a dataset */
export interface RowHit {
  number: number;
  row: { [key: string]: Json };
  cut: boolean;
  file: string;
  line: number | null;
  parent: string;
  parent_row: number | null;
}

/** One page of rows */
export interface RowPage {
  ref: string;
  part: string;
  total: number;
  start: number;
  items: RowHit[];
  next: number | null;
}

/** A run in a list */
export interface RunRow {
  id: string;
  title: string;
  verb: string;
  status: string;
  started: string;
  ended: string | null;
  by: string;
  progress: number | null;
  message: string;
  parent: string;
}

/** One page of runs */
export interface RunList {
  items: RunRow[];
  next: string | null;
}

/** A cell of a notebook that runs */
export interface CellRow {
  index: number;
  id: string;
  source: string;
  status: string;
  seconds: number | null;
}

/** What is kept of a training, to go on from */
export interface CheckpointRow {
  step: number;
  total: number | null;
  loss: number | null;
  eval_loss: number | null;
  reward: number | null;
  best: boolean;
  bytes: number;
  run: string;
}

/** What a model in training said */
export interface SampleRow {
  step: number;
  prompt: string;
  text: string;
}

/** What a run that trains has besides */
export interface Training {
  run: string;
  checkpoints: CheckpointRow[];
  samples: SampleRow[];
  can_pause: boolean;
  can_resume: boolean;
  resumes: string;
  resumed: string;
  notes: string[];
}

/** Everything on the page of a run */
export interface RunPage {
  run: RunRow;
  args: { [key: string]: Json };
  reads: string[];
  writes: string[];
  children: RunRow[];
  cells: CellRow[];
  series: Series[];
  result: Json;
  error: string;
  page: string;
  can_stop: boolean;
  training: Training | null;
}

/** Answer to a call */
export interface Started {
  run: string;
  versions: string[];
  value: Json;
}

/** What is wrong, and the next command */
export interface Problem {
  message: string;
  code: string;
  next: string;
}
