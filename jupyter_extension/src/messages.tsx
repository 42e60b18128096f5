/** Conversations and rows of data, as people read them. All of it is text: nothing that is stored becomes HTML. */
import React from 'react';
import { show, size } from './format';
import { Json } from './schema';
import { Workbench } from './tokens';

type Row = { [key: string]: Json };

export const isRow = (v: Json | undefined): v is Row => !!v && typeof v === 'object' && !Array.isArray(v);

/** A list of messages: objects that say who speaks. */
export function isMessages(v: Json | undefined): v is Row[] {
  return Array.isArray(v) && v.length > 0 && v.every(m => isRow(m) && typeof m.role === 'string');
}

const ROLES = ['system', 'developer', 'user', 'assistant', 'tool'];

function pretty(value: Json | undefined): string {
  if (typeof value !== 'string') {
    return JSON.stringify(value ?? null, null, 2);
  }
  try {
    const read = JSON.parse(value) as Json;
    return read && typeof read === 'object' ? JSON.stringify(read, null, 2) : value;
  } catch {
    return value;
  }
}

function Part(props: { bench: Workbench; part: Json }): JSX.Element {
  const { bench, part } = props;
  if (isRow(part) && typeof part.text === 'string') {
    return <div className="llm-text" dir="auto">{part.text}</div>;
  }
  if (isRow(part) && typeof part.type === 'string') {
    const inner = isRow(part[part.type]) ? (part[part.type] as Row) : part;
    const about = [inner.mime, inner.media_type, inner.format, typeof inner.size === 'number' ? size(inner.size) : '', inner.path, inner.blob ? String(inner.blob).slice(0, 16) : '']
      .filter(v => typeof v === 'string' && v)
      .join(' · ');
    return (
      <div className="llm-part" title={show(part).slice(0, 500)}>
        <b>{bench.t(part.type)}</b> {about || show(part).slice(0, 120)}
      </div>
    );
  }
  return <div className="llm-text" dir="auto">{show(part)}</div>;
}

/** What a message says: text, or its parts one below the other. */
export function Content(props: { bench: Workbench; content: Json | undefined }): JSX.Element | null {
  const { bench, content } = props;
  if (content === null || content === undefined || content === '') {
    return null;
  }
  return Array.isArray(content) ? <>{content.map((p, i) => <Part key={i} bench={bench} part={p} />)}</> : <Part bench={bench} part={isRow(content) ? content : show(content)} />;
}

export function ToolCalls(props: { bench: Workbench; calls: Json | undefined }): JSX.Element | null {
  const calls = Array.isArray(props.calls) ? props.calls.filter(isRow) : [];
  return calls.length ? (
    <>
      {calls.map((call, i) => {
        const what = isRow(call.function) ? call.function : call;
        return (
          <div key={i} className="llm-tool">
            <div className="llm-tool-name">
              {props.bench.t('Call')} <b>{show(what.name)}</b>
            </div>
            <pre>{pretty(what.arguments)}</pre>
          </div>
        );
      })}
    </>
  ) : null;
}

export function roleClass(role: string): string {
  return `llm-turn llm-role-${ROLES.includes(role) ? role : 'other'}`;
}

export function Turn(props: { bench: Workbench; message: Row; children?: React.ReactNode }): JSX.Element {
  const { bench, message } = props;
  const role = show(message.role);
  const result = role === 'tool' || role === 'function';
  return (
    <div className={roleClass(role)}>
      <div className="llm-role">
        {bench.t(role)}
        {result && message.name ? <code>{show(message.name)}</code> : null}
        {message.weight === 0 || message.train === false ? <span className="llm-alias">{bench.t('not trained on')}</span> : null}
      </div>
      <div className="llm-said">
        {props.children ?? (result ? <pre>{pretty(message.content)}</pre> : <Content bench={bench} content={message.content} />)}
        {typeof message.reasoning_content === 'string' && message.reasoning_content ? (
          <details>
            <summary>{bench.t('Reasoning')}</summary>
            <div className="llm-text" dir="auto">{message.reasoning_content}</div>
          </details>
        ) : null}
        <ToolCalls bench={bench} calls={message.tool_calls} />
      </div>
    </div>
  );
}

