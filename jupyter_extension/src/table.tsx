/** Rows: as a list in the narrow sidebar, as a table on a page. */
import React from 'react';
import { Workbench } from './tokens';

export interface Column<T> {
  title: string;
  cell: (row: T) => React.ReactNode;
  numeric?: boolean;
}

export function Table<T>(props: { columns: Column<T>[]; rows: T[]; id: (row: T) => string; label: string }): JSX.Element {
  return (
    <div className="llm-scroll">
      <table className="llm-table" aria-label={props.label}>
        <thead>
          <tr>
            {props.columns.map((c, i) => (
              <th key={i} scope="col" className={c.numeric ? 'llm-number' : undefined}>
                {c.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {props.rows.map(row => (
            <tr key={props.id(row)}>
              {props.columns.map((c, i) => (
                <td key={i} className={c.numeric ? 'llm-number' : undefined}>
                  {c.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A list in which the arrow keys go from row to row and Enter opens one. */
export function List<T>(props: {
  rows: T[];
  id: (row: T) => string;
  label: string;
  onOpen: (row: T) => void;
  row: (row: T) => React.ReactNode;
  /** What else can be done with a row, beside it. */
  more?: (row: T) => React.ReactNode;
}): JSX.Element {
  const move = (event: React.KeyboardEvent<HTMLUListElement>): void => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) {
      return;
    }
    const buttons = [...event.currentTarget.querySelectorAll<HTMLButtonElement>('.llm-row')];
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    buttons[at + step]?.focus();
    event.preventDefault();
  };
  return (
    <ul className="llm-list" aria-label={props.label} onKeyDown={move} data-lm-suppress-shortcuts="true">
      {props.rows.map(row => (
        <li key={props.id(row)} className="llm-line-of">
          <button className="llm-row" onClick={() => props.onOpen(row)} data-id={props.id(row)}>
            {props.row(row)}
          </button>
          {props.more?.(row)}
        </li>
      ))}
    </ul>
  );
}

export function More(props: { bench: Workbench; shown: boolean; onMore: () => void }): JSX.Element | null {
  return props.shown ? (
    <button className="llm-button llm-more" onClick={props.onMore}>
      {props.bench.t('Show more')}
    </button>
  ) : null;
}

export function Filter(props: { bench: Workbench; value: string; onChange: (value: string) => void }): JSX.Element {
  const text = props.bench.t('Filter by name');
  return (
    <input
      className="llm-input llm-filter"
      type="search"
      value={props.value}
      placeholder={text}
      aria-label={text}
      onChange={e => props.onChange(e.target.value)}
      data-lm-suppress-shortcuts="true"
    />
  );
}
