"""A training that was killed, paused, stopped or went wrong: nothing is lost, and going on gives what it would have given."""
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip('trl', reason="training needs the packages of the 'train' extra")

from conftest import ROOT
from llmops.core import Failed, Full, Invalid, Stopped
from llmops.data.samples import draw, write_rows
from llmops.store import Store
from llmops.training.checkpoints import Keeper, best_of, kept, work_folder
from llmops.verbs import Workspace, call, files

BASE = ROOT/'assets'/'tiny-qwen'
RECIPE = dict(max_steps=18, batch=4, save_steps=3, log_every=1, lr=2e-3)
# Its weights after n steps are those of a run of n steps
LONG = RECIPE | dict(max_steps=600, schedule='constant', warmup=0.)


@pytest.fixture
def ready(ws, tmp_path):
    "A workspace with the small base model and sixty rows"
    ws.add('model:tiny', str(BASE))
    rows = write_rows([r for r in draw(dirty=False) if r['split'] == 'train'][:60], tmp_path/'rows.jsonl')
    ws.load(rows, out='tickets')
    return ws


def weights(ws, v) -> bytes:
    return (files(ws.store, v)/'model.safetensors').read_bytes()


def newest(ws, verb='sft') -> dict:
    return [r for _, r in ws.store.states('run', limit=20) if r['verb'] == verb][0]


def killed(ws, command: list[str], step: int, after: float) -> dict:
    "Start llmops and kill it without warning once a checkpoint of `step` begins to be written; the record that is left"
    env = {**os.environ, 'LLMOPS_STORE': str(ws.store.folder), 'OMP_NUM_THREADS': '1'}
    p = subprocess.Popen([str(Path(sys.executable).with_name('llmops')), *command], env=env, stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, text=True)
    try:
        while p.poll() is None and not list(ws.store.folder.glob(f'runs/*/checkpoints/checkpoint-{step}')):
            time.sleep(.005)
        time.sleep(after)
        p.send_signal(signal.SIGKILL)
        assert p.wait() == -signal.SIGKILL, p.stderr.read()
    finally: p.kill()
    r = next(r for _, r in ws.store.states('run', limit=5) if r.get('pid') == p.pid)
    assert r['status'] == 'running' # It could not say that it ended
    return r


# --- killed ---------------------------------------------------------------------------------------------------------

def test_killed_twice_and_resumed_gives_the_very_weights_of_a_run_that_was_not(ready):
    ws, r = ready, random.Random(11)
    whole = ws.sft('model:tiny', 'dataset:tickets', out='whole', **RECIPE)
    flags = [x for k, v in RECIPE.items() for x in (f'--{k.replace("_", "-")}', str(v))]
    one = killed(ws, ['train', 'sft', '--model', 'model:tiny', '--data', 'dataset:tickets', '--out', 'model:again',
                      *flags], r.choice((6, 9)), r.uniform(0, .1))
    ws.load(write_rows(draw(dirty=True)[:30], Path('other.jsonl')), out='tickets') # A newer version of the same name
    two = killed(ws, ['resume', one['id']], 15, r.uniform(0, .1))
    assert ws.store.verify() == []
    steps = [x['step'] for x in kept(ws.store, two['id'])]
    assert steps and steps[-1] >= 3 and all(s % 3 == 0 for s in steps)
    with pytest.raises(Invalid, match=f"Run {one['id']} went on as run {two['id']}.*llmops resume {two['id']}"):
        ws.resume(one['id'])
    done = ws.resume(two['id'])
    assert weights(ws, done) == weights(ws, whole) and done.name == 'again'
    record = ws.store.state(f'run:{done.made_by}', 'run')
    assert record['resumes'] == two['id'] and record['reads']['data']['ref'] == 'dataset:tickets@1'
    curve, straight = ws.curve(one['id']), ws.curve(whole.made_by)
    assert [(x['step'], x['loss']) for x in curve] == [(x['step'], x['loss']) for x in straight]
    assert [x['step'] for x in curve] == list(range(1, 19)) and {x['run'] for x in curve} >= {two['id'], done.made_by}
    with pytest.raises(Invalid, match='ended well and wrote model:again@1'): ws.resume(done.made_by)


