"""How notebook runs end: well, badly, stopped, killed. Every run here is a real worker with a real kernel."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmops.core import Invalid, NotFound
from llmops.faces.notebook import record_of, run_template, stop_run, wait_for
from llmops.store import Store
from llmops.verbs import Workspace, call, load_all

KERNEL = dict(kernelspec=dict(name='python3', display_name='Python 3', language='python'))


def cell(source, id, **metadata):
    return dict(cell_type='code', id=id, source=source, metadata=metadata, outputs=[], execution_count=None)


def write(folder: Path, name: str, *sources, parameters='n: int = 1  # A number', **metadata):
    "A template: cell 0 is its heading, cell 1 its parameters, then `sources`"
    cells = [dict(cell_type='markdown', id='head', source=f'# {name}', metadata={}),
             cell(parameters, 'given', tags=['parameters'])]
    cells += [cell(s, f'cell{i}') for i, s in enumerate(sources, 2)]
    (folder/'templates').mkdir(parents=True, exist_ok=True)
    (folder/'templates'/f'{name}.ipynb').write_text(
        json.dumps(dict(nbformat=4, nbformat_minor=5, metadata={**KERNEL, **metadata}, cells=cells)))


@pytest.fixture
def ws(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'ws').mkdir()
    w = Workspace(Store(tmp_path/'ws', durability='normal'), tmp_path/'ws')
    yield w
    w.store.close()


def start(ws, *sources, wait=True, name='try', params=None, **how):
    write(ws.folder, name, *sources)
    return run_template(ws, name, params or {}, wait=wait, **how)


def kernel_of(ws, id, cell_id='cell2', timeout=40):
    "Wait until a cell has started, and give the process numbers of worker and kernel"
    end = time.monotonic()+timeout
    while time.monotonic() < end:
        r = ws.store.state(f'run:{id}', 'run')
        assert r['status'] in ('waiting', 'running'), r.get('error')
        p = ws.store.state(f'run:{id}', 'progress') or {}
        if p.get('cell') == cell_id and p['state'] == 'started': return r['pid'], r['kernel']['pid']
        time.sleep(.1)
    raise AssertionError(f'{cell_id} never started: {(ws.store.folder/"runs"/id/"worker.log").read_text()}')


def gone(pid, timeout=10):
    end = time.monotonic()+timeout
    while time.monotonic() < end:
        try: state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
        except OSError: return True
        if state in 'ZX': return True
        time.sleep(.05)
    return False


def statuses(ws, r):
    nb = json.loads(ws.store.blobs.get(r['executed']['blob']))
    return {c['id']: c['metadata']['papermill']['status'] for c in nb['cells'] if c['id'].startswith('cell')}


def test_a_good_run_keeps_its_notebook_its_page_and_its_progress(ws):
    r = start(ws, 'x = n+1\nx', 'print("<script>")', params=dict(n=41))
    assert (r['status'], r['error'] if 'error' in r else '', r['cells'],
            r['args']) == ('done', '', dict(done=4, total=4), dict(template='try', n=41))
    nb = json.loads(ws.store.blobs.get(r['executed']['blob']))
    assert ([''.join(c['source']) for c in nb['cells'] if c['metadata'].get('tags') == ['injected-parameters']]
            == ['# Parameters\nn = 41\n'])
    assert nb['cells'][3]['outputs'][0]['data']['text/plain'] == ['42']
    assert statuses(ws, r) == dict(cell2='completed', cell3='completed')
    page = ws.store.blobs.get(r['html']['blob']).decode()
    assert '&lt;script&gt;' in page and '<script' not in page and 'http-equiv="Content-Security-Policy"' in page
    assert ws.store.get('template:try').body['digest'] and r['reads']['template']['ref'] == 'template:try@1'
    kinds = [e.kind for e in ws.store.events(about=f'run:{r["id"]}')]
    assert kinds == ['run.queue', 'run.start', *['step']*8, 'run.done'] and not ws.store.verify()


BAD = {
    'error': (('x = 1', '1/0', 'y = 1'), {}, 'failed', 'cell3', 'ZeroDivisionError: division by zero',
              dict(cell2='completed', cell3='failed', cell4='pending')),
    'dead kernel': (('import os\nos.kill(os.getpid(), 9)', 'y = 1'), {}, 'failed', 'cell2', 'its kernel died',
                    dict(cell2='failed', cell3='pending')),
    'os._exit': (('import os\nos._exit(0)', 'y = 1'), {}, 'failed', 'cell2', 'its kernel died',
                 dict(cell2='failed', cell3='pending')),
    'sys.exit': (('import sys\nsys.exit(0)', 'y = 1'), {}, 'failed', 'cell2', 'it called sys.exit(0)',
                 dict(cell2='failed', cell3='pending')),
    'slow cell': (('import time\ntime.sleep(60)', 'y = 1'), dict(cell_timeout=1.5), 'failed', 'cell2',
                  'it took longer than 1.5 s', dict(cell2='failed', cell3='pending')),
    'slow run': (('import time\ntime.sleep(60)', 'y = 1'), dict(timeout=6), 'failed', 'cell2',
                 'the run took longer than 6 s', dict(cell2='failed', cell3='pending')),
    'flood': (('while True: print("x"*1_000_000)',), {}, 'failed', 'cell2', 'it wrote more than 50 MB of output',
              dict(cell2='failed')),
}


@pytest.mark.parametrize('how', BAD)
def test_a_bad_end_is_failed_with_the_cell_named(ws, how):
    sources, options, status, where, why, states = BAD[how]
    began = time.monotonic()
    r = start(ws, *sources, **options)
    assert (r['status'], r['cell']['id'], why in r['error']) == (status, where, True), r['error']
    number, line = int(where[4:]), sources[int(where[4:])-2].split('\n')[0]
    assert r['error'].startswith(f'Cell {number+1} ({where}, `{line}`): ') and r['cell']['index'] == number
    assert statuses(ws, r) == states and time.monotonic()-began < 45
    assert gone(r['pid']) and gone(r['kernel']['pid'])
    assert [e.kind for e in ws.store.events(about=f'run:{r["id"]}')][-1] == 'run.fail'


def test_a_stopped_run_is_stopped_and_nothing_is_left(ws):
    r = start(ws, 'import subprocess, time\np = subprocess.Popen(["sleep", "600"])\nprint(p.pid, '
              'flush=True)\ntime.sleep(600)', wait=False)
    worker, kernel = kernel_of(ws, r['id'])
    group = subprocess.run(['ps', '-o', 'pid=', '-g', str(kernel)], capture_output=True, text=True).stdout.split()
    r = stop_run(ws, r['id'])
    assert (r['status'], r['cell']['id'], r['error']) == ('stopped', 'cell2',
                                                          'Cell 3 (cell2, `import subprocess, time`): stopped')
    assert gone(worker) and all(gone(p) for p in group)
    with pytest.raises(Invalid, match='ended already'): stop_run(ws, r['id'])


def test_a_cell_that_refuses_to_stop_is_killed(ws):
    r = start(ws, 'import time\nwhile True:\n    try: time.sleep(600)\n    except KeyboardInterrupt: pass', wait=False)
    worker, kernel = kernel_of(ws, r['id'])
    r = stop_run(ws, r['id'], grace=20)
    assert r['status'] == 'stopped' and gone(worker) and gone(kernel)


def test_a_killed_worker_is_found_by_whoever_looks_next(ws):
    r = start(ws, 'import time\ntime.sleep(600)', wait=False)
    worker, kernel = kernel_of(ws, r['id'])
    os.kill(worker, signal.SIGKILL)
    assert gone(worker)
    shown = ws.runs()
    assert [(x['id'], x['status']) for x in shown] == [(r['id'], 'failed')]
    r = record_of(ws.store, r['id'])
    assert r['error'].startswith('Its process was killed or the machine went down in cell 3 (cell2, `import time`).')
    assert r['cell']['id'] == 'cell2'
    assert gone(kernel), 'its kernel is ended too'
    assert [e.kind for e in ws.store.events(about=f'run:{r["id"]}')].count('run.fail') == 1


def test_a_worker_that_cannot_even_start_is_found(ws, monkeypatch):
    write(ws.folder, 'try', 'x = 1')
    monkeypatch.setenv('PYTHONHOME', '/nonexistent')
    r = run_template(ws, 'try', {}, wait=True)
    assert r['status'] == 'failed' and 'It last said' in r['error']


def test_a_run_survives_the_death_of_its_parent(ws):
    write(ws.folder, 'try', 'import time\ntime.sleep(2)', 'print("still here")')
    code = f'''
from llmops.faces.notebook import run_template
from llmops.store import Store
from llmops.verbs import Workspace
from pathlib import Path
print(run_template(Workspace(Store({str(ws.store.folder)!r}), Path({str(ws.folder)!r})), 'try')['id'], flush=True)
import time; time.sleep(60)
'''
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True, start_new_session=True) as p:
        id = p.stdout.readline().strip()
        os.killpg(p.pid, signal.SIGKILL)
    assert p.returncode == -9
    r = wait_for(ws.store, id)
    assert r['status'] == 'done'
    assert json.loads(ws.store.blobs.get(r['executed']['blob']))['cells'][3]['outputs'][0]['text'] == ['still here\n']


def test_a_full_disk_fails_the_run_with_its_cell(ws, monkeypatch):
    "The kernel may write 200 KB to a file, which stands for a disk with no more room"
    r = start(ws, 'import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n'
              'resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))',
              'import llmops\nws = llmops.open()\nws.store.blobs.put_bytes(b"x"*1_000_000)')
    assert (r['status'], r['cell']['id']) == ('failed', 'cell3') and 'No room left' in r['error']
    assert not ws.store.verify()


def test_a_worker_without_room_for_its_notebook_fails(ws, tmp_path):
    "A small file system under the run's folder: the kernel is fine, its notebook is not kept"
    runs = ws.store.folder/'runs'
    runs.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', str(runs)], capture_output=True).returncode:
        pytest.skip('mounting is not allowed here')
    try:
        r = start(ws, 'print("x"*500_000)')
        assert r['status'] == 'failed' and 'no space left' in r['error'].lower(), r
    finally: subprocess.run(['umount', '-l', str(runs)], check=True)


def test_nothing_runs_when_the_request_is_wrong(ws):
    write(ws.folder, 'try', 'open("ran", "w")')
    before = ws.store.head()
    for name, params, how in [('try', {'x=1\nimport os': 1}, {}), ('try', dict(n='1'), {}), ('try', dict(m=1), {}),
                              ('tyr', {}, {}), ('../try', {}, {}), ('try', {}, dict(kernel='../../evil')),
                              ('try', {}, dict(kernel='pyton3')), ('try', {}, dict(needs=dict(gpu=99)))]:
        with pytest.raises((Invalid, NotFound)): run_template(ws, name, params, **how)
    assert ws.store.head() == before and not (ws.folder/'ran').exists() and not (ws.store.folder/'runs').exists()


def test_values_reach_the_notebook_exactly(ws):
    write(ws.folder, 'try', 'import json; open("seen.json", "w").write(json.dumps([s, d, f, b, q]))',
          parameters='s: str = ""  # Text\nd: dict = {}  # Mapping\nf: float = 0.0  # Number\n'
          'b: bool = False  # Switch\nq: str | None = "x"  # Maybe')
    given = dict(s='"""\\ \' {x} \n #%\t中文 \U0001f600 \0 \x1b', d={'a"b': [1, None, True, {'c': 'é\\n'}]}, f=1e-9,
                 b=True, q=None)
    r = run_template(ws, 'try', given, wait=True)
    assert r['status'] == 'done', r['error']
    assert json.loads((ws.folder/'seen.json').read_text()) == list(given.values())


