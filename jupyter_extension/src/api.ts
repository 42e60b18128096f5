/** The only file that fetches. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import {
  Json,
  Problem,
  RowPage,
  RunList,
  RunPage,
  Schema,
  Started,
  TemplateRow,
  VersionList,
  VersionPage
} from './schema';

/** What the server says when it cannot do what was asked; `message` is for people, `next` is the next command. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Problem
  ) {
    super(problem.message);
  }
}

type Query = { [key: string]: string | number | boolean | undefined };
type Args = { [name: string]: Json };

const BASE = 'llmops/api';

export class Api {
  constructor(private settings: ServerConnection.ISettings) {}

  schema(): Promise<Schema> {
    this._schema = this._schema ?? this.request<Schema>('schema');
    this._schema.catch(() => (this._schema = undefined));
    return this._schema;
  }
  head(): Promise<{ seq: number }> {
    return this.request('head');
  }
  versions(query: Query): Promise<VersionList> {
    return this.request('versions', query);
  }
  version(ref: string, lang: string): Promise<VersionPage> {
    return this.request(`version/${encodeURIComponent(ref)}`, { lang });
  }
  /** A page of the rows of a dataset, of those that could not be read, or of those that were taken out. */
  rows(ref: string, query: Query): Promise<RowPage> {
    return this.request(`rows/${encodeURIComponent(ref)}`, query);
  }
  runs(query: Query): Promise<RunList> {
    return this.request('runs', query);
  }
  run(id: string): Promise<RunPage> {
    return this.request(`run/${encodeURIComponent(id)}`);
  }
  templates(): Promise<{ items: TemplateRow[] }> {
    return this.request('templates');
  }
  view(name: string, query: Query = {}): Promise<{ rows: { [key: string]: Json }[] }> {
    return this.request(`view/${encodeURIComponent(name)}`, query);
  }
  call(verb: string, args: Args): Promise<Started> {
    return this.request(`call/${encodeURIComponent(verb)}`, {}, { args });
  }
  runTemplate(name: string, args: Args): Promise<Started> {
    return this.request(`templates/${encodeURIComponent(name)}/run`, {}, { args });
  }
  stop(id: string): Promise<Started> {
    return this.request(`run/${encodeURIComponent(id)}/stop`, {}, {});
  }
  /** Address of a report, for a frame; the server sends it with a policy that allows no script and no request. */
  reportUrl(ref: string, lang: string): string {
    return URLExt.join(this.settings.baseUrl, BASE, 'report', encodeURIComponent(ref)) + `?lang=${lang}`;
  }
  /** Address of a program that runs beside Lab, such as the dashboards. */
  serviceUrl(name: string, lang: string): string {
    return URLExt.join(this.settings.baseUrl, name) + `/?lang=${lang}`;
  }

  private async request<T>(path: string, query: Query = {}, body?: { [key: string]: Json }): Promise<T> {
    const given = Object.entries(query).filter((e): e is [string, string | number | boolean] => e[1] !== undefined && e[1] !== '');
    const search = given.length ? '?' + given.map(([k, v]) => `${k}=${encodeURIComponent(v)}`).join('&') : '';
    const init: RequestInit = body
      ? { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }
      : {};
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(URLExt.join(this.settings.baseUrl, BASE, path) + search, init, this.settings);
    } catch {
      throw new ApiError(0, { message: 'The server does not answer', code: 'offline', next: 'llmops lab' });
    }
    let answer: unknown = null;
    try {
      answer = await response.json();
    } catch {
      answer = null;
    }
    if (!response.ok || answer === null) {
      const error = (answer as { error?: Problem } | null)?.error;
      throw new ApiError(response.status, error ?? { message: `The server answered ${response.status}`, code: 'server', next: '' });
    }
    return answer as T;
  }

  private _schema: Promise<Schema> | undefined;
}
