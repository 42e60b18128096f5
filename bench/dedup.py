"""Duplicates: ours beside datasketch and rensa's own loop, on made and on real texts, in turns; and the memory of half a million rows.

The same texts, put into one spelling by each, the same runs of five characters and the same threshold for all. datasketch and rensa are used
as their guides show: a MinHash of 128 numbers a text, asked and put into an LSH index one after the other; whatever the index
answers counts as found. Ours compares each proposal. Recall is the share of planted copies that went; a removal that is not
verified is one whose true Jaccard similarity to every text that stayed is below the threshold. Times are those of the processor (all
threads), so that other work on the machine counts less.
"""
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]
# datasketch; what the workbench has itself comes first
sys.path += map(str, (HERE.parent/'.venv-bench/lib').glob('python*/site-packages'))
DATA = HERE.parent.parent/'shared'/'data'/'llamafactory'
THRESHOLD, RUN = .7, 5
HAN = '天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈剑号巨阙珠称夜光果珍李柰菜重芥姜海咸河淡鳞潜羽翔'


def made(r: random.Random, n: int) -> list[str]:
    "Short instructions, half in letters and half in Chinese"
    words = [''.join(r.choices('etaoinshrdlucmfw', k=r.randint(2, 9))) for _ in range(6000)]
    return [' '.join(r.choices(words, k=r.randint(20, 60))) if i % 2 else ''.join(r.choices(HAN, k=r.randint(50, 160)))
            for i in range(n)]


def real() -> list[str]:
    "What people wrote, in pieces of some hundred characters: web pages, an encyclopedia, instructions in English and Chinese"
    out = ([json.loads(x)['text'] for x in (DATA/'c4_demo.jsonl').read_text().splitlines()]
           + (DATA/'wiki_demo.txt').read_text().splitlines())
    for k in ('en', 'zh'):
        out += [f'{r["instruction"]} {r["input"]} {r["output"]}'
                for r in json.loads((DATA/f'alpaca_{k}_demo.json').read_text())]
    return [p for t in out for i in range(0, min(len(t), 9000), 600) if len(p := t[i:i+600]) > 120]


def planted(r: random.Random, texts: list[str], exact: float, near: float) -> tuple[list[str], list[int]]:
    "The texts with copies, equal and with one or two words changed, in mixed order; the number of the original of each"
    def changed(t: str) -> str:
        w = t.split(' ') if t.count(' ') > len(t)/15 else list(t)
        for _ in range(r.randint(1, 2)): w[r.randrange(len(w))] = r.choice(w)
        return (' ' if t.count(' ') > len(t)/15 else '').join(w)
    out = list(enumerate(texts))
    out += [out[i] for i in r.choices(range(len(texts)), k=int(exact*len(texts)))]
    out += [(i, changed(texts[i])) for i in r.choices(range(len(texts)), k=int(near*len(texts)))]
    r.shuffle(out)
    return [t for _, t in out], [i for i, _ in out]


def ours(texts: list[str]) -> list[bool]:
    from llmops.data.near import near
    return (near(texts, THRESHOLD, RUN, keep='first').of < 0).tolist()


def datasketch(texts: list[str]) -> list[bool]:
    from datasketch import MinHash, MinHashLSH

    from llmops.data.shingles import plain
    lsh, stay = MinHashLSH(threshold=THRESHOLD, num_perm=128), []
    for i, t in enumerate(map(plain, texts)):
        m = MinHash(num_perm=128)
        m.update_batch([t[k:k+RUN].encode() for k in range(max(1, len(t)-RUN+1))])
        stay.append(not lsh.query(m))
        if stay[-1]: lsh.insert(i, m)
    return stay


def rensa(texts: list[str]) -> list[bool]:
    from rensa import RMinHash, RMinHashLSH

    from llmops.data.shingles import plain
    lsh, stay = RMinHashLSH(threshold=THRESHOLD, num_perm=128, num_bands=16), []
    for i, t in enumerate(map(plain, texts)):
        m = RMinHash(num_perm=128, seed=42)
        m.update([t[k:k+RUN] for k in range(max(1, len(t)-RUN+1))])
        stay.append(not lsh.query(m))
        if stay[-1]: lsh.insert(i, m)
    return stay


