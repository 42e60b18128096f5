"Rows of datasets: whatever was shared, moved or written anew, what is read is what was written."
import random

import pytest
from hypothesis import given, settings, strategies as st

import llmops.rows as R
from llmops.core import Failed
from llmops.store import Store


@pytest.fixture(scope='module')
def store(tmp_path_factory):
    with pytest.MonkeyPatch.context() as m:
        m.setattr(R, 'PLAIN', 200)
        m.setattr(R, 'SEGMENT', 500)
        s = Store(tmp_path_factory.mktemp('rows')/'store')
        yield s
        s.close()


def put(store, name, rows, base):
    put.n = getattr(put, 'n', 0)+1
    w = R.RowWriter(store, store.folder/'tmp'/f'w{put.n}', base, base)
    for r in rows: w.add(r)
    return store.put('dataset', name, dict(rows=w.count, files=w.close()))


def test_chains_of_versions_read_back_as_written(store):
    rnd = random.Random(7)
    versions = [put(store, 'a', [{'t': rnd.choice('abcdef')*rnd.randint(1, 20)} for _ in range(60)], [])]
    shared = 0
    for n in range(150):
        base = rnd.sample(versions, min(len(versions), rnd.randint(0, 3)))
        out = []
        for r in (r for b in base for r in R.rows(store, b)):
            x = rnd.random()
            if x < .1: continue
            if x < .15: r = r | {'t': r['t']+'!'}
            if x < .2: out.append({'t': f'new {rnd.randint(0, 9)}'})
            out.append(r)
        if rnd.random() < .2: rnd.shuffle(out)
        out = out[:400]
        v = put(store, f'a{n}', out, base)
        shared += any(e['path'] == 'rows/slices' for e in v.body['files'])
        assert list(R.rows(store, v, origin=False)) == [{'t': r['t']} for r in out]
        for i in range(0, len(out), 9):
            of = R.origin_of(store, v, i+1)
            assert {k: of.get(k) for k in ('_from', '_row')} == {k: out[i].get(k) for k in ('_from', '_row')}
        a, b = rnd.randint(0, len(out)), rnd.randint(0, len(out))
        assert [r['t'] for r in R.rows(store, v, a, b)] == [r['t'] for r in out[a:b]]
        assert [R.parse(x) for x in R.rows_file(store, v).read_bytes().splitlines()] == [{'t': r['t']} for r in out]
        versions = [x for x in [*versions, v][-8:] if x.body['rows']] or [put(store, 'z', [{'t': 'q'}]*30, [])]
    assert shared > 50 # Both ways of storing were met


json_value = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                          | st.text(st.characters(exclude_categories=['Cs'])),
                          lambda x: st.lists(x, max_size=3) | st.dictionaries(
                              st.text(st.characters(exclude_categories=['Cs'])), x, max_size=3), max_leaves=8)


@given(st.dictionaries(st.text(st.characters(exclude_categories=['Cs'])).filter(lambda k: k not in R.ORIGIN),
                       json_value, max_size=4))
@settings(max_examples=300, deadline=None)
def test_a_line_is_the_row(row):
    got = R.parse(R.line_of(row))
    assert got == row and repr(got) == repr(row)
    assert b'\n' not in R.line_of(row)


def test_a_damaged_segment_is_named(store):
    v = put(store, 'hurt', [{'t': f'{i} '*30} for i in range(40)], [])
    blob = next(e['blob'] for e in v.body['files'] if e['path'].endswith('.jsonl'))
    at = store.blobs.local/blob[:2]/blob
    at.chmod(0o644)
    at.write_bytes(at.read_bytes().replace(b'1', b'2', 1))
    with pytest.raises(Failed, match='llmops verify'): list(R.rows(store, v))
