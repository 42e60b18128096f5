/** Hooks: data that stays fresh, and the language. */
import { useCallback, useEffect, useRef, useState } from 'react';
import { ApiError } from './api';
import { Change } from './live';
import { Problem } from './schema';
import { Workbench } from './tokens';

export interface Loaded<T> {
  data: T | null;
  error: Problem | null;
  loading: boolean;
  reload: () => void;
}

export function problemOf(e: unknown): Problem {
  return e instanceof ApiError ? e.problem : { message: String((e as Error)?.message ?? e), code: 'error', next: '' };
}

/** Load, and load again when `concerns` says that a change matters; never two loads of one thing at a time. */
export function useLoaded<T>(
  bench: Workbench,
  load: () => Promise<T>,
  key: string,
  concerns: (change: Change) => boolean = () => true
): Loaded<T> {
  const [state, setState] = useState<{ data: T | null; error: Problem | null; loading: boolean }>({
    data: null,
    error: null,
    loading: true
  });
  const flight = useRef({ key: '', busy: false, again: false, gone: false });
  const latest = useRef({ load, concerns });
  latest.current = { load, concerns };
  const reload = useCallback(() => {
    const me = flight.current;
    if (me.busy && me.key === key) {
      me.again = true;
      return;
    }
    me.busy = true;
    me.again = false;
    me.key = key;
    const mine = (): boolean => !me.gone && me.key === key;
    const settle = (next: { data?: T; error: Problem | null }): void => {
      if (!mine()) {
        return;
      }
      me.busy = false;
      setState(old => ({ data: next.data ?? old.data, error: next.error, loading: false }));
      if (me.again) {
        window.setTimeout(() => mine() && reload(), 250);
      }
    };
    latest.current.load().then(
      data => settle({ data, error: null }),
      e => settle({ error: problemOf(e) })
    );
  }, [key]);
  useEffect(() => {
    flight.current.gone = false;
    setState(old => ({ ...old, loading: true }));
    reload();
    const onChange = (_: unknown, change: Change): void => {
      if (latest.current.concerns(change)) {
        reload();
      }
    };
    bench.live.changed.connect(onChange);
    return () => {
      flight.current.gone = true;
      flight.current.busy = false;
      bench.live.changed.disconnect(onChange);
    };
  }, [bench, reload]);
  return { ...state, reload };
}

/** Draw again when the language changes. */
export function useLanguage(bench: Workbench): string {
  const [language, setLanguage] = useState<string>(bench.translator.language);
  useEffect(() => {
    const onChange = (): void => setLanguage(bench.translator.language);
    onChange();
    bench.translator.changed.connect(onChange);
    return () => {
      bench.translator.changed.disconnect(onChange);
    };
  }, [bench]);
  return language;
}

/** A value that follows the given one once it has been still for a moment. */
export function useSettled<T>(value: T, ms = 200): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = window.setTimeout(() => setSettled(value), ms);
    return () => window.clearTimeout(timer);
  }, [value, ms]);
  return settled;
}
