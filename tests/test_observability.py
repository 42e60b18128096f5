"Metrics in W&B files, spans on disk and in a real Phoenix, and the dashboard in a real browser"
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llmops.core import Failed, NotFound
from llmops.engines.otlp import Keeper, Otlp
from llmops.engines.phoenix import Phoenix, python
from llmops.engines.wandb import Wandb
from llmops.observability.metrics import offline
from llmops.store import Store
from llmops.verbs import Workspace, load_all

load_all()


def wait(what, seconds=30, every=.1):
    "The first true answer within some seconds"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if got := what(): return got
        time.sleep(every)
    raise AssertionError(f'nothing true within {seconds} s')


# --- W&B -------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def wandb_file(tmp_path_factory):
    "A file that W&B wrote: 3,000 rows over several blocks of 32 KiB"
    home = tmp_path_factory.mktemp('wandb')
    sink = Wandb()
    run = sink.open('run1', dict(lr=1e-3, path=Path('x')), home)
    for i in range(3000): sink.log(run, dict(step=i, loss=1/(i+1), note='行'*20))
    end = sink.close(run)
    assert (end['rows'], end['dropped']) == (3000, 0)
    return Path(end['path'])


def without_times(rows): return [{k: v for k, v in r.items() if k != 'at'} for r in rows]


def test_rows_come_back_from_a_wandb_file_as_they_were_logged(wandb_file):
    assert wandb_file.stat().st_size > 5*32768
    rows, at = offline(wandb_file)
    assert without_times(rows) == [dict(step=i, loss=1/(i+1), note='行'*20) for i in range(3000)]
    assert at == wandb_file.stat().st_size
    assert offline(wandb_file, at) == ([], at)


def test_a_file_cut_at_any_byte_gives_its_whole_rows_and_goes_on_from_there(wandb_file, tmp_path):
    whole, rows = wandb_file.read_bytes(), offline(wandb_file)[0]
    cut = tmp_path/'cut.wandb'
    for n in (7, 8, 100, 32768, 32770, 65535, 65540, len(whole)//2, len(whole)-1):
        cut.write_bytes(whole[:n])
        first, at = offline(cut)
        assert at <= n and first == rows[:len(first)]
        cut.write_bytes(whole)
        assert first + offline(cut, at)[0] == rows
    cut.write_bytes(whole[:50_000] + b'\0'*4096)
    first, at = offline(cut) # zeros that a file system left
    assert 100 < len(first) and first == rows[:len(first)] and at < 50_000


def test_a_flipped_bit_in_a_wandb_file_is_said(wandb_file, tmp_path):
    bad = bytearray(wandb_file.read_bytes())
    bad[len(bad)//2] ^= 16
    (tmp_path/'bad.wandb').write_bytes(bad)
    with pytest.raises(Failed, match='damaged at byte'): offline(tmp_path/'bad.wandb')
    (tmp_path/'other.wandb').write_bytes(b'something else')
    with pytest.raises(Failed, match='not a W&B file'): offline(tmp_path/'other.wandb')


def test_wandb_leaves_nothing_outside_the_folder_and_prints_nothing(tmp_path):
    code = '''
import sys
from pathlib import Path
from llmops.engines.wandb import Wandb
s = Wandb()
h = s.open('quiet', {}, Path(sys.argv[1]))
s.log(h, dict(step=1, loss=.5))
s.close(h)
assert 'wandb' not in sys.modules
'''
    home, cwd = tmp_path/'home', tmp_path/'cwd'
    home.mkdir()
    cwd.mkdir()
    env = {k: v for k, v in os.environ.items() if not k.startswith(('WANDB', 'XDG'))} | dict(HOME=str(home))
    r = subprocess.run([sys.executable, '-c', code, str(tmp_path/'store')], cwd=cwd, env=env,
                       capture_output=True, text=True)
    assert (r.returncode, r.stdout, r.stderr) == (0, '', '')
    assert [list(home.rglob('*')), list(cwd.rglob('*'))] == [[], []]
    assert len(list((tmp_path/'store').rglob('run-quiet.wandb'))) == 1


def test_metrics_of_a_killed_training_are_kept(tmp_path):
    code = '''
import os, signal, sys, time
from pathlib import Path
from llmops.engines.wandb import Wandb
s = Wandb()
h = s.open('killed', {}, Path(sys.argv[1]))
for i in range(50): s.log(h, dict(step=i, loss=float(i)))
while h.rows < 50: time.sleep(.01)
os.kill(os.getpid(), signal.SIGKILL)
'''
    r = subprocess.run([sys.executable, '-c', code, str(tmp_path)])
    assert r.returncode == -signal.SIGKILL
    file = wait(lambda: next(iter(tmp_path.rglob('run-killed.wandb')), None))
    assert wait(lambda: len(offline(file)[0]) == 50)


def test_a_sink_that_died_or_is_full_loses_rows_and_no_training(tmp_path):
    sink = Wandb()
    run = sink.open('dies', {}, tmp_path, size=10)
    run.process.kill()
    run.process.wait()
    for i in range(1000): sink.log(run, dict(step=i, loss=1.)) # Must not raise and not wait
    end = sink.close(run, seconds=5)
    assert end['rows'] + end['dropped'] == 1000 and end['dropped'] > 0 and end['path'] == ''


# --- spans -----------------------------------------------------------------------------------------------------------

class Chat(BaseHTTPRequestHandler):
    "Speaks as much of OpenAI's protocol as a client needs"
    def log_message(self, *a): pass
    def say(self, *chunks):
        for c in chunks:
            self.wfile.write(
                f'data: {json.dumps(dict(id="1", object="chat.completion.chunk", created=1, model="m", **c))}\n'
                '\n'.encode())
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers['content-length'])))
        usage = dict(prompt_tokens=5, completion_tokens=2, total_tokens=7)
        if asked['messages'][-1]['content'] == 'refuse':
            self.send_response(400)
            self.end_headers()
            self.wfile.write(b'{"error": {"message": "too long"}}')
            return
        time.sleep(.05) # It thinks
        self.send_response(200)
        self.send_header('content-type', 'text/event-stream' if asked.get('stream') else 'application/json')
        self.end_headers()
        if asked.get('stream'):
            delta = lambda t: dict(choices=[dict(index=0, delta=dict(content=t))])
            self.say(delta('bil'), delta('ling'), dict(choices=[dict(index=0, delta={}, finish_reason='stop')]),
                     dict(choices=[], usage=usage))
            self.wfile.write(b'data: [DONE]\n\n')
        else:
            answer = dict(index=0, message=dict(role='assistant', content='billing'), finish_reason='stop')
            self.wfile.write(json.dumps(dict(id='1', object='chat.completion', created=1, model='m', choices=[answer],
                                             usage=usage)).encode())


