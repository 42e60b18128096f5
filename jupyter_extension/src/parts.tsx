/** Small pieces that panels and pages share: what went wrong, what is not there, a status, a ref. */
import { LabIcon } from '@jupyterlab/ui-components';
import React from 'react';
import { show, size } from './format';
import { Json, KINDS, Problem, VersionRow } from './schema';
import { Workbench } from './tokens';
import { sorry } from './zherrors';

const GOOD = ['approved', 'done', 'passed', 'running', 'up', 'reproduced', 'clean of it'];
const BAD = ['failed', 'rejected', 'drifted', 'lost', 'gone', 'waived', 'leaks'];

export function tone(status: string): string {
  return GOOD.includes(status) ? 'good' : BAD.includes(status) ? 'bad' : 'plain';
}

export function Status(props: { bench: Workbench; status: string }): JSX.Element | null {
  return props.status ? (
    <span className={`llm-status llm-${tone(props.status)}`} data-status={props.status}>
      {props.bench.t(props.status)}
    </span>
  ) : null;
}

/** What has been decided about a version: approved, passed, waived, up … */
export function Marks(props: { bench: Workbench; row: VersionRow }): JSX.Element {
  const { bench, row } = props;
  const { passed, type } = row.summary;
  return (
    <>
      <Status bench={bench} status={row.status} />
      {passed === true || passed === false ? <Status bench={bench} status={passed ? 'passed' : 'failed'} /> : null}
      {(passed === undefined || passed === null) && type === 'forgetting' ? <Status bench={bench} status="undecided" /> : null}
      {row.waived ? (
        <span title={row.waived}>
          <Status bench={bench} status="waived" />
        </span>
      ) : null}
    </>
  );
}

export function ProblemBox(props: { bench: Workbench; problem: Problem; onRetry?: () => void }): JSX.Element {
  const { bench, problem } = props;
  return (
    <div className="llm-problem" role="alert">
      <div title={problem.message}>{bench.translator.language === 'zh' && bench.t(problem.message) === problem.message ? sorry(problem.message) : bench.t(problem.message)}</div>
      {problem.next ? (
        <div className="llm-next">
          {bench.t('Next:')} <code>{problem.next}</code>
        </div>
      ) : null}
      {props.onRetry ? (
        <button className="llm-button" onClick={props.onRetry}>
          {bench.t('Try again')}
        </button>
      ) : null}
    </div>
  );
}

/** Nothing is there: say so, and which command would change that. */
export function Empty(props: { icon: LabIcon; text: string; command?: string; children?: React.ReactNode }): JSX.Element {
  return (
    <div className="llm-empty">
      <props.icon.react tag="span" className="llm-empty-icon" />
      <p>{props.text}</p>
      {props.command ? <code>{props.command}</code> : null}
      {props.children}
    </div>
  );
}

export function Section(props: { title: string; count?: number; children: React.ReactNode; className?: string }): JSX.Element {
  return (
    <section className={`llm-section ${props.className ?? ''}`} aria-label={props.title}>
      <h2>
        {props.title}
        {props.count !== undefined ? <span className="llm-count">{props.count}</span> : null}
      </h2>
      {props.children}
    </section>
  );
}

const isRef = (text: string): boolean => /^[a-z]+:\S+$/.test(text) && (KINDS as readonly string[]).includes(text.split(':')[0]);

/** Text, as a link where it is a ref or a run. */
export function Linked(props: { bench: Workbench; text: string }): JSX.Element {
  const { bench, text } = props;
  if (isRef(text)) {
    return (
      <button className="llm-link" onClick={() => bench.go.version(text)}>
        {text}
      </button>
    );
  }
  if (text.startsWith('run:')) {
    return (
      <button className="llm-link" onClick={() => bench.go.run(text.slice(4))}>
        {text}
      </button>
    );
  }
  return <>{text}</>;
}

/** Any JSON value: refs as links, small objects as pairs, blobs by their size. */
export function Value(props: { bench: Workbench; value: Json }): JSX.Element {
  const { bench, value } = props;
  if (Array.isArray(value) && value.length && value.length <= 20 && value.every(v => typeof v !== 'object')) {
    return <>{value.map((v, i) => <span key={i} className="llm-pair"><Linked bench={bench} text={show(v)} /></span>)}</>;
  }
  if (Array.isArray(value) && value.length && value.length <= 20 && value.every(v => v !== null && typeof v === 'object' && !Array.isArray(v) && typeof v.ref === 'string')) {
    return <>{value.map((v, i) => <span key={i} className="llm-pair"><Value bench={bench} value={v} /></span>)}</>;
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    return <Linked bench={bench} text={show(value)} />;
  }
  if (typeof value.ref === 'string') {
    return <Linked bench={bench} text={value.ref} />;
  }
  if (typeof value.blob === 'string') {
    return <span title={value.blob}>{typeof value.size === 'number' ? size(value.size) : value.blob.slice(0, 16)}</span>;
  }
  return (
    <>
      {Object.entries(value).map(([key, inner]) => (
        <span key={key} className="llm-pair">
          <span className="llm-key">{bench.t(key)}</span> <Value bench={bench} value={inner} />
        </span>
      ))}
    </>
  );
}

export function Bar(props: { value: number | null; label: string }): JSX.Element {
  const percent = props.value === null ? undefined : Math.round(Math.min(1, Math.max(0, props.value)) * 100);
  return (
    <div
      className={`llm-bar ${percent === undefined ? 'llm-waiting' : ''}`}
      role="progressbar"
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
    >
      <div style={{ width: `${percent ?? 30}%` }} />
    </div>
  );
}
