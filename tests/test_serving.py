"""Serving: the contract of the Server port over every installed engine, the HTTP door of our own server, and the way from
a release to a deployment and back. Models are of random weights: what is tested is the way, not the answers."""
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from llmops.core import Denied, Failed, Invalid
from llmops.ports import engine, engines

HI = [{'role': 'user', 'content': 'Hi'}]


@pytest.fixture(scope='session')
def scratch(tmp_path_factory):
    "A model folder of random weights for each seed"
    from transformers.utils import logging

    from llmops.engines.transformers_llm import scratch_model
    logging.disable_progress_bar()
    made = {}

    def f(seed=0):
        if seed not in made: made[seed] = scratch_model(tmp_path_factory.mktemp('model')/f'seed-{seed}', seed)
        return made[seed]
    return f


def start(name, folder, log, **options):
    if name == 'vllm' and not engine('server', 'vllm').installed(): pytest.skip('vLLM is not installed: make vllm')
    return engine('server', name).start(folder, 'demo', 0, log, {'threads': 1, 'max_len': 256, **options})


@pytest.fixture(scope='module')
def where(scratch, tmp_path_factory):
    "Our own server, running"
    w = start('transformers', scratch(), tmp_path_factory.mktemp('server')/'server.log')
    yield w
    engine('server', 'transformers').stop(w)


def http(where, method, path, body=None, key=None, **headers):
    "(status, JSON or text) of one request, whatever the status"
    port = int(where['url'].rpartition(':')[2])
    key = Path(where['key_file']).read_text() if key is None else key
    raw = body if isinstance(body, bytes) else b'' if body is None else json.dumps(body).encode()
    head = {'Host': f'127.0.0.1:{port}', 'Content-Type': 'application/json', 'Authorization': f'Bearer {key}',
            'Content-Length': str(len(raw)),
            'Connection': 'close'} | {k.replace('_', '-'): v for k, v in headers.items()}
    with socket.create_connection(('127.0.0.1', port), timeout=60) as s:
        lines = [f'{method} {path} HTTP/1.1', *(f'{k}: {v}' for k, v in head.items() if v is not None)]
        s.sendall('\r\n'.join([*lines, '', '']).encode('latin-1') + raw)
        got = b''
        while part := s.recv(65536): got += part
    top, _, rest = got.partition(b'\r\n\r\n')
    status = int(top.split(None, 2)[1])
    try: return status, json.loads(rest)
    except ValueError: return status, rest.decode('utf-8', 'replace')


def chat(**more): return {'model': 'demo', 'messages': HI, 'max_tokens': 8, 'temperature': 0} | more


# --- the port --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', sorted(engines('server')))
def test_every_engine_keeps_the_contract_of_the_port(name, scratch, tmp_path):
    import openai
    server = engine('server', name)
    w = start(name, scratch(), tmp_path/'server.log')
    try:
        assert server.alive(w) and w['url'].startswith('http://127.0.0.1:')
        assert {'pid', 'started', 'engine', 'name', 'key_file'} <= set(w)
        key = Path(w['key_file']).read_text()
        assert Path(w['key_file']).stat().st_mode & 0o077 == 0
        assert key.encode() not in Path(f"/proc/{w['pid']}/cmdline").read_bytes()
        ai = openai.OpenAI(base_url=w['url']+'/v1', api_key=key, max_retries=0)
        whole = ai.chat.completions.create(**chat(), extra_body={'return_token_ids': True})
        llm = engine('llm', 'transformers')
        here = next(iter(llm.answer(scratch(), [HI], max_tokens=8)))
        assert whole.model_extra['prompt_token_ids'] == here['prompt_ids']
        assert whole.choices[0].model_extra['token_ids'] == here['token_ids']
        stream = [c for c in ai.chat.completions.create(**chat(), stream=True) if c.choices]
        assert ''.join(c.choices[0].delta.content or '' for c in stream) == whole.choices[0].message.content
        assert stream[-1].choices[0].finish_reason == whole.choices[0].finish_reason == 'length'
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=w['url']+'/v1', api_key='wrong', max_retries=0).models.list()
        schema = {'type': 'json_schema',
                  'json_schema': {'name': 'x', 'schema': {'type': 'object', 'properties': {'ok': {'type': 'boolean'}},
                                                          'required': ['ok'], 'additionalProperties': False}}}
        if 'json_schema' in server.can:
            said = ai.chat.completions.create(**chat(response_format=schema, max_tokens=60)).choices[0].message.content
            assert said.lstrip()[:1] == '{'
        else:
            with pytest.raises(openai.BadRequestError, match='schema'):
                ai.chat.completions.create(**chat(response_format=schema))
    finally: server.stop(w)
    assert not server.alive(w) and not Path(w['key_file']).exists()
    server.stop(w) # Twice is fine