@pytest.fixture(scope='module')
def chat_url():
    server = ThreadingHTTPServer(('127.0.0.1', 0), Chat)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/v1'
    server.shutdown()


REFS = {'llmops.release': 'release:tickets@1', 'llmops.deployment': 'deployment:tickets@1',
        'llmops.model': 'model:tickets@1'}


def ask(tracer, url, times=1):
    "Plain, streamed, streamed and left early, refused: four spans each time"
    import httpx
    import openai
    client = tracer.watch(openai.OpenAI(base_url=url, api_key='k', max_retries=0,
                                        http_client=httpx.Client(trust_env=False)), REFS)
    assert tracer.watch(client, {}) is client # Watched twice, traced once
    made, one = client.chat.completions, lambda text: [dict(role='user', content=text)]
    for _ in range(times):
        assert (made.create(model='tickets', messages=one('plain'), temperature=0).choices[0].message.content
                == 'billing')
        with made.create(model='tickets', messages=one('streamed'), stream=True,
                         stream_options=dict(include_usage=True)) as s:
            assert ''.join(c.choices[0].delta.content or '' for c in s if c.choices) == 'billing'
        with made.create(model='tickets', messages=one('left early'), stream=True) as s: next(s)
        with pytest.raises(openai.BadRequestError): made.create(model='tickets', messages=one('refuse'))