def test_killed_before_the_first_checkpoint_it_begins_again(ready):
    ws, few = ready, RECIPE | dict(max_steps=3, save_steps=-1)
    whole = ws.sft('model:tiny', 'dataset:tickets', out='whole', **few)
    flags = [x for k, v in (few | dict(out='again')).items() for x in (f'--{k.replace("_", "-")}', str(v))]
    p = subprocess.Popen([str(Path(sys.executable).with_name('llmops')), 'train', 'sft', '--model', 'model:tiny',
                          '--data', 'dataset:tickets', *flags],
                         env={**os.environ, 'LLMOPS_STORE': str(ws.store.folder), 'OMP_NUM_THREADS': '1'},
                         stdout=subprocess.DEVNULL)
    try:
        while p.poll() is None and newest(ws)['pid'] != p.pid: time.sleep(.02)
    finally: p.kill()
    assert p.wait() == -signal.SIGKILL
    one = newest(ws)
    (left := ws.store.folder/'tmp'/one['id']/'model').mkdir(parents=True, exist_ok=True)
    done = ws.resume(one['id'])
    assert weights(ws, done) == weights(ws, whole) and done.name == 'again'
    assert done.body['recipe'] == whole.body['recipe']
    assert [x['step'] for x in ws.curve(one['id'])] == [1, 2, 3]
    assert {x['run'] for x in ws.curve(one['id'])} == {done.made_by}
    assert ws.store.state(f'run:{done.made_by}', 'run')['resumes'] == one['id'] and not left.parent.exists()


