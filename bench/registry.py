"""Adding versions, moving aliases and paging: the store beside raw sqlite3 and beside MLflow's client.

The raw arm does what a careful hand-written registry does: one `begin immediate … commit` with the version (or the
alias) and a row of an audit log, prepared by hand, no checks, no hashes.
"""
import importlib
import json
import sqlite3
import statistics
import time
from pathlib import Path

from peer import Peer

from llmops import core
from llmops.store import GENESIS, Store, chain
from llmops.verbs import call

BODY = {'files': [{'path': 'model.safetensors', 'blob': '0'*64, 'size': 1_800_000},
                  {'path': 'config.json', 'blob': '1'*64, 'size': 700}], 'architecture': 'Qwen3ForCausalLM',
        'parameters': 886_144, 'dtype': 'float16', 'licence': 'apache-2.0', 'base': 'model:tiny-qwen@1'}


def body(i: int) -> dict: return {**BODY, 'seed': i}


class Raw:
    "A registry in plain sqlite3"
    def __init__(self, path: Path, sync: str):
        self.db = sqlite3.connect(path, isolation_level=None)
        for p in ('journal_mode=wal', f'synchronous={sync}', 'temp_store=memory', 'cache_size=-32000',
                  'mmap_size=268435456'):
            self.db.execute(f'pragma {p}')
        self.db.executescript('''create table if not exists version(kind text, name text, number int, digest text, body text, created real, made_by text, primary key(kind, name, number));
            create table if not exists alias(name text, alias text, number int, primary key(name, alias)) without rowid;
            create table if not exists audit(seq integer primary key, at real, what text, about text, data text);''')

    def fill(self, n: int) -> None:
        self.db.execute('begin')
        self.db.executemany('insert into version values(?,?,?,?,?,?,?)',
                            (('model', 'chat', i, f'{i:064x}', json.dumps(body(i)), 1e9 + i, '')
                             for i in range(1, n + 1)))
        self.db.execute('commit')
        self.db.execute('pragma wal_checkpoint(truncate)')

    def add(self, i: int) -> None:
        text, now, ex = json.dumps(body(i)), time.time(), self.db.execute
        ex('begin immediate')
        n = ex("select max(number) from version where kind='model' and name='chat'").fetchone()[0] or 0
        ex('insert into version values(?,?,?,?,?,?,?)', ('model', 'chat', n + 1, f'{i:064x}', text, now, ''))
        ex('insert into audit(at, what, about, data) values(?,?,?,?)',
           (now, 'version', f'model:chat@{n+1}', f'{i:064x}'))
        ex('commit')

    def alias(self, n: int) -> None:
        now, ex = time.time(), self.db.execute
        ex('begin immediate')
        ex('insert into alias values(?,?,?) on conflict do update set number=excluded.number', ('chat', 'prod', n))
        ex('insert into audit(at, what, about, data) values(?,?,?,?)', (now, 'alias', 'model:chat', str(n)))
        ex('commit')

    def page(self, before: int, cols: str = 'kind, name, number, digest, created, made_by') -> list:
        return self.db.execute(f"select {cols} from version where kind='model' and name='chat' and number<? "
                               "order by number desc limit 100", (before,)).fetchall()

    def page_with_bodies(self, before: int) -> list:
        return [(*r, json.loads(r[-1]))
                for r in self.page(before, 'kind, name, number, digest, created, made_by, body')]


def fill(s: Store, n: int) -> None:
    "Versions 1..n as `put` would have left them, written in bulk"
    db, at, prev = s.db.raw, 1e9, GENESIS
    versions, events = [], []
    for i in range(1, n + 1):
        text = core.canonical(body(i))
        d = core.digest(body(i))
        data = core.canonical({'digest': d, 'made_by': ''})
        h = chain(prev, i, at + i, 'version', f'model:chat@{i}', data)
        versions.append(('model', 'chat', i, d, text, at + i, ''))
        events.append((i, at + i, 'version', f'model:chat@{i}', data, prev, h))
        prev = h
    db.execute('begin')
    db.executemany('insert into version(kind, name, number, digest, body, created, made_by) values(?,?,?,?,?,?,?)',
                   versions)
    db.executemany('insert into event(seq, at, kind, about, data, prev, hash) values(?,?,?,?,?,?,?)', events)
    db.execute('insert into name(kind, name, latest, created) values(?,?,?,?)', ('model', 'chat', n, at + n))
    db.execute('commit')
    db.execute('pragma wal_checkpoint(truncate)')


def alias(s: Store, n: int) -> None:
    "As a user moves it: the verb, with its checks, through `call`"
    call(s, 'alias', dict(ref=f'model:chat@{n}', name='prod'))


def many(f, times: int, start: list[int]):
    "An arm: `times` calls with numbers that go up, the median of one"
    def arm() -> float:
        a, t, clock = start[0], [], time.perf_counter
        start[0] += times
        for i in range(a, a + times):
            b = clock()
            f(i)
            t.append(clock() - b)
        return statistics.median(t)
    return arm


