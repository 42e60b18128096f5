/** The answer in progress, kept in the browser: closing the tab loses nothing. */
import { Draft } from './model';
import { Shelf } from './outbox';

export interface Kept {
  item: number;
  revision: number;
  draft: Draft;
  note: string;
}

export class Drafts {
  constructor(
    private shelf: Shelf,
    private name: string
  ) {}
  keep(kept: Kept): void {
    try {
      this.shelf.setItem(this.name, JSON.stringify(kept));
    } catch {
      // Without storage a draft lives as long as the page.
    }
  }
  forget(): void {
    this.shelf.removeItem(this.name);
  }
  /** The draft of an item as it was shown then; none where it was answered since. */
  of(item: number, revision: number): Kept | null {
    try {
      const kept = JSON.parse(this.shelf.getItem(this.name) ?? 'null') as Kept | null;
      return kept && kept.item === item && kept.revision === revision && kept.draft && typeof kept.draft === 'object' ? kept : null;
    } catch {
      return null;
    }
  }
}