def test_calls_leave_spans_that_lead_to_their_release(tmp_path, chat_url, monkeypatch):
    monkeypatch.delenv('LLMOPS_OTLP_ENDPOINT', raising=False)
    tracer, ws = Otlp(), Workspace(Store(tmp_path))
    tracer.start(tmp_path/'traces')
    ask(tracer, chat_url)
    assert tracer.close() == dict(kept=4, sent=0, dropped=0)
    rows = ws.spans(about='release:tickets')
    keys = ('input', 'output', 'ok', 'prompt_tokens', 'completion_tokens', 'model', 'release', 'deployment', 'version')
    refs = ('tickets', 'release:tickets@1', 'deployment:tickets@1', 'model:tickets@1')
    assert [tuple(r[k] for k in keys) for r in rows] == [
        ('plain', 'billing', True, 5, 2, *refs), ('streamed', 'billing', True, 5, 2, *refs),
        ('left early', 'bil', True, None, None, *refs), ('refuse', '', False, None, None, *refs)]
    assert all(r['ms'] > 0 for r in rows) and rows[1]['ms'] > rows[1]['first_token_ms'] >= 50
    assert 'too long' in rows[3]['why']
    assert ({(r['deployment'], r['calls'], r['failed'], r['prompt_tokens']) for r in ws.traffic()}
            == {('deployment:tickets@1', 4, 1, 10)})
    assert [p.stat().st_mode & 0o777 for p in (tmp_path/'traces/spans').iterdir()] == [0o600]
    assert len(list((tmp_path/'traces/unsent').glob('*.otlp'))) >= 1 # Kept for a Phoenix that is not there yet


class Collector(BaseHTTPRequestHandler):
    "Takes OTLP requests and counts their spans; answers as it is told"
    def log_message(self, *a): pass
    def do_POST(self):
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
        got = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers['content-length'])))
        if self.server.status == 200:
            self.server.names += [s.name for r in got.resource_spans for x in r.scope_spans for s in x.spans]
        self.send_response(self.server.status)
        self.end_headers()


@pytest.fixture
def collector(monkeypatch):
    server = ThreadingHTTPServer(('127.0.0.1', 0), Collector)
    server.names, server.status = [], 200
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv('LLMOPS_OTLP_ENDPOINT', f'http://127.0.0.1:{server.server_port}/v1/traces')
    yield server
    server.shutdown()


def test_a_backend_that_is_down_or_refuses_never_touches_a_call(tmp_path, chat_url, collector):
    collector.status = 503
    tracer = Otlp()
    tracer.start(tmp_path)
    ask(tracer, chat_url)
    assert tracer.flush() == dict(kept=4, sent=0, dropped=0)
    tracer.close()
    left = list((tmp_path/'unsent').glob('*.otlp'))
    assert left and collector.names == []
    collector.status = 200 # It comes back: the next process sends what the last one could not
    later = Otlp()
    later.start(tmp_path)
    with later.span('next', {}): pass
    assert later.close() == dict(kept=1, sent=1, dropped=0)
    assert sorted(collector.names) == ['chat']*4 + ['next'] and not list((tmp_path/'unsent').iterdir())
    collector.status = 400 # Refused for good: counted, and not tried again
    last = Otlp()
    last.start(tmp_path)
    with last.span('refused', {}): pass
    assert last.close() == dict(kept=1, sent=0, dropped=1) and not list((tmp_path/'unsent').iterdir())


def test_a_full_queue_drops_and_counts(tmp_path, monkeypatch):
    monkeypatch.delenv('LLMOPS_OTLP_ENDPOINT', raising=False)
    keeper = Keeper(tmp_path, size=5)
    hold = threading.Event()
    keeper._keep = lambda spans: hold.wait(5) # The disk stands still
    span = type('Span', (), dict(context=None))()
    keeper.on_end(span)
    wait(keeper.queue.empty)
    time.sleep(.5)
    begun = time.monotonic()
    for _ in range(100): keeper.on_end(span)
    assert keeper.dropped == 95 and time.monotonic()-begun < 1
    hold.set()
    keeper.shutdown()


# --- Phoenix ---------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def traced(tmp_path_factory):
    "A workspace whose Phoenix runs, with eight calls made before it was up"
    try: python(Path.cwd())
    except Exception as e: pytest.skip(str(e))
    import asyncio
    ws = Workspace(Store(tmp_path_factory.mktemp('traced')))
    begun = ws.trace_server('start')
    assert begun['state'] == 'starting'
    server = ThreadingHTTPServer(('127.0.0.1', 0), Chat)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tracer = Otlp()
    tracer.start(ws.store.folder/'traces')
    ask(tracer, f'http://127.0.0.1:{server.server_port}/v1', times=2)
    tracer.close() # Nobody could take them yet
    assert ws.trace_server('start', wait=True) == begun | dict(state='running')
    yield ws
    assert ws.trace_server('stop') == dict(state='stopped')
    server.shutdown()
    asyncio.set_event_loop(None)


