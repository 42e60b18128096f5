"The store's contract, on SQLite and on PostgreSQL, and what it survives."
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llmops.blobs import Blobs
from llmops.core import EVENTS, Failed, Full, Invalid, NotFound, event_kind, now
from llmops.store import GENESIS, Store, chain

if 'test.alias' not in EVENTS:
    event_kind('test.alias', 'Of these tests', lambda about, d: [(about, f'alias:{d["alias"]}', d['to'])])
    event_kind('test.note', 'Of these tests')


def reopen(store: Store) -> Store:
    "Another connection to the same store, as another process would have"
    return Store(store.url, blobs=store.blobs.local)


# --- contract --------------------------------------------------------------------------------------------------------

def test_a_put_is_idempotent_and_numbers_are_contiguous(store):
    a = store.put('model', 'm', {'x': 1})
    b = store.put('model', 'm', {'x': 2})
    assert [str(a), str(b), str(store.put('model', 'm', {'x': 1}))] == ['model:m@1', 'model:m@2', 'model:m@1']
    assert str(store.put('model', 'n', {'x': 1})) == 'model:n@1'
    assert [str(v) for v in store.find('model', 'm')] == ['model:m@2', 'model:m@1']
    assert [str(v) for v in store.find('model')] == ['model:n@1', 'model:m@2']
    assert [str(v) for v in store.find(all=True)] == ['model:n@1', 'model:m@2', 'model:m@1']
    assert store.by_digest(a.digest) == [a, store.get('model:n')]
    assert [e.about for e in store.events('version')] == ['model:m@1', 'model:m@2', 'model:n@1']


def test_refs_resolve_by_number_alias_and_latest(store):
    for i in range(3): store.put('prompt', '客服', {'x': i})
    store.append('test.alias', 'prompt:客服', alias='prod', to=2)
    assert [store.get(f'prompt:客服{t}').number for t in ('', '@1', '@prod')] == [3, 1, 2]
    for bad in ('prompt:客服@9', 'prompt:客服@0', 'prompt:客服@dev', 'prompt:x', 'model:客服'):
        with pytest.raises(NotFound): store.get(bad)


def test_pages_of_versions_and_names(store):
    for i in range(25): store.put('dataset', 'd', {'x': i})
    first = store.find('dataset', 'd', limit=10, bodies=False)
    second = store.find('dataset', 'd', limit=10, before=first[-1].number)
    assert [v.number for v in first] == list(range(25, 15, -1)) and [v.number for v in second] == list(range(15, 5, -1))
    assert first[0].body == {} and second[0].body == {'x': 14}
    for n in ('a_b', 'axb', 'c%d', ): store.put('dataset', n.replace('%', '-'), {'x': n})
    assert [v.name for v in store.find('dataset', q='a_b')] == ['a_b']


def test_the_log_is_chained_and_read_in_pages(store):
    store.append_many([('test.note', 'model:m@1', {'i': i}) for i in range(20)])
    evs = store.events()
    assert [e.seq for e in evs] == list(range(1, 21)) and evs[0].prev == GENESIS
    assert all(b.prev == a.hash for a, b in zip(evs, evs[1:], strict=False)) and store.head() == (20, evs[-1].hash)
    assert chain(evs[4].prev, 5, evs[4].at, 'test.note', 'model:m@1', '{"i":4}') == evs[4].hash
    assert store.events(after=17) == evs[17:] and store.events(limit=2, newest=True) == evs[:-3:-1]
    assert store.events('test.note', 'model:m@1', before=3) == evs[:2] and store.events(about='model:x') == []


def test_current_state_follows_from_events_and_can_be_made_again(store):
    marks = []
    for i in range(3):
        store.put('model', 'm', {'x': i})
        store.append('test.alias', 'model:m', alias='prod', to=i+1)
        marks.append(now())
        time.sleep(.002)
    store.append('test.alias', 'model:m', alias='prod', to=None)
    assert store.state('model:m') == {}
    assert [store.state_at(t) for t in marks] == [{'model:m': {'alias:prod': i}} for i in (1, 2, 3)]
    store.append('test.alias', 'model:m', alias='dev', to=1)
    before = sorted(map(tuple, store.db.run('state_all').fetchall()))
    store.db.run('put_state', about='model:m', key='alias:prod', value='7', seq=1)
    assert [f['what'] for f in store.verify()] == ['model:m alias:prod']
    store.rebuild()
    assert sorted(map(tuple, store.db.run('state_all').fetchall())) == before and store.verify() == []


