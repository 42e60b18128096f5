"On Ray: trials of a search and processes of a training are workers of a cluster; one that is killed is replaced or named, and nothing hangs."
import json
import os
import signal
import threading
import time

import pytest

from llmops.core import Failed, Invalid

pytest.importorskip('ray', reason='needs Ray: pip install llmops-workbench[ray]')
pytest.importorskip('optuna', reason='a search needs optuna: pip install llmops-workbench[train]')
from test_search import FIXED, SPACE, told, tiny  # noqa: E402, F401

from llmops.training.study import trials_of  # noqa: E402

JOBS = '''
import os, signal, time
from pathlib import Path
import torch, torch.distributed as dist
from llmops.core import Invalid

def failing(job, tell, asked):
    (Path(job['work'])/f'started-{os.environ["RANK"]}-{time.time_ns()}').touch()
    if os.environ['RANK'] == '1': raise Invalid('Row 3 has no answer')
    dist.barrier()

def dying(job, tell, asked):
    x = torch.tensor([int(os.environ['RANK'])+1])
    dist.all_reduce(x)
    tell(dict(step=0, sum=int(x), world=dist.get_world_size()))
    for step in range(1, 7):
        dist.barrier()
        tell(dict(step=step, resume=Path(job['resume']).name))
        if os.environ['RANK'] == '0':
            at = Path(job['work'])/f'checkpoint-{step}'
            at.mkdir(exist_ok=True)
            (at/'kept.json').write_text('{}')
        dist.barrier()
        if step == 3 and os.environ['RANK'] == '1' and (job['always'] or not job['resume']): os.kill(os.getpid(), 9)
    while not asked(): time.sleep(.1)
    tell(dict(step=7, said=asked()))
'''


def left(me):
    "Processes of Ray that this process started"
    import psutil
    def words(p):
        "Its command line; none of one that has ended by now"
        try: return ' '.join(p.cmdline() or [p.name()])
        except (psutil.NoSuchProcess, psutil.ZombieProcess): return ''
    return [p for p in psutil.Process(me).children(recursive=True)
            if any(w in words(p) for w in ('raylet', 'gcs_server', 'ray::'))]


@pytest.fixture(scope='module')
def ray(tmp_path_factory):
    "One small Ray for all tests"
    from llmops.engines.ray_cluster import cluster
    at = tmp_path_factory.mktemp('jobs')
    (at/'ray_jobs.py').write_text(JOBS)
    was = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = str(at) + (os.pathsep+was if was else '')
    with cluster(2) as r: yield r
    os.environ.pop('PYTHONPATH') if was is None else os.environ.update(PYTHONPATH=was)
    end = time.monotonic()+60
    while left(os.getpid()) and time.monotonic() < end: time.sleep(.2)
    assert left(os.getpid()) == []


def job(tmp_path, **more):
    from llmops.tuning import complete
    return (complete(dict(launcher='ray', nproc=2, device='cpu', restarts=more.pop('restarts', 0)))
            | dict(resume='', work=str(tmp_path), always=False) | more)


def test_a_worker_s_own_error_is_told(ray, tmp_path):
    from llmops.engines.ray_train import launch
    with pytest.raises(Invalid, match='^Row 3 has no answer$'): list(launch(job(tmp_path), work='ray_jobs:failing'))
    assert len(list(tmp_path.glob('started-1-*'))) == 1


@pytest.mark.parametrize('always', [False, True])
def test_a_killed_worker_is_replaced_or_named(ray, tmp_path, always):
    "All start again from the last checkpoint; where there is no restart left, the end is told"
    from llmops.engines.ray_train import launch
    rows = []
    def run():
        for row in launch(job(tmp_path, always=always, restarts=0 if always else 1),
                          lambda: 'pause' if any(r['step'] == 6 for r in rows) else '', work='ray_jobs:dying'):
            rows.append(row)
    if always:
        with pytest.raises(Failed, match='Process 1 of 2 was killed in its Ray worker'): run()
        assert [r['step'] for r in rows] == [0, 1, 2, 3]
        return
    run()
    again = next(r for r in rows if 'restart' in r)
    assert (again['restart'], again['resumed']) == (1, 3) and 'Started again from step 3' in again['message']
    assert [r['step'] for r in rows if 'resume' in r] == [1, 2, 3, 1, 2, 3, 4, 5, 6]
    assert {r['resume'] for r in rows if 'resume' in r} == {'', 'checkpoint-3'}
    assert [(r['sum'], r['world']) for r in rows if 'sum' in r] == [(3, 2)]*2 and rows[-1] == dict(step=7, said='pause')


def worker_pids():
    import psutil
    return [p.pid for p in psutil.process_iter(['cmdline']) if 'RayTrainWorker' in ' '.join(p.info['cmdline'] or [])]


