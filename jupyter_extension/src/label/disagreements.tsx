/** Where people disagree: what each of them said, and the decision of whoever judges. */
import React, { useEffect, useRef, useState } from 'react';
import { Conversation, preview, Tools } from '../messages';
import { labelIcon } from '../icons';
import { Empty, ProblemBox } from '../parts';
import { Json, Problem } from '../schema';
import { Workbench } from '../tokens';
import { problemOf, useLoaded } from '../use';
import { AnswerView } from './answer';
import { Desk } from './desk';
import { KeyButton, useKeys } from './keys';
import { answer, Disagreement, Draft, missing, Settings } from './model';
import { TaskView } from './tasks';

function Content(props: { bench: Workbench; it: Disagreement }): JSX.Element {
  const { bench, it } = props;
  const { messages, text, sides, tools } = it.content;
  return (
    <div className="llm-judged" tabIndex={0} role="group" aria-label={bench.t('item {n}', { n: it.item })}>
      <Tools bench={bench} tools={tools} />
      {messages?.length ? <Conversation bench={bench} messages={messages} /> : null}
      {text !== undefined ? <div className="llm-text llm-big" dir="auto">{text}</div> : null}
      {sides ? (
        <div className="llm-sides">
          {sides.map(s => (
            <div key={s.side} className="llm-side-box">
              <h4>{bench.t('Answer {side}', { side: s.side })}</h4>
              <Conversation bench={bench} messages={s.messages} />
            </div>
          ))}
        </div>
      ) : null}
    </div>
  );
}

function Judge(props: { bench: Workbench; it: Disagreement; settings: Settings; who: string; onDone: () => void }): JSX.Element {
  const { bench, it, settings } = props;
  const { t } = bench;
  const [own, setOwn] = useState<Draft | null>(null);
  const [note, setNote] = useState('');
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    setOwn(null);
    setNote('');
    setProblem(null);
    root.current?.focus({ preventScroll: true });
  }, [it.item]);
  const decide = async (value: Draft | null, drop = false): Promise<void> => {
    if (busy) {
      return;
    }
    setBusy(true);
    setProblem(null);
    try {
      const args: { [name: string]: Json } = { queue: it.queue, item: it.item, annotator: props.who, note, value: (value ?? {}) as Json };
      await bench.api.call('label_adjudicate', drop ? { ...args, drop } : args);
      props.onDone();
    } catch (e) {
      setProblem(problemOf(e));
    }
    setBusy(false);
  };
  const lacks = own ? missing(it, own, settings) : '';
  useKeys('judge', [
    ...(own ? [] : it.answers.slice(0, 9).map((a, i) => ({ key: String(i + 1), does: t('Take the answer of {who}', { who: t(a.annotator) }), run: () => void decide(a.value) }))),
    ...(own ? [{ key: 'ctrl+enter', does: t('Decide so'), run: () => void (lacks || decide(answer(it, own))), writing: true }] : []),
    { key: 'w', does: t('Write an answer of one’s own'), run: () => setOwn(own ? null : {}) },
    { key: 'x', does: t('Leave the item out'), run: () => void decide(null, true) }
  ]);
  return (
    <div ref={root} className="llm-judge llm-desk" tabIndex={-1} role="group" aria-label={t('Decide')} data-item={it.item}>
      {own ? null : <Content bench={bench} it={it} />}
      {own ? (
        <TaskView bench={bench} item={it} settings={settings} draft={own} onDraft={d => setOwn({ ...own, ...d })} onSave={() => undefined} atOnce={false} />
      ) : (
        <div className="llm-answers">
          {it.answers.map((a, i) => (
            <div key={i} className="llm-answer-box" data-answer={i + 1}>
              <div className="llm-role">{t(a.annotator)}</div>
              <AnswerView bench={bench} item={it} value={a.value} settings={settings} />
              {a.note ? <p className="llm-text llm-note-text" dir="auto">“{a.note}”</p> : null}
              <KeyButton of={String(i + 1)} label={t('Take this')} action={`take:${i + 1}`} run={() => void decide(a.value)} disabled={busy} />
            </div>
          ))}
        </div>
      )}
      <label className="llm-note">
        {t('Why')}
        <input type="text" className="llm-input" value={note} dir="auto" data-field="why" onChange={e => setNote(e.target.value)} />
      </label>
      {problem ? <ProblemBox bench={bench} problem={problem} /> : null}
      <div className="llm-desk-bar" role="toolbar" aria-label={t('Actions')}>
        <KeyButton of="w" label={t(own ? 'Back to the answers' : 'Another answer')} action="own" run={() => setOwn(own ? null : {})} />
        <KeyButton of="x" label={t('Leave the item out')} action="drop" run={() => void decide(null, true)} disabled={busy} />
        {own ? <KeyButton of="ctrl+enter" label={t('Decide so')} action="decide" className="llm-primary" run={() => void decide(answer(it, own))} disabled={busy || !!lacks} /> : null}
        {lacks ? <span className="llm-hint">{t(lacks)}</span> : null}
      </div>
    </div>
  );
}

export function Disagreements(props: { bench: Workbench; queue: string; desk: Desk }): JSX.Element {
  const { bench, queue, desk } = props;
  const { t } = bench;
  const [at, setAt] = useState<number | null>(null);
  const load = async (): Promise<Disagreement[]> => (await bench.api.view('label_disagreements', { queue, annotator: desk.who })).rows as unknown as Disagreement[];
  const loaded = useLoaded(bench, load, `${queue} ${desk.who}`, c => !c.about.length || c.about.some(a => a.startsWith(queue.split('@')[0])));
  const all = loaded.data ?? [];
  const open = all.filter(d => !d.decided);
  const shown = all.find(d => d.item === at) ?? open[0];
  if (!loaded.data) {
    return loaded.error ? <ProblemBox bench={bench} problem={loaded.error} onRetry={loaded.reload} /> : <p>{t('Loading…')}</p>;
  }
  if (!all.length) {
    return <Empty icon={labelIcon} text={t('Nobody disagrees about an item so far.')} />;
  }
  return (
    <div className="llm-disagreements">
      <ul className="llm-list" aria-label={t('Disagreements')}>
        {all.map(d => (
          <li key={d.item}>
            <button type="button" className={`llm-row ${shown?.item === d.item ? 'llm-here' : ''}`} data-item={d.item} onClick={() => setAt(d.item)}>
              <span className="llm-row-top">
                <span className="llm-name">{t('item {n}', { n: d.item })}</span>
                {d.decided ? <span className="llm-status llm-good">{t(d.decided.drop ? 'left out' : 'decided')}</span> : null}
              </span>
              <span className="llm-row-under">{preview(d.content as { [key: string]: Json })}</span>
            </button>
          </li>
        ))}
      </ul>
      {shown && desk.settings ? (
        <Judge
          bench={bench}
          it={shown}
          settings={desk.settings}
          who={desk.who}
          onDone={() => {
            const next = open.find(d => d.item !== shown.item);
            setAt(next?.item ?? null);
            loaded.reload();
            void desk.refresh();
          }}
        />
      ) : (
        <Empty icon={labelIcon} text={t('Every disagreement is decided.')} />
      )}
    </div>
  );
}