def test_what_is_refused_leaves_nothing(store):
    head = store.head()
    for kind, name, body in [('modle', 'm', {}), ('model', '../m', {}), ('model', 'm', [1]),
                             ('model', 'm', {'x': float('nan')}),
                             ('model', 'm', {'x': '\ud800'}), ('model', 'm', {'x': {1, 2}})]:
        with pytest.raises(Invalid): store.put(kind, name, body)
    with pytest.raises(Invalid): store.append('no.such.kind', 'model:m')
    with pytest.raises(Invalid): store.append('test.note', 'model:m', x=float('inf'))
    assert store.head() == head and store.find(all=True) == []


def test_a_failed_projection_writes_nothing(store):
    event_kind('test.bad', 'Fails', lambda about, d: [(about, 'k', {1})])
    try:
        with pytest.raises(Invalid): store.append_many([('test.note', 'model:m', {}), ('test.bad', 'model:m', {})])
        assert store.head() == (0, GENESIS) and store.state('model:m') == {}
    finally: del EVENTS['test.bad']


def test_threads_have_connections_of_their_own(store):
    errors = []
    def work(i):
        try:
            for j in range(10): store.put('model', 'm', {'i': i, 'j': j})
        except Exception as e: errors.append(e)
        finally: store.close()
    ts = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in ts: t.start()
    for t in ts: t.join()
    assert errors == [] and [v.number for v in store.find('model', 'm')] == list(range(80, 0, -1))
    assert store.verify() == []


# --- tampering -------------------------------------------------------------------------------------------------------

def _flip(value, rng):
    if isinstance(value, str):
        i = rng.randrange(len(value))
        return value[:i]+chr(ord(value[i])^1)+value[i+1:]
    if isinstance(value, int): return value^(1 << rng.randrange(20))
    import struct
    return struct.unpack('>d', (struct.unpack('>Q', struct.pack('>d', value))[0]^1).to_bytes(8, 'big'))[0]


@pytest.mark.parametrize('column', ['at', 'kind', 'about', 'data', 'prev', 'hash'])
def test_one_flipped_bit_in_any_event_is_named(store, column):
    for i in range(5): store.put('model', 'm', {'x': i}, made_by='r1')
    rng, mark = random.Random(column), '?' if store.db.lite else '%s'
    for seq in (1, 3, 5):
        old = store.db.raw.execute(f'select {column} from event where seq={mark}', (seq,)).fetchone()[0]
        store.db.raw.execute(f'update event set {column}={mark} where seq={mark}', (_flip(old, rng), seq))
        assert f'event {seq}' in [f['what'] for f in store.verify()], (column, seq)
        store.db.raw.execute(f'update event set {column}={mark} where seq={mark}', (old, seq))
    assert store.verify() == []


def test_removed_inserted_and_swapped_rows_are_named(store):
    for i in range(5): store.put('model', 'm', {'x': i})
    keep = store.db.raw.execute('select * from event where seq=3').fetchone()
    store.db.raw.execute('delete from event where seq=3')
    assert [f['what'] for f in store.verify()][:1] == ['event 3']
    store.db.run('put_event', **dict(zip(('seq', 'at', 'kind', 'about', 'data', 'prev', 'hash'), keep, strict=True)))
    store.db.raw.execute("update version set body='{\"x\":9}' where number=2")
    assert [f['what'] for f in store.verify()] == ['model:m@2']
    store.db.raw.execute('delete from version where number=2')
    assert {f['what'] for f in store.verify()} == {'model:m@2', 'model:m@3'}