def quality(texts: list[str], of: list[int], stay: list[bool]) -> tuple[float, int]:
    "Share of planted copies that went; texts that went though nothing like them stayed"
    from llmops.data.shingles import plain
    texts, groups = [plain(t) for t in texts], {}
    for i, g in enumerate(of): groups.setdefault(g, []).append(i)
    copies = sum(len(g)-1 for g in groups.values())
    runs = [{t[k:k+RUN] for k in range(max(1, len(t)-RUN+1))} for t in texts]
    def like(i: int) -> bool:
        return any(len(runs[i] & runs[j])/len(runs[i] | runs[j]) >= THRESHOLD for j in groups[of[i]] if stay[j])
    alone = [i for i, s in enumerate(stay) if not s and not like(i)]
    for i in list(alone):   # not like its own kin: like anything at all that stayed?
        if any(stay[j] and len(runs[i] & runs[j]) >= THRESHOLD*len(runs[i] | runs[j]) for j in range(len(texts))):
            alone.remove(i)
    return sum(len(g)-max(1, sum(stay[i] for i in g)) for g in groups.values())/copies, len(alone)


def timed(f, texts: list[str], got: dict):
    "Seconds of the processor; what came out goes into `got`"
    def go() -> float:
        start = time.process_time()
        got[f.__name__] = f(texts)
        return time.process_time() - start
    return go


def measure(ctx) -> None:
    r = random.Random(0)
    sets = {'made': made(r, 400 if ctx.small else 6000)}
    if DATA.is_dir(): sets['real'] = real()[:300] if ctx.small else real()
    for name, base in sets.items():
        texts, of = planted(r, base, .2, .2)
        got: dict[str, list[bool]] = {}
        turn = f'near, {name}, {len(texts):,}'
        ctx.turn(turn, dict(ours=timed(ours, texts, got), rensa=timed(rensa, texts, got)))
        ctx.ratio(turn, 'ours', 'rensa', 1.7, 'above')
        slow = f'{turn}, again'
        ctx.turn(slow, dict(ours=timed(ours, texts, got), datasketch=timed(datasketch, texts, got)),
                 rounds=min(ctx.rounds, 2), warm=0)
        ctx.ratio(slow, 'ours', 'datasketch', 10, 'above')
        q = {k: quality(texts, of, s) for k, s in got.items()}
        for k in ('datasketch', 'rensa'):
            ctx.figure(f'recall, {name}: ours / {k}', q['ours'][0]/q[k][0], .98, q['ours'][0] >= .98*q[k][0], 'above',
                       f'ours {q["ours"][0]:.4f}, theirs {q[k][0]:.4f}, unverified {q[k][1]}')
        n = sum(not x for x in got['ours'])
        ctx.figure(f'removals that are truly alike, {name}', 1-q['ours'][1]/n, 1, not q['ours'][1], 'above',
                   f'{q["ours"][1]} of {n:,} are not', unit='')
    many(ctx, r)
    memory(ctx)


def many(ctx, r: random.Random) -> None:
    "Equal texts: what the step `duplicates` does with them beside polars' own unique"
    import numpy as np
    import polars as pl
    from llmops.data.near import exact, hashes
    texts, _ = planted(r, made(r, 5_000 if ctx.small else 250_000), .25, 0)
    s, rank = pl.Series(texts), np.random.default_rng(0).permutation(len(texts))
    ctx.turn(f'exact, {len(texts):,}', dict(ours=lambda: (exact(*hashes(s), rank), None)[1],
                                           polars=lambda: (s.unique(), None)[1]))
    ctx.ratio(f'exact, {len(texts):,}', 'ours', 'polars', 1.5)
    assert int((exact(*hashes(s), rank) < 0).sum()) == s.n_unique()


_child = '''
import random, sys, time
sys.path[:0] = {paths!r}
from dedup import made, planted
from llmops.data.near import near
def texts():
    r = random.Random(0)
    for _ in range({n}//5000):
        yield from planted(r, made(r, 3600), .2, .19)[0][:5000]
t = time.perf_counter()
f = near(texts(), .7)
print(len(f.of), int((f.of >= 0).sum()), time.perf_counter()-t, int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])/1024)
'''


def memory(ctx) -> None:
    "Half a million short texts in a process of its own, made while they are read"
    n = 20_000 if ctx.small else 500_000
    out = subprocess.run([sys.executable, '-c', _child.format(paths=[str(HERE.parent), str(HERE)], n=n)], check=True,
                         capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'}).stdout.split()
    rows, gone, seconds, peak = int(out[0]), int(out[1]), float(out[2]), float(out[3])
    ctx.figure(f'peak memory, {rows:,} rows', peak, 600, peak <= 600, 'below',
               f'{gone:,} went; {rows/seconds:,.0f} rows a second, with making them', unit=' MB')
