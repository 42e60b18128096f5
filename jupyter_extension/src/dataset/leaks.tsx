/** Which tests a dataset was compared with, and the rows of them that stand in it. */
import React from 'react';
import { number } from '../format';
import { Linked, Section, Status } from '../parts';
import { Table } from '../table';
import { Workbench } from '../tokens';
import { useLoaded } from '../use';

interface Named {
  row: number | null;
  line: number | null;
  file: string;
  how: string;
  score: number;
  text: string;
  of_row: number;
  of_text: string;
}
interface Leak {
  against: string;
  rows: number;
  found: number;
  of: number;
  verbatim: number;
  edited: number;
  similar: number;
  named?: Named[];
}

export function Leaks(props: { bench: Workbench; refText: string }): JSX.Element | null {
  const { bench, refText } = props;
  const { t } = bench;
  const load = async (): Promise<Leak[]> => (await bench.api.view('leaks', { ref: refText, all: 'true' })).rows as unknown as Leak[];
  const loaded = useLoaded(bench, load, `leaks ${refText}`, c => !c.about.length || c.about.includes(refText));
  const leaks = loaded.data ?? [];
  if (!leaks.length) {
    return null;
  }
  const named = leaks.flatMap(l => (l.named ?? []).map(n => ({ ...n, against: l.against })));
  return (
    <Section title={t('Compared with tests')} count={leaks.length}>
      <Table
        label={t('Compared with tests')}
        rows={leaks}
        id={l => l.against}
        columns={[
          { title: t('Test'), cell: l => <Linked bench={bench} text={l.against} /> },
          { title: t('Result'), cell: l => <Status bench={bench} status={l.rows ? 'leaks' : 'clean of it'} /> },
          { title: t('Rows that leak'), cell: l => number(l.rows), numeric: true },
          { title: t('Of the test'), cell: l => `${number(l.found)} / ${number(l.of)}`, numeric: true },
          { title: t('verbatim'), cell: l => number(l.verbatim), numeric: true },
          { title: t('edited'), cell: l => number(l.edited), numeric: true },
          { title: t('similar'), cell: l => number(l.similar), numeric: true }
        ]}
      />
      {named.length ? (
        <ul className="llm-examples" aria-label={t('Examples')}>
          {named.slice(0, 20).map((n, i) => (
            <li key={i}>
              <span className="llm-hint">
                {n.row === null ? '' : t('row {n}', { n: number(n.row) })} · {t(n.how)} {number(n.score)} · <Linked bench={bench} text={n.against} /> {t('row {n}', { n: number(n.of_row) })}
              </span>
              <div className="llm-text" dir="auto">{n.text}</div>
              <div className="llm-text llm-hint" dir="auto">{n.of_text}</div>
            </li>
          ))}
        </ul>
      ) : null}
    </Section>
  );
}
