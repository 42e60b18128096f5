/** Shapes of the labelling verbs and views, and what can be said about them without drawing. */
import { Json } from '../schema';

/** Lines that a text takes where so many letters fit on one; a Chinese character takes the place of two. */
export const lines = (text: string, fit: number): number =>
  text.split('\n').reduce((n, line) => n + Math.max(1, Math.ceil((line.length + (line.match(/[\u1100-\uffdc]/g)?.length ?? 0)) / fit)), 0);

/** What a queue is called, in the reader's language where it has the name that queues are given. */
export function titleOf(t: (text: string, values?: { [name: string]: string | number }) => string, title: string, queue: string): string {
  const [, task, name] = title.match(/^(dialogue|preference|classification|correction) of (.+)$/s) ?? [];
  return task ? t('{task} of {name}', { task: t(task), name }) : title || queue.replace(/^dataset:/, '');
}

export type Task = 'dialogue' | 'preference' | 'classification' | 'correction';
type Row = { [key: string]: Json };

/** A stretch of a turn; offsets count code points, from 0. */
export interface Span {
  turn: number;
  start: number;
  end: number;
  label: string;
  text: string;
}
export interface Message {
  role: string;
  content: Json;
  [key: string]: Json;
}
/** An answer in progress; only the fields of the task are sent. */
export interface Draft {
  messages?: Message[];
  rating?: number;
  tags?: string[];
  spans?: Span[];
  choice?: string;
  classes?: string[];
  text?: string;
}
export interface Progress {
  done: number;
  skipped: number;
  open: number;
  total: number;
}
export interface Item {
  queue: string;
  item: number;
  task: Task;
  annotator: string;
  state: 'open' | 'done' | 'skipped';
  revision: number;
  value: Draft | null;
  note: string;
  content: {
    messages?: Message[];
    tools?: Json;
    text?: string;
    sides?: { side: string; messages: Message[] }[];
  };
  shown: Row;
  progress: Progress;
  mayAnswer: boolean;
}
export interface Settings {
  task: Task;
  annotators: string[];
  classes: string[];
  multi: boolean;
  tags: string[];
  spans: string[];
  scale: number;
  instructions: string;
  overlap: number;
}
export interface Queue {
  queue: string;
  task: Task;
  title: string;
  items: number;
  labelled: number;
  skipped: number;
  open: number;
  disagreeing: number;
  annotators: string[];
  overlap: number;
  finished: boolean;
  source: string;
  labelling: Settings;
  by_annotator: (Progress & { annotator: string; seconds: number | null })[];
}
export interface Agreement {
  what: string;
  measure: string;
  level: string;
  value: number | null;
  low: number | null;
  high: number | null;
  items: number;
  annotators: number;
  verdict: string;
  note: string;
}
export interface Disagreement extends Item {
  answers: { annotator: string; value: Draft; note: string }[];
  decided: { value: Draft | null; by: string; drop: boolean } | null;
}
/** A label on its way: an answer, a skip, or taking an answer back. */
export interface Sent {
  key: string;
  what: 'save' | 'skip' | 'undo';
  item: number;
  who: string;
  value: Draft | null;
  note: string;
  reason: string;
  seconds: number;
  revision: number;
}

/** What comes back when a label was stored. */
export interface Answered {
  saved?: { item: number; revision: number; state: Item['state'] };
  next?: Item | null;
  progress?: Progress;
}
export type Next = Item | { item: null; annotator: string; progress: Progress };
/** One of a person's items, in a list. */
export interface Mine {
  item: number;
  state: 'open' | 'done' | 'skipped';
  revision: number;
  text: string;
}

/** The fields that a task's answer may have. */
const FIELDS: { [task in Task]: (keyof Draft)[] } = {
  dialogue: ['messages', 'rating', 'tags', 'spans'],
  preference: ['choice', 'rating'],
  classification: ['classes'],
  correction: ['text']
};

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** What an item starts from: one's earlier answer, else nothing. */
export function start(item: Item): Draft {
  const draft: Draft = { ...(item.value ?? {}) };
  if (item.task === 'correction' && draft.text === undefined) {
    draft.text = item.content.text ?? '';
  }
  return draft;
}

/** The answer as the server takes it: without what was left empty or as it was. */
export function answer(item: Item, draft: Draft): Draft {
  const out: { [field: string]: unknown } = {};
  FIELDS[item.task].forEach(field => {
    const value = draft[field];
    const empty = value === undefined || (Array.isArray(value) && !value.length && field !== 'classes');
    if (!empty && !(field === 'messages' && same(value, item.content.messages))) {
      out[field] = value;
    }
  });
  if (item.task === 'classification') {
    out.classes = draft.classes ?? [];
  }
  return out as Draft;
}

/** Why an answer cannot be saved yet; empty when it can. */
export function missing(item: Item, draft: Draft, settings: Settings): string {
  if (item.task === 'preference' && !draft.choice) {
    return 'Choose a side first, or say that both are alike';
  }
  if (item.task === 'classification' && !settings.multi && !draft.classes?.length) {
    return 'Choose a class first';
  }
  return '';
}

/** With one member more, or less where it was there; in a single choice the new one stands alone. */
export function pick(list: string[] | undefined, one: string, many: boolean): string[] {
  const now = list ?? [];
  return now.includes(one) ? now.filter(x => x !== one) : many ? [...now, one] : [one];
}

/** The text of a turn that can be edited or marked; null where it is in parts. */
export function plainText(message: Message): string | null {
  return typeof message.content === 'string' ? message.content : null;
}

let count = 0;

/** A name for a label that nobody else uses. */
export function newKey(): string {
  count += 1;
  return `${Date.now().toString(36)}-${count}-${Math.random().toString(36).slice(2, 8)}`;
}

/** The queue that an output names; nothing where it names none. */
export function queueOf(data: unknown): string {
  const queue = (data as { queue?: unknown } | null)?.queue;
  return typeof queue === 'string' && /^dataset:[\w.-]+(@[\w.-]+)?$/.test(queue) ? queue : '';
}