def test_a_training_loses_a_worker_and_ends_as_if_it_had_not(ray, ws, tiny):  # noqa: F811
    "Fine-tuning in two workers, one killed after a checkpoint: the run goes on from that step to its end"
    from llmops.verbs import call
    killed = []
    def see(row):
        if row.get('step', 0) >= 4 and 'loss' in row and not killed:
            killed.append(worker_pids()[-1])
            os.kill(killed[0], signal.SIGKILL)
    plain = dict(model=tiny['model'], data=tiny['data'], max_steps=40, batch=4, max_length=64, save_steps=2, log_every=1,
                 nproc=2, device='cpu')  # Steps go on between a row and the kill that it brings
    v = call(ws.store, 'sft', plain | dict(out='rays', launcher='ray', restarts=1), progress=see)
    rows = [e.data for e in ws.store.events('step', about=f'run:{v.made_by}')]
    again = [r for r in rows if 'restart' in r]
    assert len(killed) == 1 and [r['restart'] for r in again] == [1] and again[0]['resumed'] in range(2, 40, 2)
    at = rows.index(again[0])
    after = [r['step'] for r in rows[at+1:] if 'loss' in r]
    assert after[-1] == 40 and after[0] in (1, again[0]['resumed']+1)
    one = call(ws.store, 'sft', plain | dict(out='one', nproc=1))
    last = {n: [e.data['loss'] for e in ws.store.events('step', about=f'run:{x.made_by}')
                if e.data.get('step') == 40 and 'loss' in e.data][-1] for n, x in (('rays', v), ('one', one))}
    assert last['rays'] == pytest.approx(last['one'], rel=.02)


def test_a_search_on_ray_loses_a_worker_and_goes_on(ray, ws, tiny):  # noqa: F811
    "Two trials at a time; one worker is killed: its trial is tried again. The same command with more trials goes on"
    killed, over = [], threading.Event()
    def kill():
        while not killed and not over.wait(.1):
            for r in trials_of(ws.store, 'r'):
                run = ws.store.state(f'run:{r["run"]}', 'run')
                if r['status'] == 'running' and run and run['status'] == 'running':
                    killed.append((r['number'], r['run']))
                    os.kill(run['pid'], signal.SIGKILL)
                    return
    plain = dict(tiny, space=SPACE, fixed=FIXED, startup=2, seed=1, out='r', tuner='ray', jobs=2, pruner='asha',
                 max_new_tokens=4)
    th = threading.Thread(target=kill, daemon=True)
    th.start()
    try: best, report = ws.search(**plain, trials=3)
    finally: over.set()
    rows = trials_of(ws.store, 'r')
    assert [r['number'] for r in rows] == [0, 1, 2] and {r['status'] for r in rows} <= {'done', 'pruned'}
    assert len(killed) == 1
    assert [r['tries'] for r in rows] == [2 if r['number'] == killed[0][0] else 1 for r in rows]
    runs = [ws.store.state(f'run:{r["run"]}', 'run') for r in rows]
    assert [r['status'] for r in runs] == [dict(done='done', pruned='stopped')[r['status']] for r in rows]
    assert os.getpid() not in {r['pid'] for r in runs}
    assert ws.store.state(f'run:{killed[0][1]}', 'run')['status'] == 'failed' and report.body['engine']['name'] == 'ray'
    ws.search(**plain, trials=4)
    assert told(trials_of(ws.store, 'r'))[:3] == told(rows) and len(trials_of(ws.store, 'r')) == 4


@pytest.mark.postgres
def test_workers_write_to_postgresql(ray, pg_url, tmp_path, monkeypatch, request):
    from llmops.store import Store
    from llmops.verbs import Workspace
    monkeypatch.chdir(tmp_path)
    with Workspace(Store(pg_url, blobs=tmp_path/'blobs')) as ws:
        from conftest import ROOT
        from test_search import WORDS, talk
        sets = {}
        for k, part in (('data', WORDS[:16]), ('evaluation', WORDS[16:24]), ('test', WORDS[24:])):
            (tmp_path/f'{k}.jsonl').write_text('\n'.join(json.dumps(talk(w, i)) for i, w in enumerate(part)))
            sets[k] = ws.load(tmp_path/f'{k}.jsonl', out=k)
        best, report = ws.search(ws.add('model:tiny', str(ROOT/'assets/tiny-qwen')), **sets, space='lr=1e-3,5e-3',
                                 fixed=FIXED, trials=1, tuner='ray', out='pg', max_new_tokens=4)
        row, = trials_of(ws.store, 'pg')
        assert row['status'] == 'done' and ws.store.state(f'run:{row["run"]}', 'run')['pid'] != os.getpid()
        assert ws.store.verify() == []
