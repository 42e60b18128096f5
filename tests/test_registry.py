"What the registry keeps true of every kind."
import pytest

from llmops.core import KINDS, Denied, Invalid, NotFound
from llmops.verbs import call, look


def put(ws, kind, name, **body): return ws.store.put(kind, name, body)


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_is_added_listed_aliased_and_archived(ws, tmp_path, kind):
    if kind in ('model', 'dataset'): v = put(ws, kind, 'x', a=1)
    else:
        (tmp_path/'b.json').write_text('{"a": 1}')
        v = ws.add(f'{kind}:x', str(tmp_path/'b.json'))
        assert v.body['a'] == 1
    ws.alias(v, 'prod')
    assert [(r['ref'], r['aliases'], r['status']) for r in ws.ls(kind)] == [(f'{kind}:x@1', ['prod'], '')]
    ws.archive(v, note='old')
    assert ws.ls(kind) == [] and ws.ls(kind, archived=True)[0]['status'] == 'archived'
    ws.archive(v, undo=True)
    assert ws.ls(kind)[0]['status'] == ''
    assert [e['kind'] for e in ws.history(f'{kind}:x')] == ['version', 'alias', 'archive', 'archive']


def test_an_alias_that_moved_is_still_known_as_it_was(ws):
    from llmops.core import now, stamp
    for i in range(3):
        put(ws, 'model', 'm', i=i)
        ws.alias('model:m', 'prod')
        t = stamp(now()+.001)
        import time
        time.sleep(.003)
        if i == 1: then = t
    assert ws.store.get('model:m@prod').number == 3
    assert [(r['ref'], r['alias']) for r in ws.state(at=then) if r['key'] == 'alias:prod'] == [('model:m@2', 'prod')]
    assert ([(e['data']['was'], e['data']['to']) for e in ws.history('model:m') if e['kind'] == 'alias']
            == [(None, 1), (1, 2), (2, 3)])


def test_an_approval_rests_on_a_report_about_the_very_thing(ws):
    a, b = put(ws, 'model', 'm', i=1), put(ws, 'model', 'm', i=2)
    good = put(ws, 'report', 'good', passed=True, subject=dict(model=dict(ref=str(a), digest=a.digest)))
    bad = put(ws, 'report', 'bad', passed=False, subject=dict(model=dict(ref=str(a), digest=a.digest)))
    head = ws.store.head()
    for ref, report, note in [(b, good, 'x'), (a, bad, 'x')]:
        with pytest.raises(Denied): ws.approve(ref, report=report, note=note)
    with pytest.raises(Invalid): ws.approve(a, report=good, note='')
    with pytest.raises(Invalid): ws.approve(a, report=a, note='x')
    assert ws.store.head() == head
    assert ws.approve(a, report=good, note='better')['status'] == 'approved'
    assert [r['status'] for r in ws.ls('model', all=True)] == ['approved', '']
    ws.reject(a, note='it lies')
    assert [r['status'] for r in ws.ls('model', all=True)] == ['rejected', '']


def test_a_second_person_where_the_policy_says_so(ws):
    put(ws, 'policy', 'default', approve=dict(second_person=True))
    v = call(ws.store, 'samples', dict(rows=100, out='d'), by='ana')
    r = put(ws, 'report', 'r', passed=True, subject=dict(data=dict(digest=v.digest)))
    with pytest.raises(Denied, match='second person'):
        call(ws.store, 'approve', dict(ref=v, report=r, note='fine'), by='ana')
    assert call(ws.store, 'approve', dict(ref=v, report=r, note='fine'), by='bo')['by'] == 'bo'


def test_rollback_goes_only_to_proven_versions(ws):
    vs = [put(ws, 'prompt', 'p', i=i) for i in range(4)]
    ws.alias(vs[3], 'prod')
    with pytest.raises(Denied): ws.rollback('prompt:p@prod')
    for v in (vs[0], vs[1]):
        ws.approve(v, report=put(ws, 'report', f'r{v.number}', passed=True, subject=dict(d=v.digest)), note='good')
    assert [r['ref'] for r in ws.proven_versions('prompt:p')] == ['prompt:p@1', 'prompt:p@2']
    with pytest.raises(Denied): ws.rollback('prompt:p@prod', to='3')
    assert ws.rollback('prompt:p@prod') == vs[1] and ws.rollback('prompt:p@prod', to='prompt:p@1') == vs[0]
    ws.reject(vs[0], note='no')
    with pytest.raises(Invalid): ws.rollback('prompt:p')
    assert ws.store.get('prompt:p@prod') == vs[0]


def test_what_is_retired_can_be_nothing_more(ws):
    v = put(ws, 'model', 'm', i=1)
    ws.alias(v, 'prod')
    with pytest.raises(Denied, match='Move the alias'): ws.retire(v, note='leaks')
    w = put(ws, 'model', 'm', i=2)
    ws.alias(w, 'prod')
    ws.retire(v, note='leaks')
    with pytest.raises(Denied): ws.alias(v, 'dev')
    assert [r['status'] for r in ws.ls('model', all=True)] == ['retired', '']