def test_versions_know_their_cell_and_whether_it_changed(ws):
    load_all()
    write(ws.folder, 'make', 'import llmops\nws = llmops.open()', 'v = ws.store.put("dataset", "x", {"rows": 1}, "")',
          'from llmops import verbs\n'
          '@verbs.verb(writes="dataset")\ndef hold(run, n:int=1, out:str="held"):\n    "Keep a number"\n'
          '    return run.write("dataset", out, {"n": n})', 'ws.hold(n=n)')
    r = run_template(ws, 'make', dict(n=7), wait=True)
    assert r['status'] == 'done', r['error']
    assert r['made'] == ['dataset:held@1']
    child = ws.store.state(f"run:{ws.store.get('dataset:held').made_by}", 'run')
    template = ws.store.get('template:make')
    assert child['parent'] == r['id']
    assert ({k: child['notebook'][k] for k in ('cell', 'digest', 'template', 'line')}
            == dict(cell='cell5', digest=template.body['digest'], template='make', line='ws.hold(n=n)'))
    view = lambda: [(x['ref'], x['state'], x['cell']) for x in ws.stale(ref='dataset:held')]
    assert view() == [('dataset:held@1', 'same', 'cell5')]
    path = ws.folder/'templates'/'make.ipynb'
    nb = json.loads(path.read_text())
    def now(change):
        cells = [dict(c) for c in nb['cells']]
        change(cells)
        path.write_text(json.dumps({**nb, 'cells': cells}))
        return view()[0][1]
    assert now(lambda c: c[0].update(source='# Another title')) == 'elsewhere'
    assert now(lambda c: c[5].update(source='ws.hold(n=n+1)')) == 'changed'
    assert now(lambda c: c.pop(5)) == 'gone'
    path.unlink()
    assert view()[0][1] == 'gone'
    assert [x['state'] for x in ws.stale(ref='dataset:x')] == ['no notebook']