def test_one_flipped_bit_in_any_blob_is_named_and_never_handed_out(store, tmp_path):
    src = tmp_path/'src'
    src.mkdir()
    rng = random.Random(3)
    for i in range(20): (src/f'{i}.bin').write_bytes(rng.randbytes(400_000 if i%7 == 0 else rng.randrange(1, 5000)))
    v = store.put('model', 'm', {'files': store.blobs.put_folder(src)})
    assert store.verify() == []
    for f in v.body['files']:
        loose = Path(store.blobs._path(f['blob']))
        if loose.exists(): at, off, size = loose, 0, f['size']
        else:
            at = store.blobs.local/'packs'/store.blobs._where[f['blob']]
            off, size = store.blobs._packs[at.name][f['blob']]
        at.chmod(0o644)
        def flip(at=at, p=off+rng.randrange(size), bit=1 << rng.randrange(8)):
            with at.open('r+b') as h:
                h.seek(p)
                b = h.read(1)[0]
                h.seek(p)
                h.write(bytes([b^bit]))
        flip()
        found = store.verify()
        assert [x['what'] for x in found] == [f'blob {f["blob"]}'] and 'model:m@1' in found[0]['problem']
        with pytest.raises(Failed): store.blobs.get(f['blob'])
        with pytest.raises(Failed): store.blobs.get_folder([f], tmp_path/'out')
        flip()
    assert store.verify() == []


def test_a_lost_blob_is_named(store):
    b = store.blobs.put_bytes(b'x'*10)
    store.put('model', 'm', {'files': [dict(path='a', **b)]})
    os.unlink(store.blobs._path(b['blob']))
    assert store.verify() == [{'what': f'blob {b["blob"]}', 'problem': 'missing, needed by model:m@1'}]


# --- many writers ----------------------------------------------------------------------------------------------------

def _children(n, work):
    "Run `work(i)` in n forked processes; exit codes"
    pids = []
    for i in range(n):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(i)
                code = 0
            except BaseException as e:
                os.write(2, f'{type(e).__name__}: {e}\n'.encode())
            finally: os._exit(code)
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in pids]


def test_16_processes_write_250_versions_each_of_one_name(store):
    store.close() # A connection does not survive a fork
    def work(i):
        s = reopen(store)
        for j in range(250): s.put('model', 'm', {'i': i, 'j': j})
        s.close()
    assert _children(16, work) == [0]*16
    got = store.find('model', 'm')
    assert [v.number for v in got] == list(range(4000, 0, -1))
    assert {(v.body['i'], v.body['j']) for v in got} == {(i, j) for i in range(16) for j in range(250)}
    assert [e.seq for e in store.events()] == list(range(1, 4001)) and store.verify(blobs=False) == []


def test_16_processes_open_a_new_store_at_once(tmp_path):
    def work(i): Store(tmp_path/'s').put('model', 'm', {'i': i})
    assert _children(16, work) == [0]*16
    assert len(Store(tmp_path/'s').find('model', 'm')) == 16


def test_1000_kills_at_random_moments(tmp_path):
    "No acknowledged version lost, none torn, none twice; after gc no orphan"
    Store(tmp_path/'s').close()
    rng, acked, started = random.Random(7), {}, 0
    def work(first, pipe):
        s = Store(tmp_path/'s')
        os.write(pipe, b'up\n')
        for i in range(first, first+10_000):
            blob = s.blobs.put_bytes(random.Random(i).randbytes((10, 3000, 300_000)[i%3]))
            v = s.put('model', 'm', {'i': i, 'files': [dict(path='w', **blob)]})
            os.write(pipe, f'{i} {v.number} {v.digest}\n'.encode())
    for _ in range(1000):
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            try: work(started, w)
            finally: os._exit(1)
        os.close(w)
        with os.fdopen(r, 'rb') as pipe:
            assert pipe.readline() == b'up\n'
            time.sleep(rng.random()*.02)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            for line in pipe.read().splitlines():
                i, n, d = line.decode().split(' ')
                # The next child repeats what was not acknowledged
                assert acked.setdefault(int(i), (int(n), d)) == (int(n), d)
        started = max(acked, default=-1)+1
    s = Store(tmp_path/'s')
    got = {v.body['i']: v for v in s.find('model', 'm')}
    assert len(acked) > 500 and {i: (v.number, v.digest) for i, v in got.items() if i in acked} == acked
    assert [v.number for v in s.find('model', 'm')] == list(range(len(got), 0, -1))
    assert len(got) == len(s.find('model', 'm'))
    s.gc(grace=0)
    assert s.verify() == []
    assert {d for d, _, _ in s.blobs.all()} == {v.body['files'][0]['blob'] for v in got.values()}
    assert [p.name for p in (s.blobs.local/'tmp').iterdir() if not p.name.startswith(('stat.db', 'lease'))] == []