def test_asked_to_end_by_a_signal_it_says_how_to_go_on(ready):
    ws, flags = ready, [x for k, v in LONG.items() for x in (f'--{k.replace("_", "-")}', str(v))]
    p = subprocess.Popen([str(Path(sys.executable).with_name('llmops')), 'train', 'sft', '--model', 'model:tiny',
                          '--data', 'dataset:tickets', *flags],
                         env={**os.environ, 'LLMOPS_STORE': str(ws.store.folder), 'OMP_NUM_THREADS': '1'},
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while p.poll() is None and not list(ws.store.folder.glob('runs/*/checkpoints/checkpoint-3/kept.json')):
            time.sleep(.02)
        p.send_signal(signal.SIGTERM)
        said = p.communicate()[1]
    finally: p.kill()
    r = newest(ws)
    assert p.returncode == 128+signal.SIGTERM
    assert said.splitlines()[-1] == f"llmops: stopped. Go on with: llmops resume {r['id']}"
    assert r['status'] == 'stopped' and kept(ws.store, r['id']) and ws.store.verify() == []


def test_a_process_killed_while_checkpoints_are_put_away_leaves_only_whole_ones(tmp_path):
    code = f'''
import json, os, sys
from pathlib import Path
from types import SimpleNamespace
from llmops.store import Store
from llmops.training.checkpoints import KEPT, Keeper
store = Store({str(tmp_path/'s')!r})
id = sys.argv[1]
store.append('run.start', f'run:{{id}}', id=id, verb='sft', status='running', reads={{}})
k = Keeper(SimpleNamespace(flush=lambda: None, store=store, id=id, by='me', about=f'run:{{id}}', record={{}}), dict(keep_last=2, keep_best=False))
print('begun', flush=True)
for step in range(1, 10_000):
    at = k.folder/f'checkpoint-{{step}}'
    at.mkdir()
    for i in range(4): (at/f'{{i}}.bin').write_bytes(os.urandom(2_000_000))
    (at/KEPT).write_text(json.dumps(dict(step=step, total=9, loss=1., eval_loss=None, files={{f'{{i}}.bin': 2_000_000 for i in range(4)}})))
    k.take(dict(checkpoint=str(at), step=step, loss=1., eval_loss=None))
    if step > 3:
        while (k.last() or dict(step=0))['step'] < step-2: pass
'''
    r = random.Random(5)
    for i in range(4):
        p = subprocess.Popen([sys.executable, '-c', code, f'abc{i}'], stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline() == 'begun\n'
        time.sleep(r.uniform(.2, 1.2))
        p.kill()
        p.wait()
    store = Store(tmp_path/'s')
    store.gc(grace=0)
    assert store.verify() == []
    found = [kept(store, f'abc{i}') for i in range(4)]
    # At most one more than the rule, when it was killed before the drop
    assert any(found) and all(len(f) <= 3 for f in found)
    for rows in found:
        for row in rows:
            assert sum(len(store.blobs.get(f['blob'])) for f in row['files'] if f['path'] != 'kept.json') == 8_000_000


def test_another_machine_with_the_same_store_goes_on(ready, tmp_path, monkeypatch):
    ws = ready
    run = asked(ws, 'paused')
    ws.store.append('run.start', f"run:{run['id']}",
                    **{**run, 'status': 'running', 'host': 'another-machine', 'ended': None})
    (work_folder(ws.store, run['id']).parent/'alive').unlink(missing_ok=True)
    with pytest.raises(Invalid, match=f"ran on another-machine and was heard of.*llmops resume {run['id']} --force"):
        ws.resume(run['id'])
    import shutil
    shutil.copytree(ws.store.folder, tmp_path/'elsewhere',
                    ignore=shutil.ignore_patterns('runs', 'cache', 'tmp', '*.lock'))
    (tmp_path/'elsewhere'/'blobs'/'tmp').mkdir(exist_ok=True)
    away = Workspace(Store(tmp_path/'elsewhere'))
    n = ws.checkpoints(run['id'])[-1]['step']+4
    done = away.resume(run['id'], force=True, max_steps=n)
    whole = ws.sft('model:tiny', 'dataset:tickets', out='whole', **{**LONG, 'max_steps': n})
    assert weights(away, done) == weights(ws, whole)


WORDS = 'cat dog sun tree blue red milk bread rain snow hand foot door wall fish bird ship road lamp book'.split()


def rows_of(verb: str) -> list[dict]:
    def m(text): return [dict(role='user', content=f'Say the word {text}.')]
    def said(text): return [dict(role='assistant', content=text)]
    if verb == 'pretrain': return [dict(text=f'{w} and {v} went home. '*3) for w in WORDS for v in WORDS[:4]]
    if verb == 'dpo': return [dict(prompt=m(w), chosen=said(w.upper()), rejected=said(w)) for w in WORDS]
    if verb == 'kto':
        return [dict(prompt=m(w), completion=said(w.upper() if i % 2 else w), label=bool(i % 2))
                for i, w in enumerate(WORDS)]
    return [dict(messages=m(w)+said(w*(1+i % 5))) for i, w in enumerate(WORDS)]


@pytest.mark.parametrize('verb, how', [
    # Random numbers, a short last step, several epochs
    ('sft', dict(method='lora', dropout=.3, epochs=3., max_steps=0, batch=6, micro_batch=2)),
    ('dpo', dict(max_steps=8, batch=6)), ('kto', dict(max_steps=8, batch=5)),
    ('pretrain', dict(max_steps=8, batch=2, max_length=64))])
def test_every_stage_goes_on_with_the_same_rows_and_random_numbers(ws, tmp_path, verb, how):
    ws.add('model:tiny', str(BASE))
    (tmp_path/'rows.jsonl').write_text('\n'.join(map(json.dumps, rows_of(verb))))
    ws.load(tmp_path/'rows.jsonl', out='d')
    args = dict(model='model:tiny', data='dataset:d', log_every=1, save_steps=2, **how)
    whole = call(ws.store, verb, dict(args, out='whole'))
    def stop(row):
        if row['step'] == 5: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): call(ws.store, verb, dict(args, out='again'), progress=stop)
    run = newest(ws, verb)
    assert run['status'] == 'stopped' and [x['step'] for x in kept(ws.store, run['id'])][-1] in (4, 6)
    done = ws.resume(run['id'])
    name = 'adapter_model.safetensors' if done.body['adapter'] else 'model.safetensors'
    assert (files(ws.store, done)/name).read_bytes() == (files(ws.store, whole)/name).read_bytes()
    assert ([(r['step'], r['loss']) for r in ws.curve(run['id'])]
            == [(r['step'], r['loss']) for r in ws.curve(whole.made_by)])


# --- asked ----------------------------------------------------------------------------------------------------------

def asked(ws, what: str, **more) -> dict:
    "The record of a training that somebody paused or stopped after its fourth step"
    seen: list = []
    def look(row):
        if row['step'] < 4 or seen: return
        seen.append(newest(ws)['id'])
        call(ws.store, 'pause' if what == 'paused' else 'stop_run',
             dict(id=seen[0], **({} if what == 'paused' else dict(grace=0))))
    with pytest.raises(Stopped, match=rf'was {what} at step \d+ of 600. Go on with: llmops resume'):
        call(ws.store, 'sft', dict(model='model:tiny', data='dataset:tickets', out='again', **{**LONG, **more}),
             progress=look)
    r = ws.store.state(f'run:{seen[0]}', 'run')
    assert r['status'] == what
    return r


def test_pause_keeps_a_checkpoint_and_ends_and_resume_goes_on(ready):
    ws = ready
    r = asked(ws, 'paused', save_steps=-1) # No checkpoints but the one of the pause
    rows = ws.checkpoints(r['id'])
    assert len(rows) == 1 and 4 <= rows[0]['step'] < 600
    with pytest.raises(Invalid, match=r'ended already \(paused\). Go on with it: llmops resume'): ws.pause(r['id'])
    n = rows[0]['step']+4
    done = ws.resume(r['id'], max_steps=n)
    assert (weights(ws, done)
            == weights(ws, ws.sft('model:tiny', 'dataset:tickets', out='whole', **{**LONG, 'max_steps': n})))
    assert [x['step'] for x in ws.curve(r['id'])] == list(range(1, n+1))


def test_stop_ends_after_a_step_and_keeps_what_was_kept(ready):
    r = asked(ready, 'stopped', keep_last=1)
    rows = ready.checkpoints(r['id'])
    assert rows and all(x['step'] % 3 == 0 for x in rows)


# --- went wrong -----------------------------------------------------------------------------------------------------

def test_a_divergence_names_its_step_and_the_last_good_checkpoint(ready):
    ws = ready
    with pytest.raises(Failed) as e:
        ws.sft('model:tiny', 'dataset:tickets', out='wild', **{**RECIPE, 'log_every': 7, 'lr': .9, 'warmup': .5,
                                                               'max_grad_norm': 0., 'save_steps': 1, 'max_spike': 2.})
    said, run = str(e.value), newest(ws)
    assert 'diverged' in said and run['status'] == 'failed'
    rows, bad = ws.checkpoints(run['id']), int(re.search(r'at step (\d+)', said)[1])
    assert rows and rows[-1]['step'] == bad-2 # The weights of the step before made the loss go wrong
    assert (f"The last good checkpoint, of step {bad-2}, is kept. "
            f"Go on from it with: llmops resume {run['id']} --lr RATE" in said)
    done = ws.resume(run['id'], lr=1e-3)
    after = [r for r in ws.curve(run['id']) if r['run'] == done.made_by]
    assert all(r['lr'] <= 1e-3 for r in after) and after[-1]['step'] == 18 and done.body['recipe']['lr'] == 1e-3


def test_weights_that_are_no_numbers_never_become_a_checkpoint_or_a_model(ready, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    net = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    with torch.no_grad(): net.model.norm.weight.fill_(1e38)
    net.save_pretrained(tmp_path/'base')
    AutoTokenizer.from_pretrained(BASE).save_pretrained(tmp_path/'base')
    ready.add('model:broken', str(tmp_path/'base'))
    with pytest.raises(Failed,
                       match='The loss is no longer a number at step 1 of 18.*No checkpoint was written before'):
        ready.sft('model:broken', 'dataset:tickets', out='no', **{**RECIPE, 'save_steps': 1, 'log_every': 10})
    run = newest(ready)
    assert ready.checkpoints(run['id']) == [] and not work_folder(ready.store, run['id']).exists()
    with pytest.raises(Invalid, match='left no checkpoint to go on from. '
                       'Start anew with: llmops train sft --model model:broken --data dataset:tickets'):
        ready.resume(run['id'])


def test_early_stop_ends_and_the_best_weights_are_the_result(ready, tmp_path):
    ws = ready
    other = [dict(messages=[dict(role='user', content=f'Say {w}'), dict(role='assistant', content=w*9)])
             for w in ('qx', 'zj', 'vk', 'wq')]
    (tmp_path/'other.jsonl').write_text('\n'.join(map(json.dumps, other)))
    ws.load(tmp_path/'other.jsonl', out='other') # What the training makes worse
    got = ws.sft('model:tiny', 'dataset:tickets', out='early', evaluation='dataset:other', patience=2, eval_steps=2,
                 **{**RECIPE, 'max_steps': 60, 'save_steps': 5})
    rows = [r for r in ws.curve(got.made_by) if 'eval_loss' in r]
    losses = [r['eval_loss'] for r in rows]
    assert rows[-1]['step'] < 60 and min(losses[-2:]) >= min(losses[:-2])
    best = best_of(kept(ws.store, got.made_by))
    assert best['eval_loss'] == min(losses)
    assert (weights(ws, got)
            == ws.store.blobs.get(next(f['blob'] for f in best['files'] if f['path'] == 'model.safetensors')))


def test_a_full_disk_at_a_checkpoint_is_said_and_nothing_is_lost(ready):
    ws = ready
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    seen: list = []
    def look(row):
        if seen or not kept(ws.store, newest(ws)['id']): return
        # The weights fit, the optimiser does not
        seen.append(resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, was[1])))
    try:
        with pytest.raises(
                Full,
                match=r'No room left for the checkpoint of step \d+. Nothing half-written is left. The last good checkpoint, of step \d+, is kept. Go on from it with: llmops resume'):
            call(ws.store, 'sft', dict(model='model:tiny', data='dataset:tickets', out='full',
                                       **{**RECIPE, 'max_steps': 400, 'save_steps': 20}), progress=look)
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, was)
    run = newest(ws)
    rows = ws.checkpoints(run['id'])
    assert rows and rows[-1]['step'] % 20 == 0 and ws.store.verify() == [] and run['status'] == 'failed'
    done = ws.resume(run['id'], max_steps=rows[-1]['step']+3)
    assert ws.curve(run['id'])[-1]['step'] == rows[-1]['step']+3 and done.name == 'full'


