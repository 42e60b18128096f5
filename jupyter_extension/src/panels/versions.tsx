/** The versions of a kind: filter, page, open. */
import { refreshIcon, addIcon } from '@jupyterlab/ui-components';
import React, { useEffect, useState } from 'react';
import { ago, show } from '../format';
import { kindIcon, labelIcon } from '../icons';
import { Empty, Marks, ProblemBox } from '../parts';
import { Json, VersionRow } from '../schema';
import { Filter, List, More } from '../table';
import { Workbench } from '../tokens';
import { useLanguage, useLoaded, useSettled } from '../use';

const PAGE = 50;

/** What an empty panel offers. */
const FIRST: { [kind: string]: string } = {
  model: 'llmops add model:NAME PATH',
  dataset: 'llmops add dataset:NAME FILE.jsonl',
  prompt: 'llmops add prompt:NAME FILE.txt',
  release: 'llmops release model:NAME --report report:NAME',
  deployment: 'llmops deploy release:NAME',
  report: 'llmops evaluate model:NAME'
};

function facts(row: VersionRow): string {
  const said = (v: Json): v is string | number => (typeof v === 'string' && v !== '') || typeof v === 'number';
  return Object.values(row.summary).filter(said).slice(0, 3).map(show).join(' · ');
}

export function VersionLine(props: { bench: Workbench; row: VersionRow; withKind?: boolean }): JSX.Element {
  const { bench, row } = props;
  return (
    <>
      <span className="llm-row-top">
        <span className="llm-name">{row.name}</span>
        <span className="llm-tag">@{row.number}</span>
        {row.aliases.map(a => (
          <span key={a} className="llm-alias">
            {a}
          </span>
        ))}
        <Marks bench={bench} row={row} />
      </span>
      <span className="llm-row-under">
        {facts(row) ? `${facts(row)} · ` : ''}
        {ago(row.created, bench.translator.language)}
      </span>
    </>
  );
}

export function VersionsPanel(props: { bench: Workbench; kinds: string[]; title: string }): JSX.Element {
  const { bench, kinds } = props;
  const { t } = bench;
  useLanguage(bench);
  const [kind, setKind] = useState(kinds[0]);
  const [filter, setFilter] = useState('');
  const [all, setAll] = useState(false);
  const [limit, setLimit] = useState(PAGE);
  const q = useSettled(filter.trim());
  useEffect(() => setLimit(PAGE), [q, kind, all]);
  const loaded = useLoaded(
    bench,
    () => bench.api.versions({ kind, q, all, limit }),
    `${kind}|${q}|${all}|${limit}`,
    change => !change.about.length || change.about.some(about => about.startsWith(kind + ':'))
  );
  const rows = loaded.data?.items.filter(r => r.kind === kind) ?? [];
  const icon = kindIcon(kind);
  return (
    <div className="llm-panel" data-kind={kind}>
      <header>
        <h2>{t(props.title)}</h2>
        {kinds.includes('dataset') ? (
          <button className="llm-icon-button" title={t('Label data')} data-action="queues" onClick={() => bench.go.label('')}>
            <labelIcon.react tag="span" />
          </button>
        ) : null}
        <button className="llm-icon-button" title={t('New run')} onClick={() => bench.go.form('template', '')}>
          <addIcon.react tag="span" />
        </button>
        <button className="llm-icon-button" title={t('Refresh')} onClick={loaded.reload}>
          <refreshIcon.react tag="span" />
        </button>
      </header>
      {kinds.length > 1 ? (
        <div className="llm-tabs" role="tablist">
          {kinds.map(k => (
            <button key={k} role="tab" aria-selected={k === kind} onClick={() => setKind(k)}>
              {t(k)}
            </button>
          ))}
        </div>
      ) : null}
      <div className="llm-tools">
        <Filter bench={bench} value={filter} onChange={setFilter} />
        <label className="llm-small">
          <input type="checkbox" checked={all} onChange={e => setAll(e.target.checked)} /> {t('every version')}
        </label>
      </div>
      {loaded.error ? <ProblemBox bench={bench} problem={loaded.error} onRetry={loaded.reload} /> : null}
      {rows.length ? (
        <List
          rows={rows}
          id={r => r.ref}
          label={t(props.title)}
          onOpen={r => bench.go.version(r.ref)}
          row={r => <VersionLine bench={bench} row={r} />}
          more={r =>
            r.kind === 'dataset' ? (
              <button className="llm-icon-button llm-line-more" title={`${t('Label')} ${r.ref}`} data-action="label" onClick={() => bench.go.label(r.ref)}>
                <labelIcon.react tag="span" />
              </button>
            ) : null
          }
        />
      ) : loaded.loading || loaded.error ? null : q ? (
        <Empty icon={icon} text={t('No name here has "{q}" in it', { q })} />
      ) : (
        <Empty icon={icon} text={t('Nothing here yet. Bring something in, or run a template:')} command={FIRST[kind] ?? `llmops add ${kind}:NAME FILE.json`}>
          <button className="llm-button" onClick={() => bench.go.form('template', '')}>
            {t('New run')}
          </button>
        </Empty>
      )}
      <More bench={bench} shown={!!loaded.data?.next} onMore={() => setLimit(limit + PAGE)} />
    </div>
  );
}