# --- collection ------------------------------------------------------------------------------------------------------

def test_collection_leaves_what_is_referenced_or_young(store, tmp_path):
    src = tmp_path/'src'
    src.mkdir()
    for i in range(10): (src/f'{i}').write_bytes(b'%d' % i*50)
    files = store.blobs.put_folder(src)
    store.put('model', 'm', {'files': files[:3]})
    assert store.gc()['blobs'] == 0 # Younger than a day
    assert store.gc(grace=0, dry=True)['blobs'] == 7 and len(list(store.blobs.all())) == 10
    assert store.gc(grace=0)['blobs'] == 7
    assert {d for d, _, _ in store.blobs.all()} == {f['blob'] for f in files[:3]} and store.verify() == []
    assert store.gc(grace=0) == {'blobs': 0, 'bytes': 0, 'temporary': 0}


def test_collection_waits_for_nobody_who_writes(store):
    with store.blobs.lease():
        with pytest.raises(Failed, match='being written'): store.gc(grace=0)


def test_collection_races_with_writers(tmp_path):
    "Writers take blobs up again that a collection without grace is about to delete"
    Store(tmp_path/'s').close()
    stop = time.monotonic()+3
    def work(i):
        s, n = Store(tmp_path/'s'), 0
        while time.monotonic() < stop:
            if i == 0:
                try: s.gc(grace=0)
                except Failed: pass
                time.sleep(.005)
                continue
            with s.blobs.lease():
                b = s.blobs.put_bytes(b'%d' % (n%7)*400)
                s.put('model', f'm{i}', {'n': n, 'files': [dict(path='w', **b)]})
            n += 1
            time.sleep(.001)
    assert _children(4, work) == [0]*4
    s = Store(tmp_path/'s')
    assert len(s.find(all=True)) > 100 and s.verify() == []


# --- disk and files --------------------------------------------------------------------------------------------------

FULL = '''
import resource, signal, sys
from pathlib import Path
from llmops.store import Store
from llmops.core import Full
s = Store(Path('s'))
s.put('model', 'm', {'x': 1})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
out = []
for f in (lambda: s.blobs.put_bytes(bytes(400_000)), lambda: s.blobs.put_file('big.bin'),
          lambda: s.blobs.put_folder('many')):
    try: f(); out.append('wrote')
    except Full as e: out.append('full')
print(out, len(list(s.blobs.all())),
      [p.name for p in Path('s/blobs/tmp').iterdir() if not p.name.startswith(('stat', 'lease'))])
'''


