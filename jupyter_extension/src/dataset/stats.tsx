/** Statistics of a dataset, drawn: lengths, roles, label balance, what is missing. */
import React from 'react';
import { number } from '../format';
import { isRow } from '../messages';
import { Json } from '../schema';
import { Table } from '../table';
import { Workbench } from '../tokens';

type Row = { [key: string]: Json };

export interface Lengths {
  min: number;
  median: number;
  mean: number;
  p95: number;
  max: number;
  histogram?: [number, number, number][];
}

export function lengthsOf(v: Json | undefined): Lengths | null {
  return isRow(v) && typeof v.median === 'number' ? (v as unknown as Lengths) : null;
}

const WIDE = 240;
const TALL = 72;

export function Histogram(props: { bench: Workbench; title: string; lengths: Lengths }): JSX.Element {
  const { bench, title, lengths } = props;
  const { t } = bench;
  const bars = (lengths.histogram ?? []).filter(b => Array.isArray(b) && b.length === 3);
  const most = Math.max(1, ...bars.map(b => b[2]));
  const width = WIDE / Math.max(1, bars.length);
  return (
    <figure className="llm-figure">
      <figcaption>
        <b>{title}</b>
        <span className="llm-hint">{t('middle {median} · 95 % up to {p95} · most {max}', { median: number(lengths.median), p95: number(lengths.p95), max: number(lengths.max) })}</span>
      </figcaption>
      {bars.length ? (
        <svg viewBox={`0 0 ${WIDE} ${TALL + 14}`} role="img" aria-label={`${title}: ${t('from {min} to {max}', { min: number(lengths.min), max: number(lengths.max) })}`}>
          {bars.map(([from, to, n], i) => {
            const tall = n ? Math.max(1.5, (n / most) * TALL) : 0;
            return (
              <rect key={i} className="llm-bar-of" x={i * width + 0.75} y={TALL - tall} width={Math.max(0.5, width - 1.5)} height={tall}>
                <title>{`${number(from)} – ${number(to)}: ${number(n)}`}</title>
              </rect>
            );
          })}
          <line className="llm-grid" x1={0} x2={WIDE} y1={TALL} y2={TALL} />
          <text className="llm-tick" x={0} y={TALL + 11}>
            {number(bars[0][0])}
          </text>
          <text className="llm-tick" x={WIDE} y={TALL + 11} textAnchor="end">
            {number(lengths.max)}
          </text>
        </svg>
      ) : null}
    </figure>
  );
}

/** How often each value occurs, the most frequent first. */
export function Balance(props: { bench: Workbench; title: string; values: Row; most?: number; translated?: boolean }): JSX.Element | null {
  const { bench, title } = props;
  const all = Object.entries(props.values)
    .filter((e): e is [string, number] => typeof e[1] === 'number')
    .sort((a, b) => b[1] - a[1]);
  const total = all.reduce((sum, [, n]) => sum + n, 0);
  const shown = all.slice(0, props.most ?? 12);
  return shown.length ? (
    <figure className="llm-figure">
      <figcaption>
        <b>{title}</b>
        {all.length > shown.length ? <span className="llm-hint">{bench.t('{n} more', { n: all.length - shown.length })}</span> : null}
      </figcaption>
      <div className="llm-balance">
        {shown.map(([value, n]) => (
          <React.Fragment key={value}>
            <span className="llm-balance-name" title={value}>
              {props.translated ? bench.t(value) : value || bench.t('(empty)')}
            </span>
            <span className="llm-balance-bar">
              <span style={{ width: `${Math.max(1, (100 * n) / shown[0][1])}%` }} />
            </span>
            <span className="llm-number">
              {number(n)} <span className="llm-hint">{total ? `${Math.round((100 * n) / total)} %` : ''}</span>
            </span>
          </React.Fragment>
        ))}
      </div>
    </figure>
  ) : null;
}

function Columns(props: { bench: Workbench; columns: Row; rows: number }): JSX.Element {
  const { bench, columns, rows } = props;
  const { t } = bench;
  const part = (n: Json | undefined): React.ReactNode =>
    typeof n === 'number' && n > 0 ? (
      <>
        {number(n)} <span className="llm-hint">{rows ? `${Math.max(1, Math.round((100 * n) / rows))} %` : ''}</span>
      </>
    ) : (
      '0'
    );
  const size = (c: Row): string => {
    const l = lengthsOf(c.length) ?? lengthsOf(c.items);
    const range = isRow(c.range) ? c.range : null;
    return l ? `${number(l.min)} – ${number(l.max)}` : range && typeof range.min === 'number' && typeof range.max === 'number' ? `${number(range.min)} – ${number(range.max)}` : '';
  };
  return (
    <Table
      label={t('Columns')}
      rows={Object.entries(columns).filter((e): e is [string, Row] => isRow(e[1]))}
      id={([name]) => name}
      columns={[
        { title: t('Column'), cell: ([name]) => <code>{name}</code> },
        { title: t('Type'), cell: ([, c]) => (isRow(c.types) ? Object.keys(c.types).filter(k => c.types && (c.types as Row)[k]).join(', ') : '') },
        { title: t('Missing'), cell: ([, c]) => part(c.missing), numeric: true },
        { title: t('Empty'), cell: ([, c]) => part(c.empty), numeric: true },
        { title: t('From – to'), cell: ([, c]) => size(c), numeric: true }
      ]}
    />
  );
}

export function Statistics(props: { bench: Workbench; statistics: Row }): JSX.Element {
  const { bench, statistics } = props;
  const { t } = bench;
  const rows = typeof statistics.rows === 'number' ? statistics.rows : 0;
  const messages = isRow(statistics.messages) ? statistics.messages : {};
  const columns = isRow(statistics.columns) ? statistics.columns : {};
  const characters = lengthsOf(statistics.characters);
  const turns = lengthsOf(messages.per_row);
  const texts = Object.entries(columns).flatMap(([name, c]) => {
    const l = isRow(c) ? lengthsOf(c.length) : null;
    return l?.histogram ? [{ name, l }] : [];
  });
  const balances = Object.entries(columns).flatMap(([name, c]) => (isRow(c) && isRow(c.values) && Object.keys(c.values).length > 1 ? [{ name, values: c.values }] : []));
  return (
    <>
      <div className="llm-figures">
        {characters ? <Histogram bench={bench} title={t('Characters of a row')} lengths={characters} /> : null}
        {turns ? <Histogram bench={bench} title={t('Turns of a conversation')} lengths={turns} /> : null}
        {isRow(messages.roles) && Object.keys(messages.roles).length ? <Balance bench={bench} title={t('Who speaks')} values={messages.roles} translated /> : null}
        {balances.slice(0, 6).map(b => (
          <Balance key={b.name} bench={bench} title={b.name} values={b.values} />
        ))}
        {texts.length > 1 || !characters ? texts.slice(0, 4).map(x => <Histogram key={x.name} bench={bench} title={t('Characters of {name}', { name: x.name })} lengths={x.l} />) : null}
      </div>
      <Columns bench={bench} columns={columns} rows={rows} />
    </>
  );
}
