/** Runs, newest first, and the templates that start one. */
import { refreshIcon } from '@jupyterlab/ui-components';
import React, { useEffect, useState } from 'react';
import { ago, duration } from '../format';
import { dashboardIcon, formIcon, runIcon, tracesIcon } from '../icons';
import { Bar, Empty, ProblemBox, Status } from '../parts';
import { RunRow } from '../schema';
import { Filter, List, More } from '../table';
import { Workbench } from '../tokens';
import { useLanguage, useLoaded, useSettled } from '../use';

const PAGE = 30;
const STATES = ['', 'waiting', 'running', 'done', 'failed', 'stopped', 'paused'];

function RunLine(props: { bench: Workbench; row: RunRow }): JSX.Element {
  const { bench, row } = props;
  const moving = row.status === 'running' || row.status === 'waiting';
  return (
    <>
      <span className="llm-row-top">
        <span className="llm-name">{row.title}</span>
        <Status bench={bench} status={row.status} />
      </span>
      {moving ? <Bar value={row.progress} label={row.title} /> : null}
      <span className="llm-row-under">
        {row.message ? `${row.message} · ` : ''}
        {ago(row.started, bench.translator.language)} · {duration(row.started, row.ended)}
      </span>
    </>
  );
}

function Templates(props: { bench: Workbench }): JSX.Element | null {
  const { bench } = props;
  const loaded = useLoaded(bench, () => bench.api.templates(), 'templates', () => false);
  const items = loaded.data?.items ?? [];
  if (loaded.error) {
    return <ProblemBox bench={bench} problem={loaded.error} onRetry={loaded.reload} />;
  }
  return items.length ? (
    <details className="llm-templates" open>
      <summary>{bench.t('Start a run')}</summary>
      <List
        rows={items}
        id={r => r.name}
        label={bench.t('Templates')}
        onOpen={r => bench.go.form('template', r.name)}
        row={r => (
          <>
            <span className="llm-row-top">
              <formIcon.react tag="span" className="llm-row-icon" />
              <span className="llm-name">{bench.translator.about(r.title, r.doc).title}</span>
            </span>
            <span className="llm-row-under">{bench.translator.about(r.title, r.doc).doc}</span>
          </>
        )}
      />
    </details>
  ) : null;
}

export function RunsPanel(props: { bench: Workbench }): JSX.Element {
  const { bench } = props;
  const { t } = bench;
  useLanguage(bench);
  const [filter, setFilter] = useState('');
  const [status, setStatus] = useState('');
  const [limit, setLimit] = useState(PAGE);
  const q = useSettled(filter.trim());
  useEffect(() => setLimit(PAGE), [q, status]);
  const loaded = useLoaded(
    bench,
    () => bench.api.runs({ q, status, limit }),
    `${q}|${status}|${limit}`,
    change => !change.about.length || change.about.some(about => about.startsWith('run:'))
  );
  const rows = loaded.data?.items ?? [];
  return (
    <div className="llm-panel" data-kind="run">
      <header>
        <h2>{t('Runs')}</h2>
        <button className="llm-icon-button" title={t('Dashboard')} data-action="dashboard" onClick={() => bench.go.service('dashboard')}>
          <dashboardIcon.react tag="span" />
        </button>
        <button className="llm-icon-button" title={t('Traces (Phoenix)')} data-action="traces" onClick={() => bench.go.service('phoenix')}>
          <tracesIcon.react tag="span" />
        </button>
        <button className="llm-icon-button" title={t('Refresh')} onClick={loaded.reload}>
          <refreshIcon.react tag="span" />
        </button>
      </header>
      <Templates bench={bench} />
      <div className="llm-tools">
        <Filter bench={bench} value={filter} onChange={setFilter} />
        <select className="llm-input" value={status} aria-label={t('Status')} onChange={e => setStatus(e.target.value)}>
          {STATES.map(s => (
            <option key={s} value={s}>
              {t(s || 'every status')}
            </option>
          ))}
        </select>
      </div>
      {loaded.error ? <ProblemBox bench={bench} problem={loaded.error} onRetry={loaded.reload} /> : null}
      {rows.length ? (
        <List rows={rows} id={r => r.id} label={t('Runs')} onOpen={r => bench.go.run(r.id)} row={r => <RunLine bench={bench} row={r} />} />
      ) : loaded.loading || loaded.error ? null : (
        <Empty icon={runIcon} text={t(q || status ? 'No run is like that' : 'No run yet. Start one from a template above, or with:')} command={q || status ? undefined : 'llmops run quickstart'} />
      )}
      <More bench={bench} shown={!!loaded.data?.next} onMore={() => setLimit(limit + PAGE)} />
    </div>
  );
}
