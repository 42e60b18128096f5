import { Token } from '@lumino/coreutils';
import { Api } from './api';
import { Translator } from './i18n';
import { Live } from './live';
import { Json } from './schema';

/** Where a person can go from a panel or a page. */
export interface Go {
  version(ref: string): void;
  run(id: string): void;
  report(ref: string): void;
  /** A program that runs beside Lab. */
  service(name: 'dashboard' | 'phoenix'): void;
  /** The labelling desk of a queue; of another dataset, its queues; of nothing, all queues. */
  label(ref: string): void;
  /** A form: of a template, or of a verb. */
  form(what: 'template' | 'verb', name: string, preset?: { [name: string]: Json }): void;
}

/** What every panel and page is given. */
export interface Workbench {
  readonly api: Api;
  readonly live: Live;
  readonly translator: Translator;
  readonly go: Go;
  readonly t: Translator['t'];
}

/** The workbench in Lab; other extensions may ask for it to open pages or to call verbs. */
export const IWorkbench = new Token<Workbench>('llmops-lab:IWorkbench', 'Opens pages of the LLMOps workbench and calls its verbs.');
export type IWorkbench = Workbench;
