/** Who labels what now: the item on the desk, the answer in progress, the way forwards and back. It knows nothing of drawing. */
import { Json, Problem } from '../schema';
import { Calls } from './calls';
import { Drafts } from './drafts';
import { answer, Answered, Draft, Item, Mine, missing, newKey, Next, Progress, Queue, Sent, Settings, start } from './model';
import { Outbox, OutboxState, Shelf } from './outbox';

const HISTORY = 100;

export class Desk {
  queue: Queue | null = null;
  item: Item | null = null;
  progress: Progress | null = null;
  draft: Draft = {};
  note = '';
  done = false;
  busy = false;
  problem: Problem | null = null;
  /** The queue has people of its own, and nobody said yet which of them sits here. */
  unknown = false;
  hint = '';
  outbox: Outbox;
  who: string;

  constructor(
    private calls: Calls,
    readonly ref: string,
    who: string,
    private shelf: Shelf
  ) {
    this.who = who;
    this.outbox = this.box();
  }
  get settings(): Settings {
    return this.queue?.labelling as Settings;
  }
  get sending(): OutboxState {
    return this.outbox.state;
  }
  get canUndo(): boolean {
    return this._past.length > 0 || !!this._last;
  }
  onChange: () => void = () => undefined;

  /** Load the queue and go on where one was. */
  async open(): Promise<void> {
    await this.during(async () => {
      [this.queue] = await this.calls.view<Queue>('label_queue', { queue: this.ref });
      await this.outbox.flush();
      try {
        await this.first();
      } catch (e) {
        this.unknown = !this.who && this.settings.annotators.length > 0 && !this.calls.isLost(e);
        if (!this.unknown) {
          throw e;
        }
      }
    });
  }
  async first(after = 0): Promise<void> {
    const next = await this.calls.call<Next>('label_next', { queue: this.ref, annotator: this.who, after });
    if (next.annotator && next.annotator !== this.who) {
      this.who = next.annotator;
      this.outbox.close();
      this.outbox = this.box();
      void this.outbox.flush();
    }
    this.show(next.item === null ? null : (next as Item), next.progress);
    void this.list();
  }
  /** One's items in one's own order. */
  async list(): Promise<void> {
    const query = { queue: this.ref, annotator: this.who, limit: 1000 };
    this._mine = await this.calls.view<Mine>('label_mine', query).catch(() => this._mine);
    this.ahead();
    this.onChange();
  }
  get mine(): Mine[] {
    return this._mine.map(m => {
      const waits = this.outbox.of(m.item, this.who);
      return waits ? { ...m, state: waits.what === 'save' ? 'done' : waits.what === 'skip' ? 'skipped' : 'open' } : m;
    });
  }
  async refresh(): Promise<void> {
    const [queue] = await this.calls.view<Queue>('label_queue', { queue: this.ref }).catch(() => [this.queue]);
    this.queue = queue;
    this.onChange();
  }
  change(part: Partial<Draft>): void {
    if (this.item?.mayAnswer === false || this._sending) {
      return;
    }
    this._past = [...this._past.slice(-HISTORY), this.draft];
    this.draft = { ...this.draft, ...part };
    this.hint = '';
    this.remember();
    this.onChange();
  }
  setNote(note: string): void {
    this.note = note;
    this.remember();
    this.onChange();
  }
  async save(): Promise<void> {
    const seen = this.item?.item;
    await this._going; // What was begun before comes first: a quick hand loses nothing, and saves nothing unseen.
    if (!this.item || this._sending || this.item.item !== seen) {
      return;
    }
    this.hint = missing(this.item, this.draft, this.settings);
    if (this.hint) {
      return this.onChange();
    }
    await this.put('save', answer(this.item, this.draft), '');
  }
  async skip(reason: string): Promise<void> {
    if (this.item && !this.busy) {
      await this.put('skip', null, reason);
    }
  }
  /** One step back: in the answer while there is one to take back, then the last label of this sitting. */
  async undo(): Promise<void> {
    const before = this._past.pop();
    if (before) {
      this.draft = before;
      this.remember();
      return this.onChange();
    }
    const last = this._last;
    if (!last || this.busy) {
      return;
    }
    this._last = null;
    await this.during(async () => {
      await this.outbox.flush();
      const [item] = await this.calls.view<Item>('label_item', { queue: this.ref, item: last.item, annotator: this.who });
      const got = await this.calls.call<Answered>('label_undo', { queue: this.ref, item: last.item, annotator: this.who, revision: item.revision });
      this.show(got.next ?? item, got.progress);
      this.draft = last.draft;
      this.note = last.note;
      this.remember();
      void this.list();
    });
  }
  /** To an item of one's own, to look at it again or to answer it anew. */
  async go(number: number): Promise<void> {
    if (this.busy) {
      return;
    }
    await this.during(async () => this.show(await this.load(number)));
  }
  async by(step: 1 | -1): Promise<void> {
    const at = this._mine.findIndex(m => m.item === this.item?.item);
    const to = at < 0 ? this._mine[step > 0 ? 0 : this._mine.length - 1] : this._mine[at + step];
    if (to) {
      await this.go(to.item);
    } else if (step > 0 && this.item && !this.busy) {
      await this.during(() => this.first(this.item?.item));
    }
  }
  close(): void {
    this.outbox.close();
  }