def test_a_server_outlives_its_parent_and_a_reused_pid_is_left_alone(scratch, tmp_path):
    code = f'''
        import json, sys
        from pathlib import Path
        from llmops.ports import engine
        print(json.dumps(engine('server', 'transformers').start(Path({str(scratch())!r}), 'demo', 0, Path({str(tmp_path/"s.log")!r}), {{"threads": 1}})))'''
    p = subprocess.run([sys.executable, '-c', textwrap.dedent(code)], capture_output=True, text=True, check=True)
    w, server = json.loads(p.stdout), engine('server', 'transformers')
    try:
        assert server.alive(w) and http(w, 'GET', '/health')[0] == 200
        other = w | {'started': 'a process that had this pid before'}
        assert not server.alive(other)
        from llmops.engines.process import kill
        kill(other)
        assert server.alive(w)
        os.kill(w['pid'], signal.SIGTERM)
        end = time.monotonic() + 15
        while server.alive(w) and time.monotonic() < end: time.sleep(0.05)
        assert not server.alive(w)
    finally: server.stop(w)


def test_a_start_that_fails_says_why_and_leaves_nothing(scratch, tmp_path, where):
    server, log = engine('server', 'transformers'), tmp_path/'s.log'
    (tmp_path/'empty').mkdir()
    with pytest.raises(Failed, match='ended before it could serve'): server.start(tmp_path/'empty', 'demo', 0, log, {})
    with pytest.raises(Failed, match='cannot be had'):
        server.start(scratch(), 'demo', int(where['url'].rpartition(':')[2]), log, {})
    with pytest.raises(Invalid, match="no option 'speed'"): server.start(scratch(), 'demo', 0, log, {'speed': 1})
    assert sorted(p.name for p in tmp_path.iterdir()) == ['empty', 's.log']


def test_a_server_started_by_hand_wants_a_key_that_nobody_else_can_read(scratch, tmp_path):
    def said(**env):
        return subprocess.run([sys.executable, '-m', 'llmops.engines.transformers_server', '--model',
                               scratch(), '--name', 'demo'],
                              env={'PATH': os.environ['PATH'], **env}, capture_output=True, text=True, timeout=60)
    key = tmp_path/'key'
    assert (r := said()).returncode and 'LLMOPS_SERVER_KEY_FILE' in r.stderr
    key.write_text('0123456789abcdef')
    key.chmod(0o644)
    assert (r := said(LLMOPS_SERVER_KEY_FILE=str(key))).returncode and 'chmod 600' in r.stderr
    key.chmod(0o600)
    key.write_text('short')
    assert (r := said(LLMOPS_SERVER_KEY_FILE=str(key))).returncode and 'too short' in r.stderr


# --- the door --------------------------------------------------------------------------------------------------------

ROUTES = {'/health': 'GET', '/metrics': 'GET', '/v1/models': 'GET', '/tokenize': 'POST', '/v1/chat/completions': 'POST',
          '/v1/completions': 'POST'}
METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']


def test_no_route_answers_without_the_key(where):
    key = Path(where['key_file']).read_text()
    bad = ['', 'wrong', key[:-1], key + 'x', key.upper()]
    got = ({(p, m, k): http(where, m, p, {}, key=k)[0] for p in ROUTES for m in METHODS for k in bad[:2]}
           | {(p, 'GET', k): http(where, 'GET', p, key=k)[0] for p in ROUTES for k in bad})
    assert set(got.values()) == {401}, {k: v for k, v in got.items() if v != 401}
    for h in ('Basic ' + key, key, f'bearer {key}', f'Bearer  {key}', ''):
        assert http(where, 'GET', '/v1/models', Authorization=h)[0] == 401
    for p in ('/docs', '/openapi.json', '/v1', '/v1/models/', '/../v1/models'):
        assert http(where, 'GET', p, key='')[0] in (401, 404, 307), p
    wrong = {(p, m): http(where, m, p, {})[0] for p, right in ROUTES.items() for m in METHODS if m != right}
    assert set(wrong.values()) == {405}, wrong


@pytest.mark.parametrize('host', ['evil.example', 'localhost.evil.example', 'localhost/health?', '127.0.0.1:80@evil',
                                  'localhost/health?:1', '127.0.0.1.nip.io:80',
                                  '0.0.0.0:1', 'LOCALHOST%00', 'a/v1/models', '169.254.169.254'])
def test_a_foreign_host_is_refused_with_and_without_the_key(where, host):
    for path, method in ROUTES.items():
        assert http(where, method, path, {}, key='', Host=host)[0] in (400, 401, 421)
        assert http(where, method, path, {}, Host=host)[0] in (400, 421)


def deep(n): return json.dumps(chat())[:-1].encode() + b',"metadata":' + b'[' * n + b']' * n + b'}'


