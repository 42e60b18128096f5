/** What can be done with a version: buttons for the registry's moves, a list of the other verbs that take it. */
import React, { useState } from 'react';
import { VerbDialog } from './dialog';
import { Json, Verb, VersionPage as Data } from './schema';
import { Workbench } from './tokens';
import { useLoaded } from './use';

/** Verbs with a button of their own, and what is written on it. */
const BUTTONS: { [verb: string]: string } = {
  alias: 'Set alias',
  approve: 'Approve',
  reject: 'Reject',
  rollback: 'Roll back',
  archive: 'Archive'
};

/** What is done next with a kind, most often: a button that opens the form. */
const NEXT: { [kind: string]: { [verb: string]: string } } = {
  model: { evaluate: 'Evaluate', sft: 'Fine-tune', forgetting: 'What was forgotten' },
  dataset: { clean: 'Clean', split: 'Split', label: 'Label', stats: 'Statistics' },
  report: { rerun: 'Run again' },
  release: { deploy: 'Deploy', waive: 'Waive proof' },
  deployment: { chat: 'Chat', stop: 'Stop' }
};

/** What a button asks for: the verb, what is settled, and what it starts from. */
interface Asked {
  verb: Verb;
  fixed: { [name: string]: Json };
  preset?: { [name: string]: Json };
}

const choose = (verb: Verb, name: string, choices: string[]): Verb => ({
  ...verb,
  params: verb.params.map(p => (p.name === name && choices.length ? { ...p, type: 'choice', choices } : p))
});

/** A report stands for what it is about; an approval rests on one of the reports; only proven states can come back. */
function ask(verb: Verb, data: Data): Asked {
  const { ref, kind } = data.version;
  if (verb.name === 'approve' && kind === 'report') {
    return { verb: choose(verb, 'ref', data.subjects), fixed: { report: ref }, preset: { ref: data.subjects[0] ?? '' } };
  }
  if (verb.name === 'approve') {
    return { verb: choose(verb, 'report', data.reports), fixed: { ref }, preset: { report: data.reports[0] ?? '' } };
  }
  if (verb.name === 'rollback') {
    const to = choose(verb, 'to', data.proven);
    return data.rollback.length === 1
      ? { verb: to, fixed: { ref: data.rollback[0] } }
      : { verb: choose(to, 'ref', data.rollback), fixed: {}, preset: { ref: data.rollback[0] } };
  }
  return { verb, fixed: { [target(verb, kind)]: ref } };
}

function target(verb: Verb, kind: string): string {
  return (verb.params.find(p => p.kind.split(',').includes(kind)) ?? verb.params.find(p => p.type === 'ref') ?? verb.params[0]).name;
}

/** The buttons of a version, and the dialogs behind them. */
export function Actions(props: { bench: Workbench; data: Data; on?: 'report' }): JSX.Element {
  const { bench, data } = props;
  const schema = useLoaded(bench, () => bench.api.schema(), 'schema', () => false);
  const { t } = bench;
  const { ref, kind } = data.version;
  const [asked, setAsked] = useState<Asked | null>(null);
  const known = data.actions
    .map(name => schema.data?.verbs.find(v => v.name === name))
    .filter((v): v is Verb => !!v && (v.name !== 'rollback' || data.rollback.length > 0));
  const buttons = Object.keys(BUTTONS).flatMap(name => known.filter(v => v.name === name));
  const labels = NEXT[kind] ?? {};
  const next = Object.keys(labels).flatMap(name => known.filter(v => v.name === name));
  const more = known.filter(v => !(v.name in BUTTONS) && !next.includes(v));
  // A queue is labelled at its desk; another dataset shows its queues there.
  const form = (v: Verb): void => (v.name === 'label' ? bench.go.label(ref) : bench.go.form('verb', v.name, { [target(v, kind)]: ref }));
  return (
    <div className="llm-actions">
      {data.page && props.on !== 'report' ? (
        <button className="llm-button llm-primary" data-action="report" onClick={() => bench.go.report(ref)}>
          {t('Open report')}
        </button>
      ) : null}
      {next.map(v => (
        <button key={v.name} className="llm-button llm-next-step" data-action={v.name} title={t(v.doc)} onClick={() => form(v)}>
          {t(labels[v.name])}
        </button>
      ))}
      {buttons.map(v => (
        <button key={v.name} className="llm-button" data-action={v.name} title={t(v.doc)} onClick={() => setAsked(ask(v, data))}>
          {t(BUTTONS[v.name])}
        </button>
      ))}
      {more.length ? (
        <select
          className="llm-input llm-use"
          value=""
          aria-label={t('Use it')}
          onChange={e => {
            const picked = more.find(v => v.name === e.target.value);
            if (picked) {
              form(picked);
            }
          }}
        >
          <option value="">{t('Use it…')}</option>
          {more.map(v => (
            <option key={v.name} value={v.name} title={t(v.doc)}>
              {t(v.name)}
            </option>
          ))}
        </select>
      ) : null}
      {asked ? (
        <VerbDialog
          bench={bench}
          verb={asked.verb}
          title={t(BUTTONS[asked.verb.name])}
          fixed={asked.fixed}
          preset={asked.preset}
          onClose={done => {
            setAsked(null);
            if (done?.run) {
              bench.go.run(done.run);
            }
          }}
        />
      ) : null}
    </div>
  );
}