def test_a_full_disk_gives_a_clear_error_and_no_half_blob(tmp_path):
    (tmp_path/'big.bin').write_bytes(bytes(500_000))
    (tmp_path/'many').mkdir()
    for i in range(100): (tmp_path/'many'/str(i)).write_bytes(random.Random(i).randbytes(5000))
    r = subprocess.run([sys.executable, '-c', FULL], cwd=tmp_path, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    assert r.stdout.strip() == "['full', 'full', 'full'] 0 []"
    s = Store(tmp_path/'s')
    # Room again: no restart, no repair
    assert s.verify() == [] and s.blobs.put_file(tmp_path/'big.bin')['size'] == 500_000


def test_a_full_disk_under_the_database_gives_a_clear_error(tmp_path):
    s = Store(tmp_path/'s')
    s.put('model', 'm', {'x': 0})
    s.db.raw.execute('pragma max_page_count=40')
    with pytest.raises(Full):
        for i in range(1, 2000): s.put('model', 'm', {'x': i, 'pad': 'y'*500})
    n = s.find('model', 'm')[0].number
    s.db.raw.execute('pragma max_page_count=1000000')
    assert s.put('model', 'm', {'again': True}).number == n+1 and s.verify() == []


@pytest.mark.parametrize('content', [b'', b'garbage'*200, b'SQLite format 3\0'+b'\xff'*200])
def test_a_database_that_is_none_is_named_and_left_alone(tmp_path, content):
    (tmp_path/'s').mkdir()
    (tmp_path/'s'/'store.db').write_bytes(content)
    if content == b'':
        assert Store(tmp_path/'s').find() == [] # An empty file is a new database
        return
    with pytest.raises(Failed, match='no usable store'): Store(tmp_path/'s')
    assert (tmp_path/'s'/'store.db').read_bytes() == content


def test_a_store_of_a_newer_program_is_refused(tmp_path):
    Store(tmp_path/'s').close()
    with sqlite3.connect(tmp_path/'s'/'store.db') as c: c.execute("update alembic_version set version_num='9999'")
    with pytest.raises(Failed, match='newer'): Store(tmp_path/'s')


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    b, p = Blobs(tmp_path/'b'), tmp_path/'x.bin'
    p.write_bytes(bytes(400_000))
    import llmops.blobs as m
    real = m.hash_file
    def slow(path, *a):
        d = real(path, *a)
        if Path(path) == p: p.write_bytes(b'1'*400_001)
        return d
    monkeypatch.setattr(m, 'hash_file', slow)
    with pytest.raises(Invalid, match='changed'): b.put_file(p)


@pytest.mark.parametrize('make', [lambda d: (d/'l').symlink_to('/etc/passwd'), lambda d: (d/'l').symlink_to(d.parent),
                                  lambda d: os.mkfifo(d/'f'),
                                  lambda d: (d/'a\\b').write_text('x'), lambda d: (d/'line\nbreak').write_text('x')])
def test_folders_that_hold_what_is_no_plain_file_are_refused(tmp_path, make):
    b, d = Blobs(tmp_path/'b'), tmp_path/'in'
    d.mkdir()
    (d/'ok.txt').write_text('x')
    make(d)
    with pytest.raises(Invalid): b.put_folder(d)


def test_a_manifest_that_leads_out_is_refused(tmp_path):
    b = Blobs(tmp_path/'b')
    e = b.put_bytes(b'x')
    for path in ('../x', '/tmp/x', 'a/../../x', 'a\0', '..\\x'):
        with pytest.raises(Invalid): b.get_folder([dict(path=path, **e)], tmp_path/'out')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['b', 'out'] and not list((tmp_path/'out').iterdir())


def test_unchanged_files_are_not_read_again(tmp_path):
    b, d = Blobs(tmp_path/'b'), tmp_path/'in'
    d.mkdir()
    for i in range(5): (d/f'{i}').write_bytes(random.Random(i).randbytes(1000))
    (d/'big').write_bytes(random.Random(9).randbytes(400_000))
    time.sleep(.03)
    first = b.put_folder(d)
    before = {p: p.stat().st_atime_ns for p in d.iterdir()}
    for p in d.iterdir(): os.utime(p, ns=(1, p.stat().st_mtime_ns)) # Reading would set the access time
    time.sleep(.03)
    assert b.put_folder(d) == first # ctime changed: read again, and remembered
    for p in before: p.chmod(0o000) if os.geteuid() else None
    assert b.put_folder(d) == first


def test_any_fsspec_url_holds_the_same_blobs(tmp_path):
    d = tmp_path/'in'
    d.mkdir()
    for i in range(5): (d/f'{i}').write_bytes(random.Random(i).randbytes(100))
    (d/'big').write_bytes(random.Random(9).randbytes(400_000))
    got = []
    for url in (tmp_path/'b1', 'memory://llmops-test', f'local://{tmp_path}/b2'):
        b = Blobs(url)
        m = b.put_folder(d)
        got.append(m)
        assert ({p.name: p.read_bytes() for p in b.get_folder(m, tmp_path/f'out{len(got)}').iterdir()}
                == {p.name: p.read_bytes() for p in d.iterdir()})
        assert {x for x, _, _ in b.all()} == {e['blob'] for e in m} and list(b.bad()) == []
        with pytest.raises(NotFound): b.get('0'*64)
    assert got[0] == got[1] == got[2]