BAD = [
    ('not json', b'{', 400), ('no body', b'', 400), ('a list', b'[]', 400),
    ('NaN', b'{"model":"demo","temperature":NaN}', 400),
    ('not utf-8', b'{"model":"\xff"}', 400),
    ('half a surrogate', rb'{"model":"demo","messages":[{"role":"user","content":"\ud800"}]}', 400),
    ('two equal keys', b'{"model":"a","model":"demo"}', 400), ('deep', deep(40), 400), ('very deep', deep(50_000), 400),
    ('big', b' ' * (4*2**20 + 1), 413),
    ('another model', chat(model='gpt-4'), 404), ('model of a traversal', chat(model='../../etc/passwd'), 404),
    ('model null', chat(model=None), 400),
    ('model long', chat(model='a'*10_000), 400), ('messages none', {'model': 'demo'}, 400),
    ('messages object', chat(messages={}), 400),
    ('messages empty', chat(messages=[]), 400), ('messages many', chat(messages=HI*1001), 400),
    ('messages text', chat(messages='Hi'), 400),
    ('role', chat(messages=[{'role': 'root', 'content': 'x'}]), 400),
    ('content null', chat(messages=[{'role': 'user', 'content': None}]), 400),
    ('content number', chat(messages=[{'role': 'user', 'content': 3}]), 400),
    ('picture', chat(messages=[{'role': 'user', 'content': [{'type': 'image_url',
                                                             'image_url': {'url': 'http://169.254.169.254/'}}]}]), 400),
    ('tool message', chat(messages=[{'role': 'tool', 'content': 'x', 'tool_call_id': '1'}]), 400),
    ('name', chat(messages=[HI[0] | {'name': 'x'}]), 400),
    ('stream text', chat(stream='yes'), 400), ('stream 1', chat(stream=1), 400),
    ('stream_options alone', chat(stream_options={'include_usage': True}), 400),
    ('stream_options other', chat(stream=True, stream_options={'x': True}), 400),
    ('temperature', chat(temperature=-1), 400), ('temperature high', chat(temperature=2.1), 400),
    ('temperature text', chat(temperature='0'), 400),
    ('temperature huge', b'{"model":"demo","messages":[{"role":"user","content":"x"}],"temperature":1e999}', 400),
    ('temperature true', chat(temperature=True), 400),
    ('top_p', chat(top_p=1.01), 400), ('top_k', chat(top_k=-2), 400), ('top_k 0.5', chat(top_k=0.5), 400),
    ('seed', chat(seed=2**63), 400), ('seed text', chat(seed='1'), 400),
    ('max_tokens 0', chat(max_tokens=0), 400), ('max_tokens huge', chat(max_tokens=10**9), 400),
    ('max_tokens over the context', chat(max_tokens=300), 400),
    ('max_tokens 1.5', chat(max_tokens=1.5), 400), ('two limits', chat(max_completion_tokens=3), 400),
    ('prompt over the context', chat(messages=[{'role': 'user', 'content': 'x'*5000}]), 400),
    ('n', chat(n=2), 400), ('n 0', chat(n=0), 400), ('n true', chat(n=True), 400),
    ('stop many', chat(stop=['a']*17), 400), ('stop empty', chat(stop=''), 400), ('stop number', chat(stop=[1]), 400),
    ('logprobs number', chat(logprobs=5), 400), ('top_logprobs', chat(logprobs=True, top_logprobs=21), 400),
    ('top_logprobs alone', chat(top_logprobs=2), 400),
    ('json object', chat(response_format={'type': 'json_object'}), 400),
    ('json schema', chat(response_format={'type': 'json_schema', 'json_schema': {}}), 400),
    ('tools', chat(tools=[{'type': 'function', 'function': {'name': 'f'}}]), 400), ('tools empty', chat(tools=[]), 400),
    ('tool_choice', chat(tool_choice='auto'), 400),
    ('functions', chat(functions=[]), 400), ('logit_bias', chat(logit_bias={'99999999': 100}), 400),
    ('guided_regex', chat(guided_regex='(a+)+$'), 400),
    ('prompt_embeds', chat(prompt_embeds='gASV'), 400), ('prompt_logprobs', chat(prompt_logprobs=-1), 400),
    ('unknown', chat(temprature=0), 400),
    ('penalty', chat(presence_penalty=3), 400), ('user object', chat(user={}), 400), ('echo', chat(echo=True), 400)]


@pytest.mark.parametrize('what, body, status', BAD, ids=[b[0] for b in BAD])
def test_what_cannot_be_honoured_is_refused_in_openais_shape(where, what, body, status):
    got, said = http(where, 'POST', '/v1/chat/completions', body)
    assert got == status, said
    assert set(said) == {'error'} and set(said['error']) == {'message', 'type', 'param', 'code'}
    assert len(said['error']['message']) > 10
    if '<' in said['error']['message'] or 'Traceback' in said['error']['message']: pytest.fail(said['error']['message'])


def test_bodies_that_are_not_json_by_their_type_are_refused(where):
    for kind in ('text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', ''):
        assert http(where, 'POST', '/v1/chat/completions', chat(), Content_Type=kind)[0] == 415
    assert http(where, 'POST', '/v1/chat/completions', chat(), Content_Type='application/json; charset=utf-8')[0] == 200


def test_completions_and_tokenize_take_text_or_ids(where):
    ids = http(where, 'POST', '/tokenize', {'prompt': 'Hi there'})[1]['tokens']
    one = http(where, 'POST', '/v1/completions', {'model': 'demo', 'prompt': 'Hi there', 'temperature': 0})[1]
    assert (one == http(where, 'POST', '/v1/completions', {'model': 'demo', 'prompt': ids, 'temperature': 0})[1]
            | {k: one[k] for k in ('id', 'created')})
    assert one['usage'] == {'prompt_tokens': len(ids), 'completion_tokens': 16, 'total_tokens': len(ids)+16}
    for bad in ('', [], ['a', 'b'], [[1]], [10**9], [-1], [True], {}, 5, None):
        assert http(where, 'POST', '/v1/completions', {'model': 'demo', 'prompt': bad})[0] == 400, bad
    assert http(where, 'POST', '/v1/completions', {'model': 'demo', 'prompt': 'x', 'messages': HI})[0] == 400
    assert http(where, 'POST', '/tokenize', {'model': 'other', 'prompt': 'x'})[0] == 404


