/** Labels on their way to the server: kept in the browser until it says that it has them, and sent again until then. */
import { Problem } from '../schema';
import { Sent } from './model';

/** Where unsent labels wait; the browser's own storage, or anything like it. */
export interface Shelf {
  getItem(name: string): string | null;
  setItem(name: string, value: string): void;
  removeItem(name: string): void;
}

export interface OutboxState {
  /** Labels that the server does not have yet. */
  waiting: number;
  /** The server did not answer the last time. */
  lost: boolean;
  /** What the server refuses to take; it stays here until it is changed or thrown away. */
  refused: Problem | null;
}

const FIRST = 1000;
const LONGEST = 20000;

export class Outbox {
  constructor(
    private name: string,
    private shelf: Shelf,
    private send: (label: Sent) => Promise<unknown>,
    private isLost: (e: unknown) => boolean,
    private problem: (e: unknown) => Problem,
    private later: (what: () => void, ms: number) => number = (what, ms) => window.setTimeout(what, ms)
  ) {
    this._waiting = read(shelf, name);
  }
  get state(): OutboxState {
    return { waiting: this._waiting.length, lost: this._lost, refused: this._refused };
  }
  /** The unsent label of an item, if there is one. */
  of(item: number, who: string): Sent | undefined {
    return [...this._waiting].reverse().find(s => s.item === item && s.who === who);
  }
  /** Keep a label and send it; resolves when it is sent, or when the server does not answer. */
  add(label: Sent): Promise<void> {
    // A newer label of the same item by the same person stands for the older one, unless that one is on its way.
    this._waiting = this._waiting.filter((s, i) => s.item !== label.item || s.who !== label.who || (i === 0 && this._busy));
    this._waiting.push(label);
    this.keep();
    return this.flush();
  }
  /** Send what waits, one after the other. */
  async flush(): Promise<void> {
    if (this._busy || !this._waiting.length || this._closed) {
      return;
    }
    this._busy = true;
    this.tell();
    while (this._waiting.length && !this._closed) {
      const label = this._waiting[0];
      try {
        await this.send(label);
        this._waiting = this._waiting.filter(s => s.key !== label.key);
        this._lost = false;
        this._refused = null;
        this._wait = FIRST;
        this.keep();
      } catch (e) {
        this._lost = this.isLost(e);
        this._refused = this._lost ? null : this.problem(e);
        break;
      }
    }
    this._busy = false;
    this.tell();
    if (this._waiting.length && !this._refused && !this._closed) {
      this.later(() => void this.flush(), this._wait);
      this._wait = Math.min(LONGEST, this._wait * 2);
    }
  }
  /** Throw away what the server refuses. */
  drop(): void {
    this._waiting = this._waiting.slice(1);
    this._refused = null;
    this.keep();
    this.tell();
    void this.flush();
  }
  close(): void {
    this._closed = true;
  }
  onChange: (state: OutboxState) => void = () => undefined;

  private keep(): void {
    try {
      if (this._waiting.length) {
        this.shelf.setItem(this.name, JSON.stringify(this._waiting));
      } else {
        this.shelf.removeItem(this.name);
      }
    } catch {
      // A full or forbidden storage: labels wait in memory only.
    }
  }
  private tell(): void {
    this.onChange(this.state);
  }
  private _waiting: Sent[];
  private _busy = false;
  private _lost = false;
  private _closed = false;
  private _refused: Problem | null = null;
  private _wait = FIRST;
}

function read(shelf: Shelf, name: string): Sent[] {
  try {
    const kept: unknown = JSON.parse(shelf.getItem(name) ?? '[]');
    return Array.isArray(kept) ? (kept as Sent[]).filter(s => s && typeof s.key === 'string' && typeof s.item === 'number') : [];
  } catch {
    return [];
  }
}
