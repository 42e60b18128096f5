/** Tells panels that the store has changed: by the server's events, and by a slow look where these do not arrive. */
import { Event } from '@jupyterlab/services';
import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';
import { Api } from './api';

export const EVENT_SCHEMA = 'urn:llmops:store';
const CALM = 20000;
const ALONE = 4000;

export interface Change {
  seq: number;
  /** Kinds of the events, such as `version` and `alias`; empty when not known. */
  kinds: string[];
  /** Refs without number, and runs, that the events are about; empty when not known. */
  about: string[];
}

export class Live implements IDisposable {
  constructor(
    private api: Api,
    private stream: Event.Stream
  ) {
    stream.connect(this.onEvent, this);
    this.later(500);
  }
  get changed(): ISignal<this, Change> {
    return this._changed;
  }
  /** Whether events arrive; when not, the store is looked at every few seconds. */
  get connected(): boolean {
    return this._connected;
  }
  get isDisposed(): boolean {
    return this._disposed;
  }
  dispose(): void {
    this._disposed = true;
    window.clearTimeout(this._timer);
    this.stream.disconnect(this.onEvent, this);
    Signal.clearData(this);
  }
  /** Something was done here: tell everyone without waiting for the server. */
  touch(): void {
    this._changed.emit({ seq: this._seq, kinds: [], about: [] });
  }

  private onEvent(_: unknown, emission: Event.Emission): void {
    if (emission.schema_id !== EVENT_SCHEMA) {
      return;
    }
    const change = emission as unknown as Change;
    this._connected = true;
    this._seq = Math.max(this._seq, change.seq);
    this._changed.emit({ seq: change.seq, kinds: change.kinds, about: change.about });
  }

  private later(ms: number): void {
    window.clearTimeout(this._timer);
    this._timer = window.setTimeout(() => void this.look(), ms);
  }

  private async look(): Promise<void> {
    if (!document.hidden) {
      try {
        const { seq } = await this.api.head();
        if (this._seq && seq > this._seq) {
          this._connected = false;
          this._changed.emit({ seq, kinds: [], about: [] });
        }
        this._seq = Math.max(this._seq, seq);
      } catch {
        this._connected = false;
      }
    }
    if (!this._disposed) {
      this.later(this._connected ? CALM : ALONE);
    }
  }

  private _seq = 0;
  private _connected = true;
  private _disposed = false;
  private _timer = 0;
  private _changed = new Signal<this, Change>(this);
}