export function Conversation(props: { bench: Workbench; messages: Json }): JSX.Element {
  const { bench, messages } = props;
  return (
    <div className="llm-conversation">
      {isMessages(messages) ? messages.map((m, i) => <Turn key={i} bench={bench} message={m} />) : <Content bench={bench} content={messages} />}
    </div>
  );
}

export function Tools(props: { bench: Workbench; tools: Json | undefined }): JSX.Element | null {
  const { bench, tools } = props;
  let list: Json | undefined = tools;
  if (typeof tools === 'string' && tools) {
    try {
      list = JSON.parse(tools) as Json;
    } catch {
      list = [tools];
    }
  }
  return Array.isArray(list) && list.length ? (
    <details className="llm-tools-offered">
      <summary>
        {bench.t('Tools offered')} <span className="llm-count">{list.length}</span>
      </summary>
      {list.map((tool, i) => {
        const what = isRow(tool) && isRow(tool.function) ? tool.function : tool;
        return (
          <div key={i} className="llm-tool">
            <div className="llm-tool-name">
              <b>{isRow(what) ? show(what.name) : ''}</b> {isRow(what) ? show(what.description ?? '') : ''}
            </div>
            <pre>{pretty(isRow(what) ? what.parameters : what)}</pre>
          </div>
        );
      })}
    </details>
  ) : null;
}

function Fields(props: { bench: Workbench; row: Row }): JSX.Element {
  return (
    <dl className="llm-facts llm-fields">
      {Object.entries(props.row).map(([key, value]) => (
        <React.Fragment key={key}>
          <dt>{key}</dt>
          <dd>
            {isMessages(value) ? (
              <Conversation bench={props.bench} messages={value} />
            ) : value && typeof value === 'object' ? (
              <pre>{JSON.stringify(value, null, 2)}</pre>
            ) : (
              <div className="llm-text" dir="auto">{value === null ? '–' : String(value)}</div>
            )}
          </dd>
        </React.Fragment>
      ))}
    </dl>
  );
}

/** A row: a conversation, two answers side by side, or its fields. */
export function RowView(props: { bench: Workbench; row: Row }): JSX.Element {
  const { bench, row } = props;
  const { t } = bench;
  const { messages, prompt, chosen, rejected, completion, tools, ...rest } = row;
  const asked = isMessages(messages) ? messages : isMessages(prompt) || 'chosen' in row ? prompt : undefined;
  if (!isMessages(messages) && !('chosen' in row && 'rejected' in row) && !isMessages(prompt)) {
    return <Fields bench={bench} row={row} />;
  }
  const said = isMessages(completion) ? completion : undefined;
  const pair = 'chosen' in row || 'rejected' in row;
  return (
    <div className="llm-row-view">
      <Tools bench={bench} tools={tools} />
      {asked === undefined ? null : <Conversation bench={bench} messages={asked} />}
      {said ? <Conversation bench={bench} messages={said} /> : completion === undefined ? null : <Fields bench={bench} row={{ completion }} />}
      {pair ? (
        <div className="llm-sides">
          <div className="llm-side-box llm-good">
            <h4>{t('chosen')}</h4>
            <Conversation bench={bench} messages={chosen ?? null} />
          </div>
          <div className="llm-side-box llm-bad">
            <h4>{t('rejected answer')}</h4>
            <Conversation bench={bench} messages={rejected ?? null} />
          </div>
        </div>
      ) : null}
      {Object.keys(rest).length ? <Fields bench={bench} row={rest} /> : null}
    </div>
  );
}

/** One line of a row, for lists. */
export function preview(row: Row): string {
  const said = (v: Json | undefined): string =>
    typeof v === 'string' ? v : Array.isArray(v) ? v.map(said).filter(Boolean).join(' ⏎ ') : isRow(v) ? said(v.content ?? v.text ?? v.value ?? '') : v === null || v === undefined ? '' : String(v);
  // What the user says tells rows apart; a system prompt is often the same in all of them.
  const talk = (v: Json | undefined): Json | undefined => (isMessages(v) ? v.filter(m => m.role !== 'system' || v.length === 1) : v);
  const main = ['messages', 'prompt', 'text', 'question', 'instruction', 'chosen'].map(k => said(talk(row[k]))).find(s => s.trim());
  return (main ?? Object.values(row).map(said).filter(Boolean).join(' · ')).replace(/\s+/g, ' ').trim().slice(0, 240);
}