def measure(ctx) -> None:
    importlib.import_module('llmops.registry')      # declares the event that moves an alias
    small, fine = ctx.small, 3*ctx.rounds # short turns, many of them: what else the machine does hits single turns
    sizes = (100, 1000) if small else (1000, 100_000)
    ours = {(sync, n): Store(ctx.folder/f'ours-{sync}-{n}', durability=sync) for sync in ('full', 'normal')
            for n in (sizes[0], 10_000, sizes[1]) if sync == 'normal' or n == sizes[0]}
    raws = {sync: Raw(ctx.folder/f'raw-{sync}.db', sync) for sync in ('full', 'normal')}
    for (_, n), s in ours.items(): fill(s, min(n, 1000) if small else n)
    for r in raws.values(): r.fill(sizes[0])
    big = Raw(ctx.folder/'raw-big.db', 'normal')
    big.fill(sizes[1])
    count = [10_000_000]
    def bodies(s: Store): return lambda i: s.put('model', 'chat', body(i))

    for sync, times, goal in (('full', 10, 1.5), ('normal', 50, 15)):
        s, r = ours[sync, sizes[0]], raws[sync]
        ctx.turn(f'add a version, {sync}',
                 {'llmops': many(bodies(s), times, count), 'raw sqlite3': many(r.add, times, count)}, fine)
        ctx.ratio(f'add a version, {sync}', 'llmops', 'raw sqlite3', goal)
        ctx.turn(f'move an alias, {sync}',
                 {'llmops': many(lambda i, s=s: alias(s, 1 + i % sizes[0]), times, count),
                  'raw sqlite3': many(lambda i, r=r: r.alias(1 + i % sizes[0]), times, count)}, fine)
        ctx.ratio(f'move an alias, {sync}', 'llmops', 'raw sqlite3', goal)

    s, r = ours['normal', sizes[0]], raws['normal']
    def total(f): return lambda: [f(i) for i in range(count[0], count[0] + 1000)] and None
    def ahead(f): return lambda: (count.__setitem__(0, count[0] + 1000), total(f)())[1]
    ctx.turn('1,000 versions one by one, normal', {'llmops': ahead(bodies(s)), 'raw sqlite3': ahead(r.add)})
    ctx.ratio('1,000 versions one by one, normal', 'llmops', 'raw sqlite3', 15,
              note='the whole time, checkpoints of the log included')

    lo, mid, hi = ours['normal', sizes[0]], ours['normal', 10_000], ours['normal', sizes[1]]
    peer = Peer(ctx.folder/'mlflow')
    try:
        peer.ask('start', versions=1000 if small else 10_000)
        n = 2 if small else 5
        for what, f in (('add', bodies(mid)), ('alias', lambda i: alias(mid, 1 + i % 1000))):
            name = {'add': 'add a version of 10,000', 'alias': 'move an alias of 10,000'}[what]
            ctx.turn(name, {'llmops': many(f, 20, count), 'MLflow': lambda what=what: peer.ask(what, times=n)/n},
                     rounds=ctx.rounds)
            ctx.ratio(name, 'llmops', 'MLflow', 20, 'above')
    finally: peer.close()

    top = sizes[1]
    def befores(f): return many(lambda i: f(100 + (i*7919) % (top - 100)), 20, count)
    def page(s: Store, bodies: bool = False):
        return lambda b: s.find('model', 'chat', limit=100, before=b, bodies=bodies)
    ctx.turn('page of 100 of 100,000', {'llmops': befores(page(hi)), 'raw sqlite3': befores(big.page)}, fine)
    ctx.ratio('page of 100 of 100,000', 'llmops', 'raw sqlite3', 2, note='the columns of a list')
    ctx.turn('page with parsed bodies',
             {'llmops': befores(page(hi, True)), 'raw sqlite3': befores(big.page_with_bodies)}, fine)
    ctx.ratio('page with parsed bodies', 'llmops', 'raw sqlite3', 2)

    alias(lo, 1)
    alias(hi, 1)
    for name, f, times in (('get by alias', lambda s: lambda i: s.get('model:chat@prod'), 100),
                           ('latest', lambda s: lambda i: s.get('model:chat'), 100),
                           ('page', lambda s: lambda i: page(s)(200 + i % 700), 20), ('add', lambda s: bodies(s), 50),
                           ('alias', lambda s: lambda i: alias(s, 1 + i % 1000), 50)):
        ctx.turn(f'{name}: 1,000 to 100,000',
                 {'100,000 versions': many(f(hi), times, count), '1,000 versions': many(f(lo), times, count)}, fine)
        ctx.ratio(f'{name}: 1,000 to 100,000', '100,000 versions', '1,000 versions', 1.3)
    for s in ours.values(): s.close()
