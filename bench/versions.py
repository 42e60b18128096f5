"""A new version of a million rows in which one row in a hundred differs: what it costs, beside a new file and `datasets`.

Changes are scattered, which is the hard case: every file of ten thousand rows has a hundred of them. `datasets` keeps a
version as Arrow files (`save_to_disk`), a plain script writes the JSON lines again. Time is for the whole new version,
from the old one on disk; bytes are what the store's folder grew by.
"""
import json
import os
import random
import shutil
import time
from pathlib import Path

import llmops
from llmops.data.write import write_dataset
from llmops.rows import rows
from llmops.verbs import Run, Spec


def size(folder: Path) -> int: return sum(f.stat().st_size for f in folder.rglob('*') if f.is_file())


def letters(n: int):
    "Rows of 40 words, each of its own"
    rnd = random.Random(0)
    words = [f'{a}{b}' for a in ('ba', 'de', 'fi', 'go', 'lu') for b in ('kon', 'ster', 'ling', 'tam', 'vur', 'x')]
    for i in range(n):
        yield {'messages': [{'role': 'user', 'content': f'{i} ' + ' '.join(rnd.choices(words, k=40))},
                            {'role': 'assistant', 'content': f'Answer {i}'}]}


def changed(rs, seed: int, text):
    "One row in a hundred says something else"
    rnd = random.Random(seed)
    for r in rs:
        if rnd.random() < .01: text(r)
        yield r


def edit(r: dict) -> None: r['messages'][1]['content'] += ' after all'


def measure(ctx) -> None:
    n = 20_000 if ctx.small else 1_000_000
    ws = llmops.open(ctx.folder/'ws')
    run = Run(ws.store, Spec('bench', lambda run: None), {}, id='bench', by='bench')
    run.record = dict(started=0)
    v = write_dataset(run, 'letters', ({**r, '_file': 'letters.jsonl', '_line': i}
                                       for i, r in enumerate(letters(n), 1)), format='messages')
    plain = ctx.folder/'letters.jsonl'
    with open(plain, 'w') as f: f.writelines(json.dumps(r) + '\n' for r in letters(n))
    import datasets
    datasets.disable_progress_bars()
    datasets.Dataset.from_generator(letters, gen_kwargs=dict(n=n), cache_dir=str(ctx.folder/'cache')).save_to_disk(
        str(ctx.folder/'hf'))
    k = 0

    def ours() -> float:
        nonlocal k
        k += 1
        t = time.perf_counter()
        write_dataset(run, 'letters', changed(rows(ws.store, v), k, edit), format='messages', parents=[v])
        t = time.perf_counter() - t
        shutil.rmtree(ws.store.folder/'tmp'/'bench', ignore_errors=True)
        return t

    def script() -> float:
        nonlocal k
        k += 1
        t = time.perf_counter()
        with open(plain) as f, open(ctx.folder/'new.jsonl', 'w') as o:
            o.writelines(json.dumps(r) + '\n' for r in changed(map(json.loads, f), k, edit))
        return time.perf_counter() - t

    def hf() -> float:
        nonlocal k
        k += 1
        rnd, to = random.Random(k), ctx.folder/'hf-new'

        def some(b):
            for m in b['messages']:
                if rnd.random() < .01: m[1]['content'] += ' after all'
            return b
        t = time.perf_counter()
        d = datasets.load_from_disk(str(ctx.folder/'hf')).map(some, batched=True, load_from_cache_file=False,
                                                              cache_file_name=str(ctx.folder/'hf-map.arrow'))
        d.save_to_disk(str(to))
        t = time.perf_counter() - t
        shutil.rmtree(to)
        os.unlink(ctx.folder/'hf-map.arrow')
        return t

    before, old = size(ws.store.folder/'blobs'), v.body
    ours()
    ctx.figure('bytes of a version with 1 % of its rows changed', (size(ws.store.folder/'blobs')-before)/before, .015,
               (size(ws.store.folder/'blobs')-before)/before <= .015, 'below',
               f'{before/1e6:.0f} MB before, {len(old["files"])} files', unit=' of the first')
    ctx.turn('1 % of a million rows', dict(ours=ours, datasets=hf, script=script), rounds=min(3, ctx.rounds), warm=0)
    ctx.ratio('1 % of a million rows', 'ours', 'datasets', 2)
    ctx.ratio('1 % of a million rows', 'ours', 'script', 1.5)
    page = lambda a: lambda: list(rows(ws.store, v, a, a+50)) and None  # noqa: E731
    ctx.turn('50 rows', dict(first=page(0), last=page(n-50)), rounds=9)
    ctx.ratio('50 rows', 'last', 'first', 2)
    ws.__exit__()
