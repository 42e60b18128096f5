/** The labelling desk: one item, its answer, and the keys. The same in a tab of Lab and in a notebook. */
import { ServerConnection } from '@jupyterlab/services';
import React, { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react';
import { ApiError } from '../api';
import { labelIcon } from '../icons';
import { Bar, Empty, ProblemBox } from '../parts';
import { Json } from '../schema';
import { Workbench } from '../tokens';
import { problemOf, useLanguage } from '../use';
import { AskWho, Help, Saved, Skip, Who } from './bits';
import { Calls } from './calls';
import { Desk } from './desk';
import { Disagreements } from './disagreements';
import { Board, BoardContext, KeyButton, useKeys } from './keys';
import { titleOf } from './model';
import { Overview } from './overview';
import { Shelf } from './outbox';
import { TaskView } from './tasks';

/** The browser's storage; where that is forbidden, the page's memory. */
export function shelf(): Shelf {
  try {
    window.localStorage.setItem('llmops', '1');
    return window.localStorage;
  } catch {
    const held = new Map<string, string>();
    return { getItem: n => held.get(n) ?? null, setItem: (n, v) => void held.set(n, v), removeItem: n => void held.delete(n) };
  }
}

export function callsOf(bench: Workbench): Calls {
  return {
    view: async <T,>(name: string, query: { [key: string]: string | number | undefined }) => (await bench.api.view(name, query)).rows as unknown as T[],
    call: async <T,>(verb: string, args: { [name: string]: Json }) => (await bench.api.call(verb, args)).value as unknown as T,
    isLost: e => e instanceof ServerConnection.NetworkError || (e instanceof ApiError && (e.status === 0 || e.status >= 500)),
    problem: problemOf
  };
}

function useDesk(bench: Workbench, queue: string, who: string): Desk {
  const desk = useMemo(() => new Desk(callsOf(bench), queue, who, shelf()), [bench, queue, who]);
  const [, draw] = useState(0);
  useEffect(() => {
    desk.onChange = () => draw(n => n + 1);
    void desk.open();
    const again = (): void => void desk.outbox.flush();
    window.addEventListener('online', again);
    return () => {
      window.removeEventListener('online', again);
      desk.onChange = () => undefined;
      desk.close();
    };
  }, [desk]);
  return desk;
}

type Open = '' | 'skip' | 'note' | 'help';

function Sitting(props: { bench: Workbench; desk: Desk; board: Board; onTab: (tab: Tab) => void }): JSX.Element {
  const { bench, desk, board } = props;
  const { t } = bench;
  const { item, progress } = desk;
  const [open, setOpen] = useState<Open>('');
  const [atOnce, setAtOnce] = useState(() => shelf().getItem('llmops.at-once') !== 'no');
  const root = useRef<HTMLDivElement>(null);
  const note = useRef<HTMLTextAreaElement>(null);
  const number = item?.item;
  useEffect(() => {
    setOpen('');
    // In a notebook the desk takes the focus only when it had it: somebody may be writing in a cell.
    const had = (): boolean => !root.current?.closest('.llm-output') || document.activeElement === document.body || !!document.activeElement?.closest('.llm-labelling');
    const here = (): void => root.current?.focus({ preventScroll: true });
    const mine = had();
    if (mine) {
      here();
    }
    root.current?.querySelector('.llm-desk-item')?.scrollTo(0, 0);
    // A notebook takes the focus for itself when what had it is gone.
    const timer = window.setTimeout(() => mine && !document.activeElement?.closest('.llm-labelling') && here(), 30);
    return () => window.clearTimeout(timer);
  }, [number, desk]);
  const back = (): void => {
    setOpen('');
    root.current?.focus();
  };
  const writeNote = (): void => {
    setOpen('note');
    note.current?.focus();
  };
  // Before the next key is pressed: what is typed quickly belongs to the note, and must not be taken for keys.
  useLayoutEffect(() => {
    if (open === 'note') {
      note.current?.focus();
    }
  }, [open]);
  const single = item?.task === 'preference' || (item?.task === 'classification' && !desk.settings?.multi);
  const go = {
    save: (): void => void desk.save(),
    skip: (): void => setOpen('skip'),
    undo: (): void => void desk.undo(),
    before: (): void => void desk.by(-1),
    after: (): void => void desk.by(1)
  };
  useKeys('desk', [
    { key: 'enter', does: t('Save and go on'), run: go.save },
    { key: 'ctrl+enter', does: t('Save and go on, also while writing'), run: go.save, writing: true },
    { key: 'arrowleft', does: t('The item before'), run: go.before },
    { key: 'arrowright', does: t('The next item'), run: go.after },
    { key: 'u', does: t('Undo: the last change, or the last label'), run: go.undo },
    { key: 's', does: t('Skip'), run: go.skip },
    { key: 'n', does: t('Write a note'), run: writeNote },
    { key: 'escape', does: t('Back to the keys'), run: back, writing: true },
    { key: '?', does: t('Keys'), run: () => setOpen(open === 'help' ? '' : 'help') }
  ]);
  const part = progress && progress.total ? (progress.done + progress.skipped) / progress.total : 0;
  const order = desk.mine;
  const place = order.findIndex(m => m.item === number) + 1;
  return (
    <div ref={root} className="llm-desk" tabIndex={-1} role="group" aria-label={t('Labelling')} data-item={number ?? ''} data-state={item?.state ?? (desk.done ? 'done' : '')}>
      {progress ? (
        <div className="llm-desk-progress">
          <Bar value={part} label={t('Progress')} />
          <span aria-live="polite">
            {t('{done} of {total} done', { done: progress.done + progress.skipped, total: progress.total })}
            {progress.skipped ? ` · ${t('{n} skipped', { n: progress.skipped })}` : ''}
            {place ? ` · ${t('item {n}', { n: place })}` : ''}
          </span>
          <Saved bench={bench} desk={desk} />
        </div>
      ) : null}
      {desk.problem ? <ProblemBox bench={bench} problem={desk.problem} onRetry={() => void desk.open()} /> : null}
      {desk.settings?.instructions ? (
        <details className="llm-instructions" open={place <= 1}>
          <summary>{t('How to label')}</summary>
          <div className="llm-text" dir="auto">{desk.settings.instructions}</div>
        </details>
      ) : null}
      {item ? (
        <>
          <div className="llm-desk-item" key={number}>
            {item.state !== 'open' ? (
              <p className="llm-hint llm-again">
                {t(item.state === 'skipped' ? 'You skipped this one. An answer takes its place.' : 'You answered this one. Saving again corrects it.')}
              </p>
            ) : null}
            <TaskView bench={bench} item={item} settings={desk.settings} draft={desk.draft} onDraft={d => desk.change(d)} onSave={go.save} atOnce={atOnce} />
            {open === 'note' || desk.note ? (
              <label className="llm-note">
                {t('Note')}
                <textarea ref={note} className="llm-input" rows={2} dir="auto" value={desk.note} data-field="note" onChange={e => desk.setNote(e.target.value)} />
              </label>
            ) : null}
          </div>
          {desk.hint ? <p className="llm-wrong" role="alert">{t(desk.hint)}</p> : null}
          {open === 'skip' ? <Skip bench={bench} onSkip={r => void desk.skip(r)} onClose={back} /> : null}
          <div className="llm-desk-bar" role="toolbar" aria-label={t('Actions')}>
            <KeyButton of="arrowleft" label={t('Before')} action="before" run={go.before} disabled={place === 1} />
            <KeyButton of="arrowright" label={t('Next')} action="after" run={go.after} disabled={place === order.length && order.length === progress?.total} />
            <KeyButton of="u" label={t('Undo')} action="undo" run={go.undo} disabled={!desk.canUndo} />
            <KeyButton of="n" label={t('Note')} action="note" run={writeNote} />
            <KeyButton of="s" label={t('Skip')} action="skip" run={go.skip} />
            <KeyButton of="enter" label={t('Save and go on')} action="save" className="llm-primary" run={go.save} disabled={desk.busy || !item.mayAnswer} />
            {single ? (
              <label className="llm-small">
                <input
                  type="checkbox"
                  checked={atOnce}
                  onChange={e => {
                    setAtOnce(e.target.checked);
                    shelf().setItem('llmops.at-once', e.target.checked ? 'yes' : 'no');
                  }}
                />
                {t('go on as soon as chosen')}
              </label>
            ) : null}
            <KeyButton of="?" label={t('Keys')} action="help" className="llm-quiet" run={() => setOpen(open === 'help' ? '' : 'help')} />
          </div>
        </>
      ) : desk.done && !desk.busy ? (
        <Empty icon={labelIcon} text={t('That was all: everything that is yours is answered.')}>
          <div className="llm-chips">
            <KeyButton of="u" label={t('Undo')} action="undo" run={go.undo} disabled={!desk.canUndo} />
            <button type="button" className="llm-button llm-primary" data-action="overview" onClick={() => props.onTab('overview')}>
              {t('Overview')}
            </button>
          </div>
        </Empty>
      ) : desk.sending.lost ? (
        <Empty icon={labelIcon} text={t('No further item was fetched ahead. Work goes on when the server is back; what you labelled is kept here.')} />
      ) : desk.problem ? null : (
        <p>{t('Loading…')}</p>
      )}
      {open === 'help' ? <Help bench={bench} board={board} onClose={back} /> : null}
    </div>
  );
}

export type Tab = 'label' | 'overview' | 'disagreements';
const TABS: { id: Tab; title: string }[] = [
  { id: 'label', title: 'Label' },
  { id: 'overview', title: 'Overview' },
  { id: 'disagreements', title: 'Disagreements' }
];

/** Lab asks the focused element first whether its shortcuts hold there: a `d` at the desk must not delete a cell. */
const ownKeys = (e: React.FocusEvent): void => e.target.setAttribute('data-lm-suppress-shortcuts', 'true');

export function Labelling(props: { bench: Workbench; queue: string }): JSX.Element {
  const { bench, queue } = props;
  const { t } = bench;
  useLanguage(bench);
  const place = `llmops.who ${queue}`;
  const [who, setWho] = useState(() => shelf().getItem(place) ?? '');
  const [tab, setTab] = useState<Tab>('label');
  const board = useMemo(() => new Board(), []);
  const desk = useDesk(bench, queue, who);
  const root = useRef<HTMLDivElement>(null);
  const turn = (to: Tab): void => {
    setTab(to);
    void desk.refresh();
    if (to === 'label') {
      window.setTimeout(() => root.current?.querySelector<HTMLElement>('.llm-desk')?.focus());
    }
  };
  const sit = (name: string): void => {
    shelf().setItem(place, name);
    setWho(name);
  };
  const { queue: about } = desk;
  return (
    <BoardContext.Provider value={board}>
      <div ref={root} className="llm-labelling" data-queue={queue} data-who={desk.who} data-lm-suppress-shortcuts="true" onFocus={ownKeys} onKeyDown={e => board.handle(e)}>
        <header className="llm-title">
          <labelIcon.react tag="span" className="llm-title-icon" />
          <h1>{titleOf(t, about?.title ?? '', queue)}</h1>
          {about?.title ? <span className="llm-kind-name">{queue.replace(/^dataset:/, '')}</span> : null}
          <Who bench={bench} desk={desk} onWho={sit} />
        </header>
        <div className="llm-tabs" role="tablist">
          {TABS.map(({ id, title }) => (
            <button key={id} type="button" role="tab" aria-selected={tab === id} data-tab={id} onClick={() => turn(id)}>
              {t(title)}
              {id === 'disagreements' && about?.disagreeing ? <span className="llm-count">{about.disagreeing}</span> : null}
            </button>
          ))}
        </div>
        {tab === 'label' && desk.unknown ? (
          <AskWho bench={bench} names={desk.settings.annotators} onWho={sit} />
        ) : tab === 'label' ? (
          <Sitting bench={bench} desk={desk} board={board} onTab={turn} />
        ) : tab === 'overview' ? (
          <Overview bench={bench} queue={queue} who={desk.who} onTab={turn} />
        ) : (
          <Disagreements bench={bench} queue={queue} desk={desk} />
        )}
      </div>
    </BoardContext.Provider>
  );
}