def test_calls_reach_phoenix_even_those_made_before_it_was_up(traced):
    wait(lambda: len(traced.spans(source='phoenix')) == 8) # It answers before it has stored
    later = Otlp()
    later.start(traced.store.folder/'traces')
    with later.span('after', {}): pass
    assert later.close()['sent'] == 1
    rows = wait(lambda: (r := traced.spans(source='phoenix')) and len(r) == 9 and r)
    mine = traced.spans()
    same = ('name', 'input', 'output', 'ok', 'prompt_tokens', 'completion_tokens', 'release', 'deployment',
            'trace', 'span')
    assert [{k: r[k] for k in same} for r in rows] == [{k: r[k] for k in same} for r in mine]
    assert len(traced.spans(about='release:tickets@1', source='phoenix')) == 8


def test_ratings_in_phoenix_become_rows_to_label_and_labels_go_back(traced):
    import httpx

    from llmops.rows import rows
    where = Phoenix().find(traced.store.folder/'traces')
    wait(lambda: len(traced.spans(source='phoenix', about='release:tickets')) == 8)
    calls = [r for r in traced.spans(source='phoenix', about='release:tickets') if r['input'] in ('plain', 'streamed')]
    key = Path(where['key_file']).read_text().strip()
    # As an application tells what its users thought
    with httpx.Client(trust_env=False, base_url=where['url'], headers=dict(Authorization=f'Bearer {key}')) as c:
        said = [dict(span_id=r['span'], name='thumb', annotator_kind='HUMAN',
                     result=dict(score=float(r['input'] == 'plain'), label='up' if r['input'] == 'plain' else 'down'))
                for r in calls]
        said += [dict(span_id=calls[0]['span'], name='judge', annotator_kind='LLM', result=dict(label='polite'))]
        assert c.post('/v1/span_annotations?sync=true', json=dict(data=said)).status_code == 200
    every = traced.feedback('phoenix', out='every')
    assert every.body['counts']['rows'] == 4
    assert every.body['counts']['read'] == 4+sum(every.body['counts']['left'].values())
    down = traced.feedback('phoenix', about='release:tickets', name='thumb', annotator='human', most=.5, out='down')
    bad = [r for r in calls if r['input'] == 'streamed']
    assert ([(r['messages'], r['rating'], r['_span'], r['_trace'], r['_release'])
             for r in rows(traced.store, down, origin=False)]
            == [([dict(role='user', content='streamed'), dict(role='assistant', content='billing')], 0., r['span'],
                 r['trace'], 'release:tickets@1') for r in bad])
    q = traced.label(down, 'dialogue', annotators=['anna'], tags=['wrong'])
    better = [dict(role='user', content='streamed'), dict(role='assistant', content='delivery')]
    traced.label_save(q, 1, dict(rating=1, tags=['wrong'], messages=better), 'anna', note='It is about a parcel')
    assert traced.label_send(q) == dict(queue=str(q), to='phoenix', sent=1, again=0, without=0)
    traced.label_save(q, 1, dict(rating=2, tags=['wrong'], messages=better), 'anna', revision=1)
    for again in (0, 1): assert traced.label_send(q) == dict(queue=str(q), to='phoenix', sent=1, again=again, without=0)
    mine = [a for a in Phoenix().annotations(where, [r['span'] for r in calls]) if a['name'] == 'label']
    # Sent anew, there once
    assert [{k: a[k] for k in ('span', 'kind', 'label', 'score', 'explanation', 'identifier')} for a in mine] == [dict(
        span=bad[0]['span'], kind='HUMAN', label='wrong', score=2., explanation='delivery', identifier=f'{q}:anna')]
    assert mine[0]['metadata']['answer']['messages'] == better
    back = traced.feedback('phoenix', name='label', out='back')
    assert [(r['_span'], r['rating']) for r in rows(traced.store, back)] == [(bad[0]['span'], 2.)]
    assert ([(e.data['score'], e.data['label']) for e in traced.store.events('label.sent', 'release:tickets@1')]
            == [(1., 'wrong'), (2., 'wrong')])
    dpo = traced.collect(q, 'dpo')
    assert ([(r['chosen'][0]['content'], r['rejected'][0]['content'], r['_span']) for r in rows(traced.store, dpo)]
            == [('delivery', 'billing', bad[0]['span'])])
    with pytest.raises(NotFound, match='does not have a span'):
        Phoenix().annotate(where, [dict(span='0'*16, name='x', label='y')])