def test_a_seed_decides_the_answer_whoever_else_is_asking(where):
    def ask(seed):
        return http(where, 'POST', '/v1/chat/completions',
                    chat(temperature=1.5, seed=seed, max_tokens=24, logprobs=True, top_logprobs=2))[1]['choices'][0]
    alone, together = {s: ask(s) for s in range(4)}, {}
    threads = [threading.Thread(target=lambda s=s: together.update({s: ask(s)})) for s in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert together == alone
    assert len({json.dumps(a['message']) for a in alone.values()}) > 1
    first = alone[0]['logprobs']['content']
    assert len(first) == 24 and all(len(t['top_logprobs']) == 2 and t['logprob'] <= 0 for t in first)


def test_stop_texts_cut_the_answer_in_whole_and_in_stream(where):
    import openai
    ai = openai.OpenAI(base_url=where['url']+'/v1', api_key=Path(where['key_file']).read_text(), max_retries=0)
    ask = dict(model='demo', messages=HI, max_tokens=60, temperature=1.0, seed=3)
    text = ai.chat.completions.create(**ask).choices[0].message.content
    stop = next(text[i:i+2] for i in range(5, len(text)-2) if '\ufffd' not in text[i:i+2])
    want = text[:text.index(stop)]
    cut = ai.chat.completions.create(**ask, stop=[stop, 'never said']).choices[0]
    assert (cut.message.content, cut.finish_reason) == (want, 'stop')
    parts = [c
             for c in ai.chat.completions.create(**ask, stop=stop, stream=True, stream_options={'include_usage': True})]
    assert ''.join(c.choices[0].delta.content or '' for c in parts if c.choices) == want
    assert parts[-1].usage.total_tokens == parts[-1].usage.prompt_tokens + parts[-1].usage.completion_tokens


def figure(where, name):
    return next((float(x.split()[-1]) for x in http(where, 'GET', '/metrics')[1].splitlines() if x.startswith(name)),
                0.)


@pytest.mark.parametrize('stream', [True, False])
def test_hanging_up_ends_the_generation(where, stream):
    before = figure(where, 'llmops_server_requests_total{outcome="aborted"}')
    raw = json.dumps(chat(max_tokens=220, stream=stream, temperature=1, seed=1)).encode()
    key, port = Path(where['key_file']).read_text(), int(where['url'].rpartition(':')[2])
    with socket.create_connection(('127.0.0.1', port)) as s:
        s.sendall(f'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n'
                  f'Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n'.encode() + raw)
        if stream: s.recv(100)
        else: time.sleep(0.05)
    end = time.monotonic() + 20
    while (n := figure(where, 'llmops_server_requests_total{outcome="aborted"}')) == before and time.monotonic() < end:
        time.sleep(0.05)
    assert n == before + 1 and figure(where, 'llmops_server_requests_running') == 0


# --- release, deploy, roll back --------------------------------------------------------------------------------------

def model(ws, scratch, seed, name='chat', **more):
    from llmops.modelfolder import describe
    folder = scratch(seed)
    return ws.store.put('model', name,
                        describe(folder) | {'files': ws.store.blobs.put_folder(folder), 'note': f'seed {seed}'} | more)


def proof(ws, m, passed=True, parity=None):
    part = {'ref': str(m.ref), 'digest': m.digest}
    return ws.store.put('report', m.name, {'type': 'proof', 'passed': passed, 'gates': [] if passed
                                           else [{'name': 'better', 'passed': False}], 'title': 'proof',
        'subject': {'model': part, 'adapter': None, 'chat_template': m.body['chat_template'],
                    'tokenizer': m.body['tokenizer']},
        'parity': {'ref': str(parity.ref), 'digest': parity.digest}})


@pytest.fixture
def probes(ws):
    lines = [json.dumps({'messages': [{'role': 'user', 'content': f'Where is order {i}?'},
                                      {'role': 'assistant', 'content': 'Here.'}]}) for i in range(5)]
    return ws.store.put('dataset', 'probes',
                        {'format': 'messages', 'rows': 5,
                         'files': [{'path': 'rows.jsonl'} | ws.store.blobs.put_bytes('\n'.join(lines).encode())]})


def shown(ws, tuned, merged, **kw):
    return ws.parity(model=tuned, merged=merged, data='dataset:probes', engine='transformers', max_tokens=6, n=3,
                     options={'threads': 1}, **kw)


def test_from_parity_to_deployment_and_back(ws, scratch, probes, monkeypatch):
    one, two = model(ws, scratch, 1), model(ws, scratch, 2)
    p1 = shown(ws, one, one)
    assert p1.body['passed'] and [r['same'] for r in p1.body['results']] == [3, 3]
    rows = [json.loads(x) for x in ws.store.blobs.get(p1.body['answers']['blob']).splitlines()]
    assert [r['row'] for r in rows] == [0, 1, 3] and all(r['tuned'] == r['answer'] == r['served'] for r in rows)
    # No proof, no deployment
    bare = ws.release(model=one, engine='transformers', options={'threads': 1}, out='bare')
    with pytest.raises(Denied, match='(?s)no matching proof.*llmops parity.*llmops prove.*llmops waive'):
        ws.deploy(release=bare)
    failed = ws.release(model=one, report=proof(ws, one, False, p1), out='failed')
    with pytest.raises(Denied, match='did not pass: better'): ws.deploy(release=failed)
    crossed = ws.release(model=two, report=proof(ws, one, True, p1), out='crossed')
    with pytest.raises(Denied, match=r'the release has model:chat@2 .* the report judged model:chat@1'):
        ws.deploy(release=crossed)
    faster = ws.release(model=one, report=proof(ws, one, True, p1), out='faster', options={'dtype': 'bfloat16'})
    with pytest.raises(Denied, match='dtype=bfloat16'): ws.deploy(release=faster)
    assert ws.deployments() == []
    # Proven: it serves
    r1 = ws.release(model=one, report=proof(ws, one, True, p1))
    v1 = ws.deploy(release=r1)
    first = ws.store.state('deployment:chat', 'serving')['where']
    try:
        assert ([(d['ref'], d['release'], d['wanted'], d['actual'], d['proof']) for d in ws.deployments()]
                == [('deployment:chat@1', 'release:chat@1', 'up', 'up', 'proven')])
        from llmops.serving.chat import client
        ask = dict(model='chat', messages=HI, max_tokens=6, temperature=0)
        assert (client(ws, 'deployment:chat').chat.completions.create(**ask).choices[0].message.content
                == ws.chat(deployment=v1, message='Hi', max_tokens=6)['answer'])
        with pytest.raises(Invalid, match='256 tokens'): ws.chat(deployment=v1, message='x'*300)
        # Waived: on record, shown with the release, and it takes over without a gap
        second = ws.release(model=two, engine='transformers', options={'threads': 1})
        with pytest.raises(Invalid, match='Say why'): ws.waive(release=second, reason=' ')
        ws.waive(release=second, reason='trial on a private machine')
        with pytest.raises(Invalid, match='nothing to waive'): ws.waive(release=r1, reason='x')
        up, holes = threading.Event(), []

        def watch():
            while not up.is_set():
                w = ws.store.state('deployment:chat', 'serving')['where']
                try:
                    urllib.request.urlopen(urllib.request.Request(
                        w['url']+'/health', headers={'Authorization': f"Bearer {Path(w['key_file']).read_text()}"}),
                                           timeout=5).read()
                except OSError as e:
                    if ws.store.state('deployment:chat', 'serving')['where'] == w: holes.append(e)
                time.sleep(0.02)
            ws.store.close()
        t = threading.Thread(target=watch)
        t.start()
        try: ws.deploy(release=second)
        finally:
            up.set()
            t.join()
        assert holes == []
        assert ([(d['release'], d['actual'], d['proof']) for d in ws.deployments()]
                == [('release:chat@2', 'up', 'waived: trial on a private machine')])
        assert [r['waived'] for r in ws.ls(kind='release', q='chat')] == ['trial on a private machine']
        assert not engine('server', 'transformers').alive(first)
        # Back: only to what is proven
        assert [(r['ref'], r['now']) for r in ws.proven(deployment='deployment:chat')] == [('release:chat@1', False)]
        with pytest.raises(Denied, match='release:crossed@1 is not a proven state'):
            ws.rollback(ref='deployment:chat', to='release:crossed')
        back = ws.rollback(ref='deployment:chat')
        assert (back.body['release']['ref'], back.body['model']['ref']) == ('release:chat@1', 'model:chat@1')
        e = ws.store.events('deploy', newest=True)[0]
        assert (e.data['smoke'], e.data['why']) == ({'asked': 3, 'same': 3}, 'rolled back from release:chat@2')
        # A server that was killed is seen; the next deployment starts it again
        now = ws.store.state('deployment:chat', 'serving')['where']
        os.killpg(now['pid'], signal.SIGKILL)
        end = time.monotonic() + 10
        while (d := ws.deployments()[0])['actual'] != 'gone' and time.monotonic() < end: time.sleep(0.05)
        assert (d['wanted'], d['actual'], d['next']) == ('up', 'gone', 'llmops deploy release:chat@1 --out chat')
        with pytest.raises(Failed, match='llmops deploy release:chat@1'):
            ws.chat(deployment='deployment:chat', message='Hi')
        ws.retire(ref=r1, note='withdrawn')
        with pytest.raises(Denied, match='retired'): ws.deploy(release=r1)
        assert ws.proven(deployment='deployment:chat') == []
    finally: stopped = ws.stop(deployment='deployment:chat')
    assert stopped['stopped'] and ws.deployments()[0]['wanted'] == 'down'
    assert not ws.stop(deployment='deployment:chat')['stopped']
    assert not list((ws.store.folder/'servers').glob('*.key')) and not list((ws.store.folder/'servers').glob('*.json'))
    assert ws.store.verify() == []


def test_a_deployer_killed_half_way_leaves_no_server_behind(ws, scratch):
    m = model(ws, scratch, 1)
    r = ws.release(model=m, engine='transformers', options={'threads': 1})
    ws.waive(release=r, reason='test')
    p = subprocess.Popen([sys.executable, '-c',
                          f"import llmops; llmops.open({str(ws.store.folder)!r}).deploy(release={str(r)!r})"],
                         stderr=subprocess.PIPE)
    folder, end = ws.store.folder/'servers', time.monotonic() + 60
    while not (notes := list(folder.glob('chat@*.json'))) and p.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert notes, p.stderr.read().decode()
    p.kill()
    p.wait()
    orphan, server = json.loads(notes[0].read_text()), engine('server', 'transformers')
    assert server.alive(orphan) and ws.deployments() == []
    ws.deploy(release=r)
    try:
        assert not server.alive(orphan)
        assert [d['actual'] for d in ws.deployments()] == ['up'] and len(list(folder.glob('*.key'))) == 1
    finally: ws.stop(deployment='deployment:chat')


def test_the_policy_can_ask_for_an_approval_by_somebody_else(ws, scratch, probes, monkeypatch):
    monkeypatch.setenv('LLMOPS_USER', 'ana')
    m = model(ws, scratch, 1)
    parity = ws.store.put('report', 'chat-parity', {'type': 'parity', 'passed': True,
                                                    'engine': {'name': 'transformers'}, 'settings': {'options': {}}})
    p = proof(ws, m, True, parity)
    r = ws.release(model=m, report=p)
    ws.store.put('policy', 'default', {'approve': {'before_deploy': True, 'second_person': True}})
    with pytest.raises(Denied, match='llmops approve release:chat@1 --report report:chat@1'): ws.deploy(release=r)
    with pytest.raises(Denied, match='second person'): ws.approve(ref=r, report=p, note='fine')
    monkeypatch.setenv('LLMOPS_USER', 'bo')
    ws.approve(ref=r, report=p, note='fine')
    from llmops.serving.release import may_ship
    assert may_ship(ws.store, r) == 'proven'
    ws.reject(ref=r, note='second thoughts')
    with pytest.raises(Denied, match='rejected by bo: second thoughts'): ws.deploy(release=r)


def test_an_adapter_ships_beside_its_base_and_its_parity_reads_it(ws, scratch, probes, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from llmops.modelfolder import describe
    base = model(ws, scratch, 1, 'base')
    torch.manual_seed(5)
    net = get_peft_model(AutoModelForCausalLM.from_pretrained(scratch(1), dtype='float32'),
                         LoraConfig(r=4, target_modules=['q_proj', 'v_proj'], init_lora_weights=False))
    net.save_pretrained(tmp_path/'lora')
    (tmp_path/'lora'/'README.md').unlink(missing_ok=True)
    net.merge_and_unload().save_pretrained(tmp_path/'merged')
    AutoTokenizer.from_pretrained(scratch(1)).save_pretrained(tmp_path/'merged')
    part = {'ref': str(base.ref), 'digest': base.digest}
    lora = ws.store.put('model', 'chat-sft',
                        describe(tmp_path/'lora') | {'files': ws.store.blobs.put_folder(tmp_path/'lora'), 'base': part})
    merged = ws.store.put('model', 'chat', describe(tmp_path/'merged')
                          | {'files': ws.store.blobs.put_folder(tmp_path/'merged'), 'base': part})
    ship = ws.release(model=lora).body
    assert (ship['model'], ship['adapter']['digest'],
            ship['chat_template']) == (part, lora.digest, base.body['chat_template'])
    alone = shown(ws, lora, lora).body
    assert alone['passed'] and (alone['subject']['model'], alone['subject']['adapter']['digest']) == (part, lora.digest)
    p = shown(ws, lora, merged)
    assert p.body['passed'], p.body['gates']
    said = [next(iter(engine('llm', 'transformers').answer(f, [HI], max_tokens=6)))['token_ids']
            for f in (scratch(1), tmp_path/'merged')]
    assert said[0] != said[1] # The adapter does change the answers
    assert {x['ref'] for x in ws.lineage(ref=p)} >= {str(base.ref), str(lora.ref), str(merged.ref), 'dataset:probes@1'}


def test_parity_fails_when_a_template_was_lost_or_changed(ws, scratch, probes, tmp_path):
    import shutil

    from llmops.modelfolder import describe
    tuned = model(ws, scratch, 1)
    other = shutil.copytree(scratch(1), tmp_path/'other')
    t = other/'chat_template.jinja'
    t.write_text(t.read_text().replace("assistant\\n", "assistant\\n\\n"))
    v = ws.store.put('model', 'changed', describe(other) | {'files': ws.store.blobs.put_folder(other)})
    p = shown(ws, tuned, v)
    bad = {g['name'] for g in p.body['gates'] if not g['passed']}
    assert not p.body['passed'] and {'same chat template', 'same prompt tokens'} <= bad