def test_a_kernel_like_labs_tells_the_cell_too(ws):
    "JupyterLab sends the cell's id with each request and names the notebook in JPY_SESSION_NAME"
    from jupyter_client.manager import start_new_kernel
    source = 'import llmops\nfrom llmops import verbs\nv = verbs.provenance()'
    nb = dict(nbformat=4, nbformat_minor=5, metadata=KERNEL, cells=[cell('1', 'a'), cell(source, 'b')])
    (ws.folder/'live.ipynb').write_text(json.dumps(nb))
    km, kc = start_new_kernel(env={**os.environ, 'JPY_SESSION_NAME': str(ws.folder/'live.ipynb'),
                                   'LLMOPS_STORE': str(ws.store.folder)})
    try:
        for code, id in (('import llmops, json\nllmops.open()', 'a'), (source, 'b'),
                         ('open("p.json", "w").write(json.dumps(v))', 'c')):
            msg = kc.session.msg('execute_request', dict(code=code, silent=False, store_history=True,
                                                         user_expressions={}, allow_stdin=False, stop_on_error=True),
                                 metadata=dict(cellId=id))
            kc.shell_channel.send(msg)
            while True:
                reply = kc.get_shell_msg(timeout=60)
                if reply['parent_header'].get('msg_id') == msg['header']['msg_id']: break
            assert reply['content']['status'] == 'ok', reply['content']
    finally:
        kc.stop_channels()
        km.shutdown_kernel(now=True)
    from llmops.core import digest
    from llmops.faces.templates import notebook_digest
    seen = json.loads(Path('p.json').read_text())
    assert seen == dict(path=str(ws.folder/'live.ipynb'), cell='b', source=digest(source), line='import llmops',
                        digest=notebook_digest(nb), index=1)


def test_calls_of_a_dead_process_are_found_too(ws):
    Path('hang.py').write_text(f'''
from llmops import verbs
from llmops.store import Store
@verbs.verb()
def hang(run):
    "Wait for ever"
    import time
    print(run.id, flush=True); time.sleep(600)
verbs.call(Store({str(ws.store.folder)!r}), 'hang')
''')
    with subprocess.Popen([sys.executable, 'hang.py'], stdout=subprocess.PIPE, text=True) as p:
        id = p.stdout.readline().strip()
        assert [(x['id'], x['status']) for x in ws.runs()] == [(id, 'running')]
        p.kill()
    assert [(x['id'], x['status']) for x in ws.runs()] == [(id, 'failed')]


def test_call_is_still_the_only_way_in(ws):
    with pytest.raises(NotFound): call(ws.store, 'run_template', dict(template='try'))
