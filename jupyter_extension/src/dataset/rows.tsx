/** The rows of a dataset: a list of any length on the left, the row itself on the right; or what a search finds. */
import React, { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { number } from '../format';
import { preview, RowView } from '../messages';
import { Linked, ProblemBox } from '../parts';
import { Problem, RowHit } from '../schema';
import { Workbench } from '../tokens';
import { problemOf, useSettled } from '../use';
import { Pages, reveal, window_ } from './virtual';

const LINE = 34;

export type Part = 'rows' | 'rejected' | 'removed';

function Origin(props: { bench: Workbench; hit: RowHit }): JSX.Element {
  const { bench, hit } = props;
  const { t } = bench;
  return (
    <div className="llm-origin">
      <span>{t('row {n}', { n: number(hit.number) })}</span>
      {hit.file ? <code>{hit.line === null ? hit.file : t('{file}, line {line}', { file: hit.file, line: number(hit.line) })}</code> : null}
      {hit.parent ? (
        <span>
          {t('from')} <Linked bench={bench} text={hit.parent} /> {hit.parent_row === null ? '' : t('row {n}', { n: number(hit.parent_row) })}
        </span>
      ) : null}
      {hit.cut ? <span className="llm-alias">{t('shortened for the screen')}</span> : null}
    </div>
  );
}

/** Moves through a list by the keyboard: arrows, pages, both ends. */
function stepOf(key: string, view: number): number | 'first' | 'last' | null {
  const page = Math.max(1, Math.floor(view / LINE) - 1);
  const steps: { [key: string]: number | 'first' | 'last' } = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: 'first', End: 'last' };
  return steps[key] ?? null;
}

