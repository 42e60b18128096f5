"""The product's main job, through its own command: killed on the way, taken up again, and proven to the end."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import llmops
from llmops.core import LlmopsError
from llmops.faces.templates import check_templates

ROOT = Path(__file__).resolve().parent.parent
LLMOPS = [sys.executable, '-c', 'import sys; from llmops.faces.cli import main; sys.exit(main())']


def test_templates_obey_their_rules():
    assert len(list((ROOT/'templates').glob('*.ipynb'))) >= 4 and check_templates(ROOT/'templates') == []


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "A workspace for all of this file; what it started is stopped at the end"
    d = tmp_path_factory.mktemp('journey')
    yield d
    with llmops.open(d/'ws') as ws:
        for row in ws.deployments():
            if row['actual'] == 'up': ws.stop(deployment=row['ref'])


def quickstart(folder, *args):
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'LLMOPS_SERVER': 'transformers',
           'LLMOPS_PHOENIX_PYTHON': '/nonexistent', 'LANG': 'C.UTF-8'}
    return subprocess.Popen([*LLMOPS, 'quickstart', '--dir', 'ws', '--rows', '1500', '--steps', '100', '--json', *args],
                            cwd=folder, env=env,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def steps(err: str) -> dict:
    "Title of a step → what its last line says"
    out = {}
    for line in err.splitlines():
        if '/13 ' in line:
            out[line[7:33].strip()] = line[33:].rsplit(maxsplit=2)[0].strip() if line[33:81].strip() else ''
    return out


def test_a_killed_quickstart_goes_on_where_it_was(folder):
    "Killed with its worker in the middle of a training, it keeps what was made; killed alone, it watches the run"
    p = quickstart(folder)
    end, ws = time.monotonic()+200, None
    learning = []
    while not learning:
        assert p.poll() is None and time.monotonic() < end, p.stderr.read()
        time.sleep(.3)
        if not (folder/'ws'/'store'/'store.db').exists(): continue
        try: ws = ws or llmops.open(folder/'ws')
        except LlmopsError: continue # The store is being made
        runs = [r for _, r in ws.store.states('run')]
        learning = [r for r in runs if r['verb'] == 'sft']
    worker = next(r for r in runs if r['id'] == learning[0]['parent'])
    os.killpg(p.pid, signal.SIGKILL)
    os.kill(worker['pid'], signal.SIGKILL)
    p.communicate()
    p = quickstart(folder)
    out, err = p.communicate(timeout=900)
    assert p.returncode == 0, err
    said = steps(err)
    assert [said[s] for s in ('bring rows in', 'clean', 'hold rows out', 'base model')] == ['kept']*4, err
    assert said['fine-tune'] == 'model:tickets-sft@1' and said['deploy'] == 'deployment:tickets@1', err
    states = {r['id']: r['status'] for _, r in ws.store.states('run')}
    assert states[worker['id']] == states[learning[0]['id']] == 'failed' and set(states.values()) == {'done', 'failed'}
    assert not ws.store.verify()
    ws.store.close()
    (folder/'refs.json').write_text(out)


def test_it_made_a_proven_release_that_answers(folder):
    rows = {r['ref']: r for r in json.loads((folder/'refs.json').read_text())}
    assert set(rows) == {f'{k}@1'
                         for k in ('dataset:tickets', 'dataset:tickets-clean', 'dataset:tickets-train',
                                   'dataset:tickets-test', 'dataset:tickets-phrasings', 'model:tiny-qwen',
                                   'model:tickets-sft', 'model:tickets', 'report:tickets-evaluation',
                                   'report:tickets-parity', 'report:tickets', 'release:tickets', 'deployment:tickets')}
    with llmops.open(folder/'ws') as ws:
        proof = ws.store.get('report:tickets').body
        assert proof['passed'] and proof['results'][0]['model'] >= .8 and proof['results'][0]['baseline'] <= .1
        assert ws.store.get('model:tiny-qwen@base').number == 1
        assert json.loads(ws.chat(deployment='deployment:tickets',
                                  message='Order 40721, Mira: where is my parcel?')['answer'])['order'] == 40721
        line = {x['ref'] for x in ws.lineage(ref='deployment:tickets')}
        assert {'release:tickets@1', 'report:tickets@1', 'model:tickets@1', 'model:tickets-sft@1',
                'dataset:tickets-train@1', 'dataset:tickets@1', 'model:tiny-qwen@1'} <= line
        stale = ws.stale(ref='deployment:tickets', upstream=True)
        assert {x['state'] for x in stale} == {'same'}
        assert {x['template'] for x in stale} >= {'prepare', 'finetune', 'evaluate', 'release'}
    page = (folder/'ws'/'tickets-report.html').read_text()
    assert page.startswith('<!doctype html>') and "default-src 'none'" in page
    assert 'http://' not in page.replace('http://www.w3.org', '')


def test_run_again_it_keeps_everything(folder):
    with llmops.open(folder/'ws') as ws: before = {(k, n): c for k, n, c in ws.store.names()}
    p = quickstart(folder)
    out, err = p.communicate(timeout=300)
    assert p.returncode == 0 and set(steps(err).values()) == {'kept'} and len(steps(err)) == 13, err
    assert [r['digest'] for r in json.loads(out)] == [r['digest'] for r in json.loads((folder/'refs.json').read_text())]
    with llmops.open(folder/'ws') as ws: assert {(k, n): c for k, n, c in ws.store.names()} == before


def test_a_file_that_is_not_there_is_refused_before_anything_is_made(folder):
    p = quickstart(folder, '--dir', 'other', '--data', 'nowhere.json')
    _, err = p.communicate(timeout=60)
    assert p.returncode == 1 and 'nowhere.json is not a file' in err and not (folder/'other').exists()