def test_phoenix_listens_on_this_machine_only_and_asks_for_its_key(traced):
    import httpx
    import psutil
    where = Phoenix().find(traced.store.folder/'traces')
    heard = {c.laddr.ip for c in psutil.Process(where['pid']).net_connections() if c.status == 'LISTEN'}
    assert heard and heard <= {'127.0.0.1', '::ffff:127.0.0.1', '::1'}
    with httpx.Client(trust_env=False, base_url=where['url']) as c:
        assert c.get('/v1/projects').status_code == 401
        assert c.post('/v1/traces', content=b'').status_code == 401
        assert c.post('/graphql', json=dict(query='{projects{edges{node{name}}}}')).status_code == 401
        page = c.get('/').text
        assert 'fonts.googleapis.com' not in page and 'scarf' not in page
        assert 'src="/lab/llmops-phoenix/' in c.get('/', headers={'X-Forwarded-Prefix': '/lab/llmops-phoenix'}).text
        assert '<script>alert' not in c.get('/', headers={'X-Forwarded-Prefix': '/"><script>alert(1)</script>'}).text
    for name in ('key', 'keys.json', 'password', 'phoenix.log'):
        assert (traced.store.folder/'traces/phoenix'/name).stat().st_mode & 0o77 == 0


def test_phoenix_outlives_who_started_it_and_is_found_again(traced):
    code = ('import sys; from pathlib import Path; from llmops.engines.phoenix import Phoenix; '
            'print(Phoenix().serve(Path(sys.argv[1]))["pid"])')
    r = subprocess.run([sys.executable, '-c', code, str(traced.store.folder/'traces')], capture_output=True, text=True)
    assert int(r.stdout) == traced.trace_server_status()[0]['pid']


# --- the dashboard ---------------------------------------------------------------------------------------------------

CHROMIUM = next((p for n in ('chromium', 'chromium-browser', 'google-chrome') if (p := shutil.which(n))), None)


@pytest.fixture(scope='module')
def busy(tmp_path_factory, chat_url):
    "A store with a release, its deployment, calls and two trainings"
    store = Store(tmp_path_factory.mktemp('busy'))
    model = store.put('model', 'tickets', {})
    proof = store.put('report', 'tickets', dict(type='proof', passed=True))
    release = store.put('release', 'tickets', dict(model=dict(ref=str(model.ref), digest=model.digest), adapter=None,
                                                   report=dict(ref=str(proof.ref), digest=proof.digest)))
    store.put('deployment', 'tickets',
              dict(release=dict(ref=str(release.ref), digest=release.digest), engine='transformers', proof='proven'))
    tracer = Otlp()
    tracer.start(store.folder/'traces')
    ask(tracer, chat_url, times=3)
    tracer.close()
    sink = Wandb()
    for i, id in enumerate(('00000000001a', '00000000002b')):
        run = sink.open(id, {}, store.folder/'wandb')
        for step in range(20): sink.log(run, dict(step=step, loss=3/(step+1+i), grad_norm=1/(step+1)))
        sink.close(run)
        record = dict(id=id, verb='sft', status='done', args={}, reads={}, writes=[f'model:tuned-{i}@1'], by='ada',
                      parent='', started=time.time()-60, ended=time.time())
        store.append_many([('run.start', f'run:{id}', record | dict(status='running')),
                           ('run.done', f'run:{id}', record)])
    yield store
    store.close()


@pytest.fixture(scope='module')
def dashboard(busy, tmp_path_factory):
    "The dashboard as a process of its own: its link"
    log = tmp_path_factory.mktemp('dashboard')/'log'
    with log.open('w') as out:
        p = subprocess.Popen([sys.executable, '-c', 'from llmops.faces.dashboard import main; main()', '--store',
                              str(busy.folder)], stdout=out, stderr=out)
    try:
        link = wait(lambda: 'token=' in log.read_text() and log.read_text().split('Dashboard: ')[1].split()[0], 60)
        port = int(link.split(':')[2].split('/')[0])
        def up():
            with socket.socket() as s: return s.connect_ex(('127.0.0.1', port)) == 0
        wait(up, 60)
        yield link
    finally:
        p.terminate()
        p.wait(20)