function Virtual(props: {
  bench: Workbench;
  label: string;
  total: number;
  at: number;
  onAt: (row: number) => void;
  hit: (row: number) => RowHit | undefined;
  onShown: (first: number, end: number) => void;
  line: (hit: RowHit) => string;
}): JSX.Element {
  const { bench, total, at, onShown } = props;
  const box = useRef<HTMLDivElement>(null);
  const [scroll, setScroll] = useState(0);
  const [view, setView] = useState(400);
  useEffect(() => {
    const it = box.current;
    if (!it) {
      return;
    }
    const watch = new ResizeObserver(() => setView(it.clientHeight));
    watch.observe(it);
    return () => watch.disconnect();
  }, []);
  const w = window_(total, LINE, scroll, view);
  useEffect(() => {
    const timer = window.setTimeout(() => onShown(w.first, w.end), 60);
    return () => window.clearTimeout(timer);
  }, [w.first, w.end, onShown]);
  const go = (row: number): void => {
    const to = Math.max(0, Math.min(total - 1, row));
    props.onAt(to);
    if (box.current) {
      box.current.scrollTop = reveal(total, LINE, box.current.scrollTop, view, to);
    }
  };
  return (
    <div
      ref={box}
      className="llm-virtual"
      role="listbox"
      tabIndex={0}
      aria-label={props.label}
      aria-activedescendant={`llm-row-${at}`}
      data-lm-suppress-shortcuts="true"
      onScroll={e => setScroll(e.currentTarget.scrollTop)}
      onKeyDown={e => {
        const step = stepOf(e.key, view);
        if (step !== null) {
          e.preventDefault();
          go(step === 'first' ? 0 : step === 'last' ? total - 1 : at + step);
        }
      }}
    >
      <div style={{ height: w.height, position: 'relative' }}>
        <div style={{ position: 'absolute', top: w.top, left: 0, right: 0 }}>
          {Array.from({ length: Math.max(0, w.end - w.first) }, (_, i) => w.first + i).map(row => {
            const hit = props.hit(row);
            return (
              <div
                key={row}
                id={`llm-row-${row}`}
                role="option"
                aria-selected={row === at}
                aria-setsize={total}
                aria-posinset={row + 1}
                className={`llm-vrow ${row === at ? 'llm-here' : ''}`}
                style={{ height: LINE }}
                data-row={hit?.number ?? ''}
                onClick={() => go(row)}
              >
                <span className="llm-vrow-number">{number(hit?.number ?? row + 1)}</span>
                <span className="llm-vrow-text" dir="auto">{hit ? props.line(hit) : bench.t('Loading…')}</span>
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

/** What a search has found so far. */
interface Found {
  q: string;
  hits: RowHit[];
  next: number | null;
  read: number;
}

export function Rows(props: { bench: Workbench; refText: string; total: number; part?: Part; detail?: (hit: RowHit) => React.ReactNode; line?: (hit: RowHit) => string }): JSX.Element {
  const { bench, refText } = props;
  const { t } = bench;
  const part = props.part ?? 'rows';
  const pages = useMemo(() => new Pages<RowHit>(), [refText, part]);
  const flight = useRef(new Set<number>());
  const [total, setTotal] = useState(props.total);
  const [, draw] = useState(0);
  const [at, setAt] = useState(0);
  const [goto_, setGoto] = useState('');
  const [query, setQuery] = useState('');
  const q = useSettled(query.trim(), 300);
  const [found, setFound] = useState<Found | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const searching = useRef('');

  const load = useCallback(
    (first: number, end: number) => {
      pages.missing(first, Math.min(end, Math.max(total, 1))).forEach(page => {
        if (flight.current.has(page)) {
          return;
        }
        flight.current.add(page);
        bench.api.rows(refText, { part, start: page * pages.size, limit: pages.size }).then(
          got => {
            flight.current.delete(page);
            pages.set(page, got.items);
            setTotal(got.total);
            setProblem(null);
            draw(n => n + 1);
          },
          e => {
            flight.current.delete(page);
            setProblem(problemOf(e));
          }
        );
      });
    },
    [bench, pages, part, refText, total]
  );
  useEffect(() => load(0, 1), [pages]);
  const more = useCallback(
    async (from: Found): Promise<void> => {
      searching.current = from.q;
      let now = from;
      const want = from.hits.length + pages.size;
      try {
        while (now.next !== null && now.hits.length < want && searching.current === from.q) {
          const got = await bench.api.rows(refText, { part, start: now.next, limit: want - now.hits.length, q: from.q });
          now = { q: from.q, hits: [...now.hits, ...got.items], next: got.next, read: got.next ?? got.total };
          if (searching.current === from.q) {
            setFound(now);
          }
        }
      } catch (e) {
        setProblem(problemOf(e));
      }
    },
    [bench, pages, part, refText]
  );
  useEffect(() => {
    setAt(0);
    searching.current = q;
    setFound(q ? { q, hits: [], next: 0, read: 0 } : null);
    if (q) {
      void more({ q, hits: [], next: 0, read: 0 });
    }
  }, [q, more]);

  const shown = found ? found.hits.length : total;
  const hit = found ? found.hits[at] : pages.get(at);
  const line = props.line ?? ((h: RowHit): string => preview(h.row));
  return (
    <div className="llm-rows" data-part={part} data-total={total}>
      <div className="llm-tools">
        <input
          type="search"
          className="llm-input llm-filter"
          value={query}
          placeholder={t('Search in all rows')}
          aria-label={t('Search in all rows')}
          data-lm-suppress-shortcuts="true"
          data-field="search"
          onChange={e => setQuery(e.target.value)}
        />
        {found ? (
          <span className="llm-small" role="status" data-found={found.hits.length}>
            {t('{n} found in {read} of {total} rows', { n: number(found.hits.length), read: number(found.read), total: number(total) })}
            {found.next !== null ? (
              <button type="button" className="llm-button llm-quiet" data-action="more" onClick={() => void more(found)}>
                {t('Search on')}
              </button>
            ) : null}
          </span>
        ) : (
          <label className="llm-small">
            {t('Go to row')}
            <input
              type="text"
              inputMode="numeric"
              className="llm-input llm-goto"
              value={goto_}
              data-field="goto"
              data-lm-suppress-shortcuts="true"
              onChange={e => setGoto(e.target.value.replace(/\D/g, ''))}
              onKeyDown={e => {
                const to = Number(goto_) - 1;
                if (e.key === 'Enter' && to >= 0 && to < total) {
                  setAt(to);
                  const box = e.currentTarget.closest('.llm-rows')?.querySelector('.llm-virtual');
                  if (box) {
                    box.scrollTop = reveal(total, LINE, box.scrollTop, box.clientHeight, to);
                  }
                  load(to, to + 1);
                }
              }}
            />
            {t('of {total}', { total: number(total) })}
          </label>
        )}
      </div>
      {problem ? <ProblemBox bench={bench} problem={problem} onRetry={() => (setProblem(null), found ? void more(found) : load(at, at + 1))} /> : null}
      <div className="llm-browser">
        <Virtual
          key={q}
          bench={bench}
          label={t('Rows')}
          total={shown}
          at={at}
          onAt={setAt}
          hit={row => (found ? found.hits[row] : pages.get(row))}
          onShown={found ? noop : load}
          line={line}
        />
        <div className="llm-row-detail" aria-live="polite" tabIndex={0} role="group" aria-label={t('Row')}>
          {hit ? (
            <>
              <Origin bench={bench} hit={hit} />
              {props.detail ? props.detail(hit) : <RowView bench={bench} row={hit.row} />}
            </>
          ) : found && found.next === null && !found.hits.length ? (
            <p className="llm-hint">{t('No row says this.')}</p>
          ) : (
            <p className="llm-hint">{t('Loading…')}</p>
          )}
        </div>
      </div>
    </div>
  );
}

const noop = (): void => undefined;
