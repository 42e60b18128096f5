/** Between what a person types in a form and the arguments of a verb. */
import { Json, Param } from './schema';

export type Values = { [name: string]: string | boolean };
export type Converted = { args: { [name: string]: Json }; errors: { [name: string]: string } };

/** What the form shows before anything is typed. */
export function initial(params: Param[], preset: { [name: string]: Json } = {}): Values {
  const values: Values = {};
  params.forEach(p => {
    const start = p.name in preset ? preset[p.name] : p.default;
    if (p.type === 'bool' && !p.many) {
      values[p.name] = start === true;
    } else if (start === null || start === undefined) {
      values[p.name] = '';
    } else if (p.many && Array.isArray(start)) {
      values[p.name] = start.map(String).join(p.type === 'path' ? '\n' : ', ');
    } else {
      values[p.name] = typeof start === 'object' ? JSON.stringify(start) : String(start);
    }
  });
  return values;
}

function one(text: string, type: string): Json {
  if (type === 'int') {
    if (!/^[+-]?\d+$/.test(text)) {
      throw new Error('Write a whole number, like 300');
    }
    return Number(text);
  }
  if (type === 'float') {
    const value = Number(text);
    if (!Number.isFinite(value)) {
      throw new Error('Write a number, like 0.001');
    }
    return value;
  }
  if (type === 'json') {
    try {
      return JSON.parse(text) as Json;
    } catch {
      throw new Error('Write JSON, like {"a": 1}');
    }
  }
  return text;
}

/** The arguments, without those left as they are by default; a sentence for each that cannot be read. */
export function convert(params: Param[], values: Values): Converted {
  const out: Converted = { args: {}, errors: {} };
  params.forEach(p => {
    const value = values[p.name];
    if (typeof value === 'boolean') {
      if (value !== (p.default === true) || p.required) {
        out.args[p.name] = value;
      }
      return;
    }
    const text = (value ?? '').trim();
    if (!text) {
      if (p.required) {
        out.errors[p.name] = 'Fill this in';
      } else if (typeof p.default === 'string' && p.default) {
        out.args[p.name] = '';
      }
      return;
    }
    const choice = p.choices.find(c => String(c) === text);
    if (choice !== undefined) {
      if (p.required || choice !== p.default) {
        out.args[p.name] = choice;
      }
      return;
    }
    try {
      const read = p.many
        ? text.split(p.type === 'path' ? /\n/ : /[,，\n]/).map(s => s.trim()).filter(Boolean).map(s => one(s, p.type))
        : one(text, p.type);
      if (p.required || JSON.stringify(read) !== JSON.stringify(p.default)) {
        out.args[p.name] = read;
      }
    } catch (e) {
      out.errors[p.name] = (e as Error).message;
    }
  });
  return out;
}

/** Parameters that a verb shares with others come in groups; the first is open, the others are folded until they matter. */
export function groups(params: Param[]): { name: string; params: Param[] }[] {
  const out: { name: string; params: Param[] }[] = [];
  params.forEach(p => {
    const it = out.find(g => g.name === p.group);
    if (it) {
      it.params.push(p);
    } else {
      out.push({ name: p.group, params: [p] });
    }
  });
  return out;
}

/** Was something written that is not the default? */
export function touched(params: Param[], values: Values): number {
  const start = initial(params);
  return params.filter(p => (values[p.name] ?? '') !== start[p.name]).length;
}