def test_lineage_goes_both_ways(ws):
    raw = ws.samples(rows=120)
    clean = ws.clean(raw)
    parts = ws.split(clean)
    up = [(r['ref'], r['depth'], r['verb']) for r in ws.lineage(parts[0]) if r['direction'] == 'up']
    down = {(r['ref'], r['depth'], r['verb']) for r in ws.lineage(raw) if r['direction'] == 'down'}
    assert up == [(str(clean), 1, 'split'), (str(raw), 2, 'clean')]
    assert down == {(str(clean), 1, 'clean')}|{(str(p), 2, 'split') for p in parts}


def test_compare_names_every_difference(ws):
    put(ws, 'release', 'r', a=1, files=[dict(path='x', blob='0'*64, size=1)], deep=dict(k=[1]))
    put(ws, 'release', 'r', a=1, files=[dict(path='y', blob='0'*64, size=1)], deep=dict(k=[2]), new=True)
    assert [(r['field'], r['change']) for r in ws.compare('release:r@1', 'release:r@2')] == \
           [('deep.k', 'changed'), ('files.x', 'removed'), ('files.y', 'added'), ('new', 'added')]
    put(ws, 'model', 'm')
    with pytest.raises(Invalid): ws.compare('release:r', 'model:m')


@pytest.mark.parametrize(('verb', 'args'), [
    ('alias', dict(ref='model:m', name='latest')), ('alias', dict(ref='model:m', name='3')),
    ('alias', dict(ref='model:m', name='a b')),
    ('alias', dict(ref='model:x', name='prod')), ('alias', dict(ref='model:m')),
    ('alias', dict(ref='model:m', name='p', nam='q')), ('alais', {}),
    ('add', dict(ref='prompt:p@2', path='f')), ('add', dict(ref='prompt:p', path='no such file')),
    ('retire', dict(ref='model:m', note=' ')),
    ('rollback', dict(ref='model:m@1')), ('clean', dict(data='model:m')), ('samples', dict(rows='many')),
    ('samples', dict(rows=1.5)), ('samples', dict(rows=True))])
def test_mistakes_leave_the_store_as_it_was(ws, verb, args):
    put(ws, 'model', 'm', i=1)
    head = ws.store.head()
    with pytest.raises((Invalid, NotFound)): call(ws.store, verb, args)
    now = ws.store.events(after=head[0])
    assert all(e.kind in ('run.start', 'run.fail') for e in now) and len(ws.store.find(all=True)) == 1


def test_views_refuse_what_verbs_refuse(ws):
    for args in (dict(kind='modle'), dict(colour=1), dict(limit='x')):
        with pytest.raises(Invalid): look(ws.store, 'ls', args)


def test_a_run_that_failed_says_so_and_wrote_nothing(ws):
    put(ws, 'dataset', 'empty', files=[])
    with pytest.raises(Exception): call(ws.store, 'clean', dict(data='dataset:empty'))  # noqa: B017
    r = ws.store.states('run', 1)[0][1]
    assert (r['verb'], r['status'], r['writes']) == ('clean', 'failed', []) and r['error']
    assert r['ended'] >= r['started']
    assert not list((ws.store.folder/'tmp').glob('*'))


def test_the_same_again_is_taken_from_before_only_when_asked(ws):
    a = call(ws.store, 'samples', dict(rows=100))
    n = ws.store.head()[0]
    assert call(ws.store, 'samples', dict(rows=100), reuse=True) == a and ws.store.head()[0] == n
    assert call(ws.store, 'samples', dict(rows=101), reuse=True) != a
    # Ran again: the same content is the same version
    assert call(ws.store, 'samples', dict(rows=100)) == a and ws.store.head()[0] > n


@pytest.mark.postgres
def test_the_same_verbs_and_commands_over_postgresql(pg_url, tmp_path):
    import json
    import os
    import subprocess
    import sys

    from llmops.store import Store
    from llmops.verbs import Workspace
    ws = Workspace(Store(pg_url, blobs=tmp_path/'blobs'))
    parts = ws.split(ws.clean(ws.samples(rows=120)))
    ws.alias(parts[0], 'prod')
    env = {**os.environ, 'LLMOPS_STORE': pg_url, 'LLMOPS_BLOBS': str(tmp_path/'blobs')}
    def run(*argv):
        r = subprocess.run([sys.executable, '-c', 'import sys; from llmops.faces.cli import main; sys.exit(main())',
                            *argv, '--json'], env=env, cwd=tmp_path, capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)
    assert ([r['ref'] for r in run('ls')] == [r['ref'] for r in ws.ls()]
            == ['dataset:tickets@1', 'template:tickets-clean@1', 'dataset:tickets-clean@1', *map(str, parts)])
    assert run('show', 'dataset:tickets-train@prod')[0]['aliases'] == ['prod']
    assert [r['ref'] for r in run('lineage', str(parts[0]))] == ['dataset:tickets-clean@1', 'dataset:tickets@1']
    assert run('verify') == []
    ws.store.close()
