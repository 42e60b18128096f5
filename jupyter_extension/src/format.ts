/** Numbers, sizes and times as people read them. */
import { Json } from './schema';

export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function number(value: number): string {
  if (Number.isInteger(value)) {
    return value.toLocaleString('en');
  }
  const big = Math.abs(value);
  return big !== 0 && (big < 0.001 || big >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

/** `3 min ago`, in the language of the person. */
export function ago(at: string, language: string, now: number = Date.now()): string {
  const seconds = (Date.parse(at) - now) / 1000;
  if (Number.isNaN(seconds)) {
    return '';
  }
  const steps: [Intl.RelativeTimeFormatUnit, number][] = [
    ['day', 86400],
    ['hour', 3600],
    ['minute', 60]
  ];
  const format = new Intl.RelativeTimeFormat(language, { numeric: 'auto', style: 'short' });
  const step = steps.find(s => Math.abs(seconds) >= s[1]);
  return step ? format.format(Math.round(seconds / step[1]), step[0]) : format.format(Math.round(seconds), 'second');
}

export function duration(from: string, to: string | null, now: number = Date.now()): string {
  const seconds = ((to ? Date.parse(to) : now) - Date.parse(from)) / 1000;
  if (Number.isNaN(seconds)) {
    return '';
  }
  return seconds < 60
    ? `${Math.max(0, seconds).toFixed(seconds < 10 ? 1 : 0)} s`
    : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** One line for any JSON value. */
export function show(value: Json | undefined): string {
  if (value === null || value === undefined) {
    return '–';
  }
  if (typeof value === 'number') {
    return number(value);
  }
  return typeof value === 'string' ? value : JSON.stringify(value);
}