  private async put(what: 'save' | 'skip', value: Draft | null, reason: string): Promise<void> {
    const item = this.item as Item;
    const seconds = Math.min(3600, Math.round((Date.now() - this._since) / 100) / 10);
    this._last = { item: item.item, draft: this.draft, note: this.note };
    this.busy = this._sending = true;
    this._asked = newKey();
    this.onChange();
    const label: Sent = { key: this._asked, what, item: item.item, who: this.who, value, note: this.note, reason, seconds, revision: item.revision };
    await this.outbox.add(label);
    this.busy = this._sending = false;
    if (this.sending.lost && this._asked === label.key) {
      await this.goOnAlone(item);
    }
    this.onChange();
  }
  /** The server is away: the next item that was fetched ahead. */
  private async goOnAlone(item: Item): Promise<void> {
    this._asked = '';
    this.drafts.forget();
    const mine = this.mine;
    const at = mine.findIndex(m => m.item === item.item);
    const open = [...mine.slice(at + 1), ...mine.slice(0, at)].find(m => m.state === 'open' && this._ahead.has(m.item));
    this.show(open ? (this._ahead.get(open.item) as Item) : null);
    this.done = false;
  }
  private box(): Outbox {
    const name = `llmops.labels ${this.ref} ${this.who}`;
    const box = new Outbox(name, this.shelf, label => this.send(label), e => this.calls.isLost(e), e => this.calls.problem(e));
    box.onChange = () => this.onChange();
    return box;
  }
  private async send(label: Sent): Promise<void> {
    const about = { queue: this.ref, item: label.item, annotator: label.who, revision: label.revision };
    // The same label sent twice is one label: the server knows it again when only its answer was lost.
    const got =
      label.what === 'save'
        ? await this.calls.call<Answered>('label_save', { ...about, value: label.value as Json, seconds: label.seconds, note: label.note })
        : await this.calls.call<Answered>('label_skip', { ...about, reason: label.reason });
    this._ahead.delete(label.item);
    this._mine = this._mine.map(m => (m.item === label.item ? { ...m, state: label.what === 'save' ? 'done' : 'skipped', revision: m.revision + 1 } : m));
    this.progress = got.progress ?? this.progress;
    if (this.item?.item === label.item && got.saved) {
      this.item = { ...this.item, ...got.saved };
    }
    if (label.key === this._asked || (!this.item && !this.done)) {
      this._asked = '';
      this.drafts.forget();
      if (got.next === undefined) {
        await this.first(label.item);
      } else {
        this.show(got.next, got.progress);
        if (got.next && !this._mine.some(m => m.item === got.next?.item)) {
          void this.list();
        }
      }
    }
    this.ahead();
  }
  private show(item: Item | null, progress?: Progress): void {
    this.item = item;
    this.done = item === null;
    this.progress = progress ?? item?.progress ?? this.progress;
    this._past = [];
    this.hint = '';
    this._since = Date.now();
    this.draft = item ? start(item) : {};
    this.note = item?.note ?? '';
    const kept = item ? this.drafts.of(item.item, item.revision) : null;
    const waits = item ? this.outbox.of(item.item, this.who) : undefined;
    if (waits?.value || kept) {
      this.draft = waits?.value ?? kept?.draft ?? {};
      this.note = (waits?.value ? waits : kept)?.note ?? '';
    }
    this.onChange();
  }
  private async load(number: number): Promise<Item> {
    try {
      return (await this.calls.view<Item>('label_item', { queue: this.ref, item: number, annotator: this.who }))[0];
    } catch (e) {
      const known = this._ahead.get(number);
      if (known && this.calls.isLost(e)) {
        return known;
      }
      throw e;
    }
  }
  /** Fetch what comes next, so that a lost connection does not stop the work. */
  private ahead(): void {
    const at = this._mine.findIndex(m => m.item === this.item?.item);
    this._mine
      .slice(at + 1)
      .filter(m => m.state === 'open' && !this._ahead.has(m.item))
      .slice(0, Math.max(0, 4 - this._ahead.size))
      .forEach(m => {
        this.calls.view<Item>('label_item', { queue: this.ref, item: m.item, annotator: this.who }).then(
          ([item]) => this._ahead.set(m.item, item),
          () => undefined
        );
      });
  }
  private get drafts(): Drafts {
    return new Drafts(this.shelf, `llmops.draft ${this.ref} ${this.who}`);
  }
  private remember(): void {
    if (this.item) {
      this.drafts.keep({ item: this.item.item, revision: this.item.revision, draft: this.draft, note: this.note });
    }
  }
  private during(what: () => Promise<void>): Promise<void> {
    this._going = this.run(what);
    return this._going;
  }
  private async run(what: () => Promise<void>): Promise<void> {
    this.busy = true;
    this.problem = null;
    this.onChange();
    try {
      await what();
    } catch (e) {
      this.problem = this.calls.problem(e);
    }
    this.busy = false;
    this.onChange();
  }
  private _mine: Mine[] = [];
  private _ahead = new Map<number, Item>();
  private _past: Draft[] = [];
  private _last: { item: number; draft: Draft; note: string } | null = null;
  private _asked = '';
  private _sending = false;
  private _going: Promise<void> = Promise.resolve();
  private _since = Date.now();
}