# --- the rule -------------------------------------------------------------------------------------------------------

def test_the_only_copy_is_never_deleted(tmp_path):
    from types import SimpleNamespace

    from llmops.training.checkpoints import KEPT
    store = Store(tmp_path/'s')
    store.append('run.start', 'run:aaaa', id='aaaa', verb='sft', status='running', reads={})
    keeper = Keeper(SimpleNamespace(flush=lambda: None, store=store, id='aaaa', by='me', about='run:aaaa', record={}),
                    dict(keep_last=1, keep_best=True))
    def write(step, loss, sound=True):
        at = keeper.folder/f'checkpoint-{step}'
        at.mkdir()
        (at/'w.bin').write_bytes(os.urandom(1000))
        (at/KEPT).write_text(json.dumps(dict(step=step, total=9, loss=loss, eval_loss=None,
                                             files={'w.bin': 1000 if sound else 1001})))
        keeper.take(dict(checkpoint=str(at), step=step, loss=loss, eval_loss=None))
    def there(): return [r['step'] for r in kept(store, 'aaaa')]
    def until(f):
        end = time.monotonic()+20
        while not f() and time.monotonic() < end: time.sleep(.02)
        assert f()
    write(1, .5)
    until(lambda: there() == [1])
    write(2, .9)
    until(lambda: there() == [1, 2]) # The best and the last
    write(3, .1)
    until(lambda: there() == [3])
    write(4, .05, sound=False) # Half written: it cannot be put away, so what was before stays
    keeper.close()
    assert there() == [3] and keeper.error is not None
    assert store.gc(grace=0)['blobs'] > 0 and store.verify() == []
    store.close()


def test_threads_end_with_the_run(ready):
    ready.sft('model:tiny', 'dataset:tickets', out='once', **{**RECIPE, 'max_steps': 3})
    assert not [t for t in threading.enumerate() if t.name in ('keeper', 'meter', 'trl')]
