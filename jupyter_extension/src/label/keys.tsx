/** The keyboard of the labelling desk: every action has a key, and every key is shown where its action is. */
import React, { createContext, useContext, useEffect } from 'react';

export interface Key {
  /** Such as `1`, `s`, `ctrl+enter`, `shift+2`, `arrowleft`. */
  key: string;
  /** What it does, already in the person's language. */
  does: string;
  run: () => void;
  /** Works while something is being written, too. */
  writing?: boolean;
}

const SHOWN: { [key: string]: string } = {
  arrowleft: '←',
  arrowright: '→',
  arrowup: '↑',
  arrowdown: '↓',
  enter: '⏎',
  escape: 'Esc',
  backspace: '⌫',
  shift: '⇧',
  ctrl: 'Ctrl',
  alt: 'Alt'
};

/** A key as it is printed on a hint. */
export function printed(key: string): string {
  return key
    .split('+')
    .map(k => SHOWN[k] ?? k.toUpperCase())
    .join(key.includes('shift') ? '' : ' ');
}

/** The name of what was pressed; by its place on the keyboard where an input method hides the letter. */
export function pressed(e: { key: string; code: string; ctrlKey: boolean; metaKey: boolean; altKey: boolean; shiftKey: boolean }): string {
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(e.code);
  const letter = /^[\x21-\x7e]$/.test(e.key) ? e.key.toLowerCase() : /^Key([A-Z])$/.exec(e.code)?.[1].toLowerCase();
  const name = digit ? digit[1] : letter ?? e.key.toLowerCase();
  const shift = e.shiftKey && (digit || !letter || /[a-z]/.test(letter)) ? 'shift+' : '';
  return `${e.ctrlKey || e.metaKey ? 'ctrl+' : ''}${e.altKey ? 'alt+' : ''}${shift}${name}`;
}

/** Scopes, the one that is asked first in front: what has just been opened stands before what lies below it. */
const ORDER = ['who', 'skip', 'marked', 'judge', 'task', 'desk'];

/** The keys that hold now, by scope. */
export class Board {
  private scopes = new Map<string, Key[]>();

  set(scope: string, keys: Key[]): void {
    this.scopes.set(scope, keys);
  }
  remove(scope: string): void {
    this.scopes.delete(scope);
  }
  get all(): Key[] {
    const seen = new Set<string>();
    const rank = (scope: string): number => ORDER.indexOf(scope.split('-')[0]);
    const scopes = [...this.scopes].sort(([a], [b]) => rank(a) - rank(b)).map(([, keys]) => keys);
    return scopes.flat().filter(k => !seen.has(k.key) && seen.add(k.key));
  }
  handle(e: React.KeyboardEvent): void {
    if (e.nativeEvent.isComposing) {
      return;
    }
    const name = pressed(e);
    const target = e.target as HTMLElement;
    const writing = target.tagName === 'TEXTAREA' || target.tagName === 'SELECT' || (target.tagName === 'INPUT' && (target as HTMLInputElement).type === 'text');
    const onButton = ['BUTTON', 'SUMMARY', 'A'].includes(target.tagName) && (name === 'enter' || name === ' ');
    const key = this.all.find(k => k.key === name);
    if (!key || (writing && !key.writing) || onButton) {
      return;
    }
    e.preventDefault();
    e.stopPropagation();
    key.run();
  }
}

export const BoardContext = createContext(new Board());

/** Keys that hold while this component is on screen. */
export function useKeys(scope: string, keys: Key[]): void {
  const board = useContext(BoardContext);
  useEffect(() => {
    board.set(scope, keys);
  });
  useEffect(() => () => board.remove(scope), [board, scope]);
}

export function Kbd(props: { of: string }): JSX.Element {
  return <kbd className="llm-kbd" aria-hidden="true">{printed(props.of)}</kbd>;
}

/** A button with its key on it. */
export function KeyButton(props: {
  of: string;
  label: string;
  run: () => void;
  action: string;
  className?: string;
  disabled?: boolean;
  pressed?: boolean;
  title?: string;
}): JSX.Element {
  return (
    <button
      type="button"
      className={`llm-button llm-key-button ${props.className ?? ''}`}
      data-action={props.action}
      aria-keyshortcuts={props.of.replace('ctrl', 'Control') || undefined}
      aria-pressed={props.pressed}
      title={props.title}
      disabled={props.disabled}
      onClick={props.run}
    >
      {props.label} {props.of ? <Kbd of={props.of} /> : null}
    </button>
  );
}
