/** Which rows a window shows, of a list of any length. Browsers draw nothing taller than about 17 million pixels. */

export const TALLEST = 8_000_000;

export interface Window {
  /** First row drawn, and one past the last. */
  first: number;
  end: number;
  /** Where the first row drawn stands, in pixels from the top of the list. */
  top: number;
  /** How tall the list is. */
  height: number;
}

/** Height of a list; a list that would be too tall is as tall as can be, and its scrollbar stands for all of it. */
export function heightOf(rows: number, size: number): number {
  return Math.min(TALLEST, rows * size);
}

export function window_(rows: number, size: number, scroll: number, view: number, over = 6): Window {
  const height = heightOf(rows, size);
  const room = Math.max(1, height - view);
  const at = (Math.min(scroll, room) / room) * Math.max(0, rows * size - view);
  const first = Math.max(0, Math.floor(at / size) - over);
  const end = Math.min(rows, Math.ceil((at + view) / size) + over);
  return { first, end, top: Math.max(0, scroll - (at - first * size)), height };
}

/** Where to scroll so that a row is in view; the place as it is where it is in view already. */
export function reveal(rows: number, size: number, scroll: number, view: number, row: number): number {
  const height = heightOf(rows, size);
  const room = Math.max(1, height - view);
  const all = Math.max(1, rows * size - view);
  const at = (Math.min(scroll, room) / room) * all;
  const want = row * size < at ? row * size : (row + 1) * size > at + view ? (row + 1) * size - view : null;
  return want === null ? scroll : (Math.max(0, want) / all) * room;
}

/** Rows that were fetched, a page at a time, the oldest forgotten first. */
export class Pages<T> {
  constructor(
    readonly size = 50,
    private most = 60
  ) {}
  get(row: number): T | undefined {
    return this.pages.get(Math.floor(row / this.size))?.[row % this.size];
  }
  /** Pages between two rows that are not there yet. */
  missing(first: number, end: number): number[] {
    const out: number[] = [];
    for (let p = Math.floor(first / this.size); p * this.size < end; p++) {
      if (!this.pages.has(p)) {
        out.push(p);
      }
    }
    return out;
  }
  set(page: number, rows: T[]): void {
    this.pages.delete(page);
    this.pages.set(page, rows);
    while (this.pages.size > this.most) {
      this.pages.delete(this.pages.keys().next().value as number);
    }
  }
  private pages = new Map<number, T[]>();
}
