/** What a recipe did to the rows, step by step: how many went out, why, and examples. */
import React from 'react';
import { number, show } from '../format';
import { isRow } from '../messages';
import { Json } from '../schema';
import { Workbench } from '../tokens';
import { Diff } from '../label/tasks';
import { reason } from './why';

type Row = { [key: string]: Json };

export interface Step {
  step: string;
  rows: number;
  removed: number;
  changed: number;
  why: [string, number][];
  params: Row;
  figures: Row;
  examples: Row[];
}

const whole = (v: Json | undefined): number => (typeof v === 'number' ? v : 0);

/** A step or figure: in the reader's language, without the underscores of programs. */
export const named = (t: (text: string) => string, name: string): string => t(name).replace(/_/g, ' ');

/** The steps as they are drawn; whatever else stands there is left out. */
export function stepsOf(cleaning: Json | undefined): Step[] {
  return (Array.isArray(cleaning) ? cleaning : []).filter(isRow).map(s => ({
    step: show(s.step),
    rows: whole(s.rows),
    removed: whole(s.removed),
    changed: whole(s.changed),
    why: isRow(s.why) ? Object.entries(s.why).filter((e): e is [string, number] => typeof e[1] === 'number') : [],
    params: isRow(s.params) ? s.params : {},
    figures: isRow(s.figures) ? s.figures : {},
    examples: Array.isArray(s.examples) ? s.examples.filter(isRow) : []
  }));
}

function Example(props: { bench: Workbench; example: Row }): JSX.Element {
  const { bench, example } = props;
  const { t } = bench;
  const { file, line, row, text, why, before, after, ...more } = example;
  const particulars = Object.entries(more).filter(([k, v]) => v !== null && v !== '' && !(k === 'of_row' && v === more.same_as));
  return (
    <li>
      <span className="llm-hint">
        {file ? `${show(file)}, ` : ''}
        {[line === undefined || line === null ? '' : t('line {n}', { n: show(line) }), row === undefined || row === null ? '' : t('row {n}', { n: show(row) })].filter(Boolean).join(', ')}
        {why ? ` · ${reason(t, show(why))}` : ''}
        {particulars.length ? ` · ${particulars.map(([k, v]) => `${named(t, k)} ${show(v)}`).join(', ')}` : ''}
      </span>
      {typeof before === 'string' && typeof after === 'string' ? (
        <Diff bench={bench} before={before} after={after} />
      ) : (
        <div className="llm-text" dir="auto">{show((text ?? after ?? '') as Json)}</div>
      )}
    </li>
  );
}

export function Cleaning(props: { bench: Workbench; steps: Step[] }): JSX.Element {
  const { bench, steps } = props;
  const { t } = bench;
  const most = Math.max(1, ...steps.map(s => s.rows));
  return (
    <ol className="llm-steps">
      {steps.map((s, i) => {
        const kept = s.rows - s.removed;
        const params = Object.entries(s.params).filter(([, v]) => v !== null && v !== '' && v !== false);
        const told = s.why.length > 0 || s.examples.length > 0 || params.length > 0 || Object.keys(s.figures).length > 0;
        return (
          <li key={i} data-step={s.step} data-removed={s.removed}>
            <details open={s.removed > 0 && s.removed === Math.max(...steps.map(x => x.removed))}>
              <summary>
                <span className="llm-step-name">{named(t, s.step)}</span>
                <span className="llm-step-bar" title={t('{kept} of {rows} kept', { kept: number(kept), rows: number(s.rows) })}>
                  <span className="llm-step-kept" style={{ width: `${(100 * kept) / most}%` }} />
                  <span className="llm-step-out" style={{ width: `${(100 * s.removed) / most}%` }} />
                </span>
                <span className="llm-number">
                  {s.removed ? <b className="llm-out">−{number(s.removed)}</b> : null}
                  {s.changed ? <span className="llm-hint"> {t('{n} changed', { n: number(s.changed) })}</span> : null}
                  {s.removed || s.changed ? null : <span className="llm-hint">{t('nothing to do')}</span>}
                </span>
              </summary>
              {told ? (
                <div className="llm-step-more">
                  {s.why.length ? (
                    <ul className="llm-why">
                      {s.why.map(([why, n]) => (
                        <li key={why}>
                          <span className="llm-number">{number(n)}</span> {reason(t, why)}
                        </li>
                      ))}
                    </ul>
                  ) : null}
                  {s.examples.length ? (
                    <ul className="llm-examples" aria-label={t('Examples')}>
                      {s.examples.map((e, k) => (
                        <Example key={k} bench={bench} example={e} />
                      ))}
                    </ul>
                  ) : null}
                  {Object.keys(s.figures).length ? (
                    <p>
                      {Object.entries(s.figures).map(([k, v]) => (
                        <span key={k} className="llm-pair">
                          <span className="llm-key">{t(k)}</span> {show(v)}
                        </span>
                      ))}
                    </p>
                  ) : null}
                  {params.length ? (
                    <p className="llm-hint">
                      {params.map(([k, v]) => (
                        <span key={k} className="llm-pair">
                          {k}={show(v)}
                        </span>
                      ))}
                    </p>
                  ) : null}
                </div>
              ) : null}
            </details>
          </li>
        );
      })}
    </ol>
  );
}
