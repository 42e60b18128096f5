/** What the page of a dataset has besides: its rows, statistics, cleaning, what was not read, leaks. */
import React from 'react';
import { number, show } from '../format';
import { isRow, preview, RowView } from '../messages';
import { Section, Value } from '../parts';
import { Json, RowHit, VersionPage } from '../schema';
import { Workbench } from '../tokens';
import { Cleaning, stepsOf } from './cleaning';
import { Leaks } from './leaks';
import { Rows } from './rows';
import { reason as because } from './why';
import { Statistics } from './stats';

type Row = { [key: string]: Json };

/** Parts of the body that have a drawing of their own, and need no line among the facts. */
export const DRAWN = ['statistics', 'cleaning', 'columns', 'counts', 'labelling'];

/** How many rows were read, left out and kept: one bar that adds up. */
function Counts(props: { bench: Workbench; counts: Row }): JSX.Element | null {
  const { bench } = props;
  const { t } = bench;
  const known = Object.entries(props.counts).filter((e): e is [string, number] => typeof e[1] === 'number');
  return known.length ? (
    <div className="llm-tiles">
      {known.map(([k, n]) => (
        <div key={k} className="llm-tile" data-count={k}>
          <span className="llm-tile-name">{t(k)}</span>
          <b>{number(n)}</b>
        </div>
      ))}
    </div>
  ) : null;
}

function Rejected(props: { bench: Workbench; hit: RowHit }): JSX.Element {
  const { bench, hit } = props;
  const { t } = bench;
  const { file, line, column, reason, text, step, why, row, ...rest } = hit.row;
  return (
    <>
      <dl className="llm-facts">
        {(
          [
            ['Why', reason ?? why],
            ['Step', step],
            ['File', file],
            ['Line', line],
            ['Column', column]
          ] as [string, Json | undefined][]
        )
          .filter(([, v]) => v !== undefined && v !== null && v !== '')
          .map(([k, v]) => (
            <React.Fragment key={k}>
              <dt>{t(k)}</dt>
              <dd>{k === 'Why' ? because(t, show(v)) : k === 'Step' ? t(show(v)) : show(v)}</dd>
            </React.Fragment>
          ))}
        {Object.entries(rest).map(([k, v]) => (
          <React.Fragment key={k}>
            <dt>{t(k)}</dt>
            <dd>
              <Value bench={bench} value={v} />
            </dd>
          </React.Fragment>
        ))}
      </dl>
      {text !== undefined ? <pre className="llm-cell llm-bad-text">{show(text)}</pre> : null}
      {isRow(row) ? (
        <div className="llm-row-was">
          <RowView bench={bench} row={row} />
        </div>
      ) : null}
    </>
  );
}

const lineOf = (hit: RowHit): string => show(hit.row.line ?? (isRow(hit.row.row) ? hit.number : hit.row.row ?? hit.number));

const rejectedLine = (bench: Workbench) => (hit: RowHit): string =>
  `${lineOf(hit)}: ${because(bench.t, show(hit.row.reason ?? hit.row.why))} · ${preview({ text: hit.row.text ?? (isRow(hit.row.row) ? preview(hit.row.row) : '') })}`;

const has = (data: VersionPage, path: string): boolean => data.files.some(f => f.path === path);

export function DatasetSections(props: { bench: Workbench; data: VersionPage }): JSX.Element {
  const { bench, data } = props;
  const { t } = bench;
  const { body, version } = data;
  const steps = stepsOf(body.cleaning);
  const rows = typeof body.rows === 'number' ? body.rows : 0;
  const stored = data.files.some(f => f.path === 'rows.jsonl' || f.path === 'rows/slices');
  return (
    <>
      {stored && rows ? (
        <Section title={t('Rows')} count={rows}>
          <Rows key={version.ref} bench={bench} refText={version.ref} total={rows} />
        </Section>
      ) : null}
      {isRow(body.statistics) ? (
        <Section title={t('Statistics')}>
          <Statistics bench={bench} statistics={body.statistics} />
        </Section>
      ) : null}
      {steps.length || isRow(body.counts) ? (
        <Section title={t('What became of the rows')}>
          {isRow(body.counts) ? <Counts bench={bench} counts={body.counts} /> : null}
          {steps.length ? <Cleaning bench={bench} steps={steps} /> : null}
        </Section>
      ) : null}
      {has(data, 'rejected.jsonl') ? (
        <Section title={t('Rows that could not be read')}>
          <Rows key={`rejected ${version.ref}`} bench={bench} refText={version.ref} total={0} part="rejected" detail={h => <Rejected bench={bench} hit={h} />} line={rejectedLine(bench)} />
        </Section>
      ) : null}
      {has(data, 'removed.jsonl') ? (
        <Section title={t('Rows that were taken out')}>
          <Rows key={`removed ${version.ref}`} bench={bench} refText={version.ref} total={0} part="removed" detail={h => <Rejected bench={bench} hit={h} />} line={rejectedLine(bench)} />
        </Section>
      ) : null}
      <Leaks bench={bench} refText={version.ref} />
    </>
  );
}
