/** Pieces of the desk: is everything saved, why skip, which keys, who labels. */
import React, { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { Workbench } from '../tokens';
import { Desk } from './desk';
import { Board, KeyButton, printed, useKeys } from './keys';

/** Reasons that are offered for leaving an item out. */
const REASONS = [{ title: 'I cannot tell' }, { title: 'Unclear or broken' }, { title: 'Personal data in it' }, { title: 'Harmful' }];

/** Whether labels have arrived; said aloud when they have not. */
export function Saved(props: { bench: Workbench; desk: Desk }): JSX.Element {
  const { bench, desk } = props;
  const { t } = bench;
  const { waiting, lost, refused } = desk.sending;
  const state = refused ? 'refused' : lost ? 'lost' : waiting ? 'saving' : 'saved';
  return (
    <div className={`llm-saved llm-saved-${state}`} role="status" data-saved={state}>
      {refused ? (
        <>
          {t('Not taken:')} {t(refused.message)}
          <button type="button" className="llm-button llm-quiet" onClick={() => void desk.outbox.flush()}>
            {t('Try again')}
          </button>
          <button type="button" className="llm-button llm-quiet" onClick={() => desk.outbox.drop()}>
            {t('Throw away')}
          </button>
        </>
      ) : lost ? (
        <>
          {t('The server does not answer. {n} kept in this browser, sent as soon as it is back.', { n: waiting })}
          <button type="button" className="llm-button llm-quiet" onClick={() => void desk.outbox.flush()}>
            {t('Try now')}
          </button>
        </>
      ) : (
        t(waiting ? 'Saving…' : 'Everything is saved')
      )}
    </div>
  );
}

export function Skip(props: { bench: Workbench; onSkip: (reason: string) => void; onClose: () => void }): JSX.Element {
  const { bench } = props;
  const { t } = bench;
  const [own, setOwn] = useState('');
  const field = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => field.current?.focus(), []);
  useKeys('skip', [
    ...REASONS.map((r, i) => ({ key: `alt+${i + 1}`, does: t(r.title), run: () => props.onSkip(t(r.title)), writing: true })),
    { key: 'enter', does: t('Skip'), run: () => props.onSkip(own.trim()), writing: true },
    { key: 'escape', does: t('Do not skip'), run: props.onClose, writing: true }
  ]);
  return (
    <div className="llm-popup" role="group" aria-label={t('Why skip it?')}>
      <label>
        {t('Why skip it?')} <input ref={field} type="text" className="llm-input" value={own} placeholder={t('A reason, if you like; then Enter')} onChange={e => setOwn(e.target.value)} data-field="reason" />
      </label>
      <div className="llm-chips">
        {REASONS.map((r, i) => (
          <KeyButton key={r.title} of={`alt+${i + 1}`} label={t(r.title)} action={`skip:${i + 1}`} className="llm-chip" run={() => props.onSkip(t(r.title))} />
        ))}
      </div>
    </div>
  );
}

export function Help(props: { bench: Workbench; board: Board; onClose: () => void }): JSX.Element {
  const { t } = props.bench;
  const close = useRef<HTMLButtonElement>(null);
  useEffect(() => close.current?.focus(), []);
  return (
    <div className="llm-popup llm-help" role="dialog" aria-label={t('Keys')}>
      <dl>
        {props.board.all.map(k => (
          <React.Fragment key={k.key}>
            <dt>
              <kbd className="llm-kbd">{printed(k.key)}</kbd>
            </dt>
            <dd>{k.does}</dd>
          </React.Fragment>
        ))}
      </dl>
      <button ref={close} type="button" className="llm-button" onClick={props.onClose}>
        {t('Close')}
      </button>
    </div>
  );
}

/** Asked first where a queue names its people and the account is none of them. */
export function AskWho(props: { bench: Workbench; names: string[]; onWho: (who: string) => void }): JSX.Element {
  const { bench, names } = props;
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => root.current?.querySelector('button')?.focus(), []);
  useKeys('who', names.slice(0, 9).map((name, i) => ({ key: String(i + 1), does: name, run: () => props.onWho(name) })));
  return (
    <div ref={root} className="llm-empty llm-ask-who">
      <p>{bench.t('This queue is for named people. Who are you?')}</p>
      <div className="llm-chips">
        {names.map((name, i) => (
          <KeyButton key={name} of={i < 9 ? String(i + 1) : ''} label={name} action={`who:${name}`} run={() => props.onWho(name)} />
        ))}
      </div>
    </div>
  );
}

/** Who labels here: one of those named for the queue, or any name. */
export function Who(props: { bench: Workbench; desk: Desk; onWho: (who: string) => void }): JSX.Element {
  const { bench, desk } = props;
  const { t } = bench;
  const [text, setText] = useState(desk.who);
  useEffect(() => setText(desk.who), [desk.who]);
  const named = desk.queue?.labelling?.annotators ?? [];
  const names = [...new Set([...named, desk.who].filter(Boolean))];
  return (
    <label className="llm-who">
      {t('Labelling as')}
      {named.length ? (
        <select className="llm-input" value={desk.who} data-field="who" onChange={e => props.onWho(e.target.value)}>
          <option value="">{t('nobody of these')}</option>
          {names.map(n => (
            <option key={n} value={n}>
              {n}
            </option>
          ))}
        </select>
      ) : (
        <input
          type="text"
          className="llm-input"
          value={text}
          data-field="who"
          onChange={e => setText(e.target.value)}
          onBlur={() => text.trim() && text !== desk.who && props.onWho(text.trim())}
          onKeyDown={e => {
            if (e.key === 'Enter') {
              e.currentTarget.blur();
            }
          }}
        />
      )}
    </label>
  );
}
