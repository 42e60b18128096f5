/** An answer, to be read: what was chosen, rated, marked or written. */
import React from 'react';
import { Workbench } from '../tokens';
import { SpanList } from './marked';
import { Draft, Item, plainText, Settings } from './model';
import { Diff } from './tasks';

const CHOSEN: { [choice: string]: { title: string } } = {
  A: { title: 'A is better' },
  B: { title: 'B is better' },
  tie: { title: 'Both are alike' },
  neither: { title: 'Both are bad' }
};

export function AnswerView(props: { bench: Workbench; item: Pick<Item, 'content'>; value: Draft | null; settings: Settings }): JSX.Element {
  const { bench, item, value } = props;
  const { t } = bench;
  if (!value) {
    return <span className="llm-hint">–</span>;
  }
  const original = item.content.messages ?? [];
  const edited = (value.messages ?? []).map((m, i) => ({ now: plainText(m), before: original[i] ? plainText(original[i]) : '', role: m.role })).filter(e => e.now !== e.before);
  const nothing = !value.choice && !value.classes?.length && value.rating === undefined && !value.tags?.length && !value.spans?.length && !edited.length && value.text === undefined;
  return (
    <div className="llm-answer">
      {value.choice ? <b>{t(CHOSEN[value.choice]?.title ?? value.choice)}</b> : null}
      {value.classes?.map(c => <span key={c} className="llm-chip llm-on">{c}</span>)}
      {value.rating !== undefined ? (
        <span className="llm-chip">
          {t('Rating')} {value.rating}
        </span>
      ) : null}
      {value.tags?.map(tag => <span key={tag} className="llm-chip">{tag}</span>)}
      <SpanList bench={bench} spans={value.spans ?? []} labels={props.settings.spans} />
      {edited.map((e, i) => (
        <div key={i}>
          <span className="llm-hint">{t(e.role)}</span>
          <Diff bench={bench} before={e.before ?? ''} after={e.now ?? ''} />
        </div>
      ))}
      {value.text !== undefined ? <Diff bench={bench} before={item.content.text ?? ''} after={value.text} /> : null}
      {nothing ? <span>{t('Fine as it is')}</span> : null}
    </div>
  );
}
