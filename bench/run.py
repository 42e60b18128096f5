"""Figures beside their peers, measured in one run, arm after arm in turns.

    .venv/bin/python bench/run.py                      all topics
    .venv/bin/python bench/run.py registry --rounds 9  one topic, more rounds
    .venv/bin/python bench/run.py --small              small sizes, to see that it works

A topic is a module with `measure(ctx) -> None`. It calls `ctx.turn(name, arms)`: every round times each arm once, in an
order that changes, so that what else the machine does falls on all arms alike. A figure is a ratio: the median over the
rounds of (our time / the peer's time in the same round); "best of each" compares the quickest round of both, which is
closer to the truth on a machine that does other things too. Goals are printed beside the figures. Results go to
bench/results/TOPIC.json and TOPIC.svg.
"""
import argparse
import importlib
import json
import os
import platform
import random
import shutil
import statistics as st
import sys
import tempfile
import time
from collections.abc import Callable
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
TOPICS = ('registry', 'blobs', 'notebook', 'imports', 'dedup', 'versions', 'pii', 'train')


class Ctx:
    "What a topic measures with"
    def __init__(self, topic: str, rounds: int, small: bool):
        self.topic, self.rounds, self.small = topic, rounds, small
        self.folder = Path(tempfile.mkdtemp(prefix=f'llmops-bench-{topic}-'))
        self.times: dict[str, dict[str, list[float]]] = {}
        self.figures: list[dict] = []

    def turn(self, name: str, arms: dict[str, Callable[[], float | None]], rounds: int | None = None,
             warm: int = 1) -> None:
        "Time every arm once a round. An arm may return its own seconds, else the whole call is timed"
        got = self.times.setdefault(name, {a: [] for a in arms})
        order = list(arms)
        for r in range(-warm, rounds or self.rounds):
            random.Random(r).shuffle(order)
            for a in order:
                start = time.perf_counter()
                own = arms[a]()
                t = own if own is not None else time.perf_counter() - start
                if r >= 0: got[a].append(t)
        for a in arms: print(f'    {name:28} {a:28} {show(st.median(got[a]))}', flush=True)

    def ratio(self, name: str, ours: str, peer: str, goal: float, better: str = 'below', note: str = '',
              other: str | None = None) -> None:
        "Median of ours/peer over the rounds against a goal; `better='above'` turns it round to times-faster"
        a, b = self.times[name][ours], self.times[other or name][peer]
        rs = [x/y if better == 'below' else y/x for x, y in zip(a, b)]
        r = st.median(rs)
        ok = r <= goal if better == 'below' else r >= goal
        best = min(a)/min(b) if better == 'below' else min(b)/min(a)
        self.figure(f'{name}: {ours} {"/" if better == "below" else "faster than"} {peer}', r, goal, ok, better,
                    f'best of each: {best:.3g}×  {note}'.rstrip(), spread=[round(min(rs), 3), round(max(rs), 3)])

    def figure(self, what: str, value: float, goal: float, ok: bool, better: str, note: str = '', unit: str = '×',
               spread: list | None = None) -> None:
        self.figures.append(dict(what=what, value=round(value, 3), goal=goal, ok=ok, better=better, unit=unit,
                                 note=note, spread=spread))
        print(f'  {"✓" if ok else "✗"} {what}: {value:.3g}{unit} (goal {"≤" if better == "below" else "≥"} '
              f'{goal:g}{unit})  {note}', flush=True)

    def save(self) -> None:
        out = HERE/'results'
        out.mkdir(exist_ok=True)
        body = dict(topic=self.topic, rounds=self.rounds, small=self.small, machine=machine(), figures=self.figures,
                    seconds={n: {a: dict(median=round(st.median(t), 6), min=round(min(t), 6), max=round(max(t), 6),
                                         n=len(t)) for a, t in arms.items()}
                             for n, arms in self.times.items()})
        (out/f'{self.topic}.json').write_text(json.dumps(body, indent=1, ensure_ascii=False) + '\n')
        (out/f'{self.topic}.svg').write_text(svg(self.topic, self.figures))


def show(s: float) -> str:
    return f'{s*1e6:9.1f} µs' if s < 1e-3 else f'{s*1e3:9.2f} ms' if s < 1 else f'{s:9.3f} s '


def machine() -> dict:
    "What it ran on, without names of machines or people"
    cpu = next((line.partition(':')[2].strip() for line in Path('/proc/cpuinfo').read_text().splitlines()
                if line.startswith('model name')), platform.machine())
    return dict(cpu=cpu, cores=os.cpu_count(), python=platform.python_version(), system=platform.system(),
                load=[round(x, 1) for x in os.getloadavg()])


def svg(topic: str, figures: list[dict]) -> str:
    "A bar for each figure: its share of the goal, which is the line; left of the line is good"
    rows, w, left = [], 720, 380
    for i, f in enumerate(figures):
        share = f['value']/f['goal'] if f['better'] == 'below' else f['goal']/max(f['value'], 1e-9)
        bar, y = min(share, 2)*140, 34 + i*26
        rows.append(
            f'<text x="{left-8}" y="{y+12}" text-anchor="end">{escape(f["what"])}</text>'
            f'<rect x="{left}" y="{y}" width="{bar:.1f}" height="16" fill="{"#2a9d8f" if f["ok"] else "#d1495b"}"/>'
            f'<text x="{left+bar+5:.1f}" y="{y+12}">{f["value"]:.3g}{f["unit"]} '
            f'({"≤" if f["better"] == "below" else "≥"} {f["goal"]:g})</text>')
    h = 46 + 26*len(figures)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{w+60}" height="{h}" '
            'font-family="sans-serif" font-size="11">'
            '<rect width="100%" height="100%" fill="#fff"/><text x="8" y="18" font-size="14" '
            f'font-weight="bold">{topic}</text>'
            f'<line x1="{left+140}" y1="26" x2="{left+140}" y2="{h-8}" stroke="#888" stroke-dasharray="3 '
            f'3"/>{"".join(rows)}</svg>\n')


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('topics', nargs='*', default=None, help=f'of {", ".join(TOPICS)}; all if none')
    p.add_argument('--rounds', type=int, default=7, help='rounds of turns')
    p.add_argument('--small', action='store_true', help='small sizes: shows that it works, its figures mean nothing')
    a = p.parse_args()
    if bad := set(a.topics or ()) - set(TOPICS): p.error(f'no such topic: {", ".join(bad)}')
    missed = 0
    for t in a.topics or TOPICS:
        print(f'\n{t}', flush=True)
        ctx = Ctx(t, a.rounds, a.small)
        try:
            importlib.import_module(t).measure(ctx)
        finally:
            shutil.rmtree(ctx.folder, ignore_errors=True)
        if not a.small: ctx.save()
        missed += sum(not f['ok'] for f in ctx.figures)
    print(f'\n{missed} goals missed' if missed else '\nall goals met')
    return 0


if __name__ == '__main__': sys.exit(main())
