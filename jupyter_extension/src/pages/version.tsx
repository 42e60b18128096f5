/** The page of a version: what it is, its metrics, where it comes from, what happened to it, and what can be done. */
import React from 'react';
import { Actions } from '../actions';
import { Curves } from '../curves';
import { DatasetSections, DRAWN } from '../dataset/sections';
import { ago, show, size } from '../format';
import { kindIcon } from '../icons';
import { Lineage } from '../lineage';
import { Linked, Marks, ProblemBox, Section, Value } from '../parts';
import { Json, VersionPage as Data } from '../schema';
import { Table } from '../table';
import { Workbench } from '../tokens';
import { useLanguage, useLoaded } from '../use';

type Fact = [string, Json];

/** What is said first: the summary and the refs. The rest of the body comes at the end of the page. */
function facts(data: Data): { first: Fact[]; rest: Fact[] } {
  const { version, body } = data;
  const own = Object.entries(body).filter(([k, v]) => !(k in version.summary) && !(version.kind === 'dataset' && DRAWN.includes(k)) && v !== null && !['""', '[]', '{}'].includes(JSON.stringify(v)) && (typeof v !== 'object' || JSON.stringify(v).length < 600));
  const first = ([k, v]: Fact): boolean => k === 'note' || k === 'source' || JSON.stringify(v).match(/"[a-z]+:[^"]+@\d+"/) !== null;
  return {
    first: [...(version.waived ? [['waived', version.waived] as Fact] : []), ...Object.entries(version.summary).filter(([, v]) => v !== ''), ...own.filter(first)],
    rest: own.filter(f => !first(f))
  };
}

function Facts(props: { bench: Workbench; rows: Fact[]; children?: React.ReactNode }): JSX.Element {
  const { bench } = props;
  return (
    <dl className="llm-facts">
      {props.rows.map(([key, value]) => (
        <React.Fragment key={key}>
          <dt>{bench.t(key)}</dt>
          <dd>
            <Value bench={bench} value={value} />
          </dd>
        </React.Fragment>
      ))}
      {props.children}
    </dl>
  );
}

function History(props: { bench: Workbench; data: Data }): JSX.Element {
  const { bench, data } = props;
  const { t } = bench;
  return (
    <Table
      label={t('History')}
      rows={data.history}
      id={e => String(e.seq)}
      columns={[
        { title: t('When'), cell: e => <span title={e.at}>{ago(e.at, bench.translator.language)}</span> },
        { title: t('What'), cell: e => t(e.kind) },
        { title: t('Which'), cell: e => <Linked bench={bench} text={e.about} /> },
        {
          title: t('How'),
          cell: e =>
            Object.entries(e.data)
              .filter(([k, v]) => v !== null && v !== '' && k !== 'digest' && JSON.stringify(v).length < 200)
              .map(([k, v]) => (
                <span key={k} className="llm-pair">
                  <span className="llm-key">{t(k)}</span> <Linked bench={bench} text={k === 'made_by' ? `run:${show(v)}` : show(v)} />
                </span>
              ))
        }
      ]}
    />
  );
}

export function VersionPage(props: { bench: Workbench; refText: string }): JSX.Element {
  const { bench, refText } = props;
  const { t } = bench;
  const lang = useLanguage(bench);
  const base = refText.split('@')[0];
  const loaded = useLoaded(bench, () => bench.api.version(refText, lang), `${refText} ${lang}`, c => !c.about.length || c.about.some(a => a.split('@')[0] === base));
  const data = loaded.data;
  if (!data) {
    return <div className="llm-page">{loaded.error ? <ProblemBox bench={bench} problem={loaded.error} onRetry={loaded.reload} /> : <p>{t('Loading…')}</p>}</div>;
  }
  const { version } = data;
  const icon = kindIcon(version.kind);
  const known = facts(data);
  return (
    <div className="llm-page" data-ref={version.ref}>
      <header className="llm-title">
        <icon.react tag="span" className="llm-title-icon" />
        <h1>
          {version.name}
          <span className="llm-tag">@{version.number}</span>
        </h1>
        <span className="llm-kind-name">{t(version.kind)}</span>
        {version.aliases.map(a => (
          <span key={a} className="llm-alias">
            {a}
          </span>
        ))}
        <Marks bench={bench} row={version} />
        {data.versions.length > 1 ? (
          <select className="llm-input" value={version.ref} aria-label={t('Versions')} onChange={e => bench.go.version(e.target.value)}>
            {data.versions.map(v => (
              <option key={v.ref} value={v.ref}>
                @{v.number} {v.aliases.join(' ')}
              </option>
            ))}
          </select>
        ) : null}
      </header>
      {loaded.error ? <ProblemBox bench={bench} problem={loaded.error} onRetry={loaded.reload} /> : null}
      <Actions bench={bench} data={data} />
      <Section title={t('What it is')}>
        <Facts bench={bench} rows={known.first}>
          <dt>{t('digest')}</dt>
          <dd>
            <code>{version.digest}</code>
          </dd>
          <dt>{t('made by')}</dt>
          <dd>{version.made_by ? <Linked bench={bench} text={`run:${version.made_by}`} /> : '–'}</dd>
        </Facts>
      </Section>
      {version.kind === 'dataset' || version.kind === 'benchmark' ? <DatasetSections bench={bench} data={data} /> : null}
      {data.lineage.nodes.length > 1 ? (
        <Section title={t('Lineage')}>
          <Lineage bench={bench} graph={data.lineage} here={version.ref} />
        </Section>
      ) : null}
      {data.series.length ? (
        <Section title={t('Metrics')}>
          <Curves series={data.series} t={t} />
        </Section>
      ) : null}
      <Section title={t('History')} count={data.history.length}>
        <History bench={bench} data={data} />
      </Section>
      {data.files.length ? (
        <Section title={t('Files')} count={data.files.length}>
          <Table
            label={t('Files')}
            rows={data.files}
            id={f => f.path}
            columns={[
              { title: t('Path'), cell: f => f.path },
              { title: t('Size'), cell: f => size(f.size), numeric: true },
              { title: 'BLAKE3', cell: f => <code title={f.blob}>{f.blob.slice(0, 16)}</code> }
            ]}
          />
        </Section>
      ) : null}
      {known.rest.length ? (
        <Section title={t('Everything it holds')}>
          <Facts bench={bench} rows={known.rest} />
        </Section>
      ) : null}
      {data.card ? (
        <Section title={t('Card')}>
          <pre className="llm-card">{data.card}</pre>
        </Section>
      ) : null}
    </div>
  );
}