@pytest.fixture(scope='module')
def browser():
    if not CHROMIUM: pytest.skip('Chromium is not installed (make test installs it on Debian)')
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu', '--disable-quic',
                                                              '--no-first-run', '--disable-background-networking',
                                                              '--disable-component-update', '--disable-sync'])
        yield b
        b.close()


def test_the_dashboard_lets_in_only_who_knows_the_token(dashboard):
    import httpx
    bare = dashboard.split('?')[0]
    with httpx.Client(trust_env=False, follow_redirects=True) as c:
        for url in (bare, bare+'?token=wrong', bare+'autoload.js?bokeh-autoload-element=1'):
            assert c.get(url).status_code == 403
        assert c.get(dashboard).status_code == 200
        assert c.get(bare).status_code == 200 # The cookie
    with httpx.Client(trust_env=False) as c:
        assert c.get(bare, headers={'X-Llmops-Token': dashboard.split('=')[1]}).status_code == 200


def test_the_dashboard_shows_calls_and_curves_and_asks_nothing_outside(dashboard, browser, busy, chat_url):
    page = browser.new_page(viewport=dict(width=1280, height=1600), color_scheme='dark')
    asked, wrong = [], []
    page.on('request', lambda r: asked.append(r.url))
    page.on('console', lambda m: wrong.append(m.text) if m.type == 'error' else None)
    page.on('pageerror', lambda e: wrong.append(str(e)))
    page.goto(dashboard)
    page.wait_for_selector('.tile', timeout=30_000)
    def see(*what):
        for w in what: page.get_by_text(w, exact=True).locator('visible=true').first.wait_for(timeout=20_000)
    see('model:tuned-0@1', 'refuse', 'release:tickets@1', 'deployment:tickets@1')
    page.locator('tr.pick:has-text("plain")').first.click()
    see('report:tickets@1', 'proven', 'What answered')
    wait(lambda: page.locator('.bk-Figure').count() == 4) # Latency, tokens, loss, grad norm
    page.locator('tr.pick:has-text("tuned-0")').click()
    wait(lambda: page.locator('tr.on').count() == 3)
    tracer = Otlp() # Live: new calls appear by themselves
    tracer.start(busy.folder/'traces')
    ask(tracer, chat_url)
    tracer.close()
    wait(lambda: page.locator('.tile', has_text='Calls').locator('.n').inner_text() == '16', 20)
    page.goto(dashboard+'&lang=zh')
    see('训练曲线', '最近的运行')
    assert page.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(14, 17, 21)'
    page.click('text=浅色')
    assert page.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(245, 246, 248)'
    home = dashboard.split('/?')[0]
    assert [u for u in asked if not u.startswith((home, home.replace('http', 'ws'), 'data:', 'blob:'))] == []
    assert wrong == []
    page.close()


def test_both_are_tabs_of_jupyter_for_who_is_signed_in_there(traced, browser, tmp_path):
    from lab_server import lab

    from llmops.settings import write_settings
    write_settings(tmp_path, store=str(traced.store.folder))
    with lab(tmp_path) as server:
        for path in ('llmops-dashboard/', 'llmops-phoenix/'): # Not signed in: on to the login page, nothing is shown
            answer = server.ask(path, token=False)
            assert b'PHOENIX' not in answer.body and b'bokeh' not in answer.body and b'token' in answer.body.lower()
        page = browser.new_page(viewport=dict(width=1280, height=1000))
        asked = []
        page.on('request', lambda r: asked.append(r.url))
        page.goto(f'{server.url}llmops-dashboard/?token={server.token}', timeout=90_000)
        page.locator('tr.pick').first.wait_for(timeout=60_000)
        assert page.get_by_text('Open Phoenix').get_attribute('href') == '/llmops-phoenix/'
        page.goto(f'{server.url}llmops-phoenix/', timeout=120_000)
        # Our project, without signing in once more
        page.get_by_text('llmops', exact=True).first.wait_for(timeout=60_000)
        assert page.url.startswith(f'{server.url}llmops-phoenix/projects')
        assert ([u for u in asked if not u.startswith((server.url, server.url.replace('http', 'ws'), 'data:', 'blob:'))]
                == [])
        page.close()
