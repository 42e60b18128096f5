"The workbench in a real Jupyter server on loopback: who gets in, what a mistake is told, and what a browser may do with the answers."
import json
import re
import socket
import time
from pathlib import Path

import pytest
from lab_server import lab

METHODS = ('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS')
XSS = '<img src=x onerror=alert(1)><script>alert(2)</script>"\'><svg/onload=alert(3)>'
REPORT = (f'<!doctype html><title>Report</title><h1>Report</h1><p>{XSS}</p><form action="/api/kernels" '
          'method="post"><input type="submit"></form>')


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    from llmops.settings import write_settings
    from llmops.verbs import open_workspace
    folder = tmp_path_factory.mktemp('lab')
    write_settings(folder)
    ws = open_workspace(folder)
    model = ws.store.put('model', 'chat', dict(architecture='qwen', note=XSS))
    ws.store.put('report', 'eval', dict(passed=True, subject=dict(model=dict(ref=str(model), digest=model.digest)),
                                        html=ws.store.blobs.put_bytes(REPORT.encode())))
    for i in range(3): ws.store.put('prompt', f'p{i}', dict(text=XSS))
    (folder/'secret.txt').write_text('do not tell')
    with lab(folder, 'jupyter_server', '--ServerApp.allow_unauthenticated_access=False') as it:
        it.ws = ws
        yield it
    ws.store.close()


def routes() -> list[str]:
    "A path for every route, made from the routes themselves"
    from llmops.faces.handlers import ROUTES
    fill = {'version/([^/]+)': 'version/model:chat', 'rows/([^/]+)': 'rows/model:chat', 'run/([^/]+)': 'run/0123abc',
            'view/([^/]+)': 'view/ls', 'report/([^/]+)': 'report/report:eval', 'call/([^/]+)': 'call/alias',
            'templates/([^/]+)/run': 'templates/x/run', 'run/([^/]+)/stop': 'run/0123abc/stop', '.*': 'no/such/route'}
    return [f'llmops/api/{fill.get(r, r)}' for r, _ in ROUTES]


def said(answer) -> dict:
    "What a refusal says: one sentence, and never a trace"
    assert answer.headers['content-type'].startswith('application/json')
    error = answer.json['error']
    assert set(error) == {'message', 'code', 'next'} and error['message'] and 'Traceback' not in answer.body.decode()
    return error


def raw(server, head: str) -> str:
    "The answer to a request that no library would send"
    with socket.create_connection(('127.0.0.1', server.port), 10) as s:
        s.sendall(head.encode('latin-1'))
        s.settimeout(10)
        out = b''
        while chunk := s.recv(65536): out += chunk
    return out.decode('latin-1')


# --- who gets in -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('credential', ['none', 'wrong', 'empty', 'query'])
def test_without_the_token_every_route_and_method_is_refused(server, credential):
    h = {'wrong': {'Authorization': 'token 0'}, 'empty': {'Authorization': 'token '}}.get(credential, {})
    end = '?token=wrong' if credential == 'query' else ''
    got = {(m, p): server.ask(p+end, m, body=b'{}' if m not in ('GET', 'HEAD', 'OPTIONS') else None,
                              headers={**h, 'Content-Type': 'application/json'}, token=False).status
           for p in routes() for m in METHODS}
    assert len(got) == len(routes())*len(METHODS)
    assert {k: s for k, s in got.items() if s != 403} == {}


def test_with_the_token_only_the_declared_methods_work(server):
    from llmops.faces.handlers import ROUTES
    declared = {p: {m for m in METHODS if m.lower() in vars(h)} for p, (_, h) in zip(routes(), ROUTES)}
    for path, has in declared.items():
        for m in METHODS:
            status = server.ask(path, m, body=b'{}' if m not in ('GET', 'HEAD', 'OPTIONS') else None,
                                headers={'Content-Type': 'application/json'}).status
            if path.endswith('no/such/route'): assert status in (404, 405)
            elif m in has: assert status in (200, 400, 404), (path, m, status)
            else: assert status == 405, (path, m, status)


def test_every_handler_asks_who_is_there_and_whether_he_may():
    from llmops.faces.handlers import ROUTES
    for route, h in ROUTES:
        assert h.auth_resource == 'llmops'
        for m in METHODS:
            if m.lower() in vars(h): assert hasattr(vars(h)[m.lower()], '__wrapped__'), (route, m)


def test_a_signed_in_browser_needs_the_xsrf_token_to_change_something(server):
    first = server.ask(f'api/status?token={server.token}', token=False)
    page = raw(server, f'GET /tree?token={server.token} HTTP/1.0\r\nHost: 127.0.0.1:{server.port}\r\n\r\n')
    cookies = '; '.join(re.findall(r'(?im)^set-cookie: ([^;]+)', page))
    assert first.status == 200 and 'username' in cookies
    body = {'args': {'ref': 'model:chat@1', 'name': 'by-cookie'}}
    assert server.ask('llmops/api/head', headers={'Cookie': cookies}, token=False).status == 200
    refused = server.ask('llmops/api/call/alias', 'POST', body, {'Cookie': cookies}, token=False)
    assert refused.status == 403 and server.ws.store.state('model:chat', 'alias:by-cookie') is None
    right = re.search(r'_xsrf=([^;]+)', cookies).group(1)
    version, mask, masked, at = right.split('|')
    near = '|'.join((version, mask, f'{int(masked[0], 16) ^ 1:x}{masked[1:]}', at)) # One bit off
    for token, status in (('', 403), ('wrong', 403), (near, 403), (right, 200)):
        assert server.ask('llmops/api/call/alias', 'POST', body, {'Cookie': cookies, 'X-XSRFToken': token},
                          token=False).status == status
    assert server.ws.store.state('model:chat', 'alias:by-cookie') == 1


@pytest.mark.parametrize('host', ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example',
                                  'localhost/llmops/api/head?', 'localhost/health?', '[::1].evil',
                                  'evil.example:80', '169.254.169.254', 'LOCALHOST.evil', '0x7f000001.example'])
def test_a_foreign_host_header_gets_nothing(server, host):
    for path in ('/llmops/api/head', '/llmops/api/report/report:eval'):
        answer = raw(server, f'GET {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: token {server.token}\r\n\r\n')
        assert int(answer.split()[1]) in (400, 403, 404) and '"seq"' not in answer and '<h1>' not in answer


@pytest.mark.parametrize('origin', ['http://evil.example', 'http://127.0.0.1.evil.example', 'null',
                                    'http://127.0.0.1:1', 'https://127.0.0.1', 'http://localhost.'])
def test_a_page_of_another_origin_cannot_call(server, origin):
    cookies = '; '.join(
        re.findall(r'(?im)^set-cookie: ([^;]+)',
                   raw(server, f'GET /tree?token={server.token} HTTP/1.0\r\nHost: 127.0.0.1:{server.port}\r\n\r\n')))
    a = server.ask('llmops/api/call/alias', 'POST', {'args': {'ref': 'model:chat', 'name': 'stolen'}},
                   {'Cookie': cookies, 'Origin': origin}, token=False)
    assert a.status in (403, 404) and server.ws.store.state('model:chat', 'alias:stolen') is None
    assert (a.headers.get('access-control-allow-origin', '') in ('', 'null')
            or origin not in a.headers['access-control-allow-origin'])


# --- mistakes --------------------------------------------------------------------------------------------------------

NAUGHTY = ['..', '%2e%2e%2f%2e%2e%2fetc%2fpasswd', 'model:..%2Fx', 'model:%00', 'model:chat@%00', 'model:chat@99',
           'model:nope', 'nope:chat', 'model:' + 'a'*4096, 'model:%F0%9F%98%80',
           'model:c%D1%85at', "model:'%20or%201=1--", 'model:%3Cscript%3E', '%FF%FE', 'model:chat@prod', 'run:',
           'model:%ED%A0%80', 'secret.txt', '~', 'model:.', 'file:%2F%2F%2Fetc']


@pytest.mark.parametrize('what', ['version', 'report', 'run', 'view', 'call', 'templates', 'stop'])
def test_a_naughty_name_is_told_in_a_sentence(server, what):
    for name in NAUGHTY:
        path = {'call': f'llmops/api/call/{name}', 'templates': f'llmops/api/templates/{name}/run',
                'stop': f'llmops/api/run/{name}/stop'}.get(what, f'llmops/api/{what}/{name}')
        a = server.ask(path, 'POST' if what in ('call', 'templates', 'stop') else 'GET',
                       {'args': {}} if what in ('call', 'templates') else None)
        assert 400 <= a.status < 500, (path[:80], a.status, a.body[:300])
        assert 'do not tell' not in a.body.decode() and 'root:' not in a.body.decode() and said(a)


@pytest.mark.parametrize('query', ['limit=0', 'limit=-1', 'limit=1e9', 'limit=99999999999999999999', 'until=x',
                                   'until=nan', 'kind=nope', 'name=chat', 'nope=1', 'kind=model&name=..'])
def test_a_wrong_query_is_told_in_a_sentence(server, query):
    a = server.ask(f'llmops/api/versions?{query}')
    assert a.status == 400 and said(a)


@pytest.mark.parametrize('body', [b'', b'null', b'[]', b'[1]', b'"x"', b'{', b'{"args": []}', b'{"args": {"ref": NaN}}',
                                  b'{"args": {}, "by": "root"}', b'\xff\xfe', b'['*100_000, b'{"args":' * 5000,
                                  b'{"args": {"ref": "model:chat", "name": "prod", "__class__": "x"}}',
                                  b'{"args": {"ref": ["model:chat"], "name": "a"}}',
                                  b'{"args": {"ref": "model:chat", "name": {"a": 1}}}',
                                  b'{"args": {"ref": "model:chat", "name": "\\ud800"}}',
                                  b'{"args": {"ref": "model:chat", "name": "a\\u0000"}}'])
def test_a_wrong_body_is_told_in_a_sentence(server, body):
    before = server.ws.store.head()
    a = server.ask('llmops/api/call/alias', 'POST', body, {'Content-Type': 'application/json'})
    assert a.status == 400 and said(a) and server.ws.store.head() == before


def test_a_body_must_be_json_and_not_too_long(server):
    assert server.ask('llmops/api/call/alias', 'POST', b'ref=model:chat&name=x',
                      {'Content-Type': 'application/x-www-form-urlencoded'}).status == 415
    assert server.ask('llmops/api/call/alias', 'POST', b'{"args": {"ref": "' + b'x'*1_100_000 + b'"}}',
                      {'Content-Type': 'application/json'}).status == 413


def test_a_mistake_names_the_next_command(server):
    assert said(server.ask('llmops/api/version/model:nope')) == dict(message='model:nope is not in this store.',
                                                                     code='not_found', next='llmops ls model')
    assert said(server.ask('llmops/api/call/approve', 'POST', {'args': {'ref': 'model:chat', 'report': 'report:eval',
                                                                        'note': ' '}}))['message'].startswith(
                                                                            'Say why model:chat@1 is approved')


# --- what a browser may do -------------------------------------------------------------------------------------------

def test_every_answer_forbids_sniffing_framing_and_telling(server):
    for path in routes():
        for token in (True, False):
            h = server.ask(path, token=token).headers
            assert (h['x-content-type-options'] == 'nosniff' and h['referrer-policy'] == 'no-referrer'
                    and "frame-ancestors 'self'" in h['content-security-policy']), path
            assert "default-src 'none'" in h['content-security-policy'] and h['cache-control'] == 'no-store', path


def test_a_report_may_run_nothing(server):
    a = server.ask('llmops/api/report/report:eval')
    policy = {p.split()[0]: p.split()[1:] for p in a.headers['content-security-policy'].split(';')}
    assert a.status == 200 and a.headers['content-type'] == 'text/html; charset=utf-8' and a.body == REPORT.encode()
    assert policy == {'default-src': ["'none'"], 'style-src': ["'unsafe-inline'"], 'img-src': ['data:'],
                      'base-uri': ["'none'"], 'form-action': ["'none'"], 'frame-ancestors': ["'self'"], 'sandbox': []}


def test_stored_markup_comes_back_as_json_text(server):
    a = server.ask('llmops/api/version/prompt:p0')
    assert a.headers['content-type'].startswith('application/json') and a.json['body'] == {'text': XSS}
    assert a.json['card'] == XSS


# --- what it answers -------------------------------------------------------------------------------------------------

def test_pages_of_a_list_fit_together(server):
    seen, cursor = [], ''
    for _ in range(9):
        part = server.ask(f'llmops/api/versions?kind=prompt&limit=2&until={cursor}').json
        seen += [r['ref'] for r in part['items']]
        if not (cursor := part['next']): break
    assert seen == ['prompt:p2@1', 'prompt:p1@1', 'prompt:p0@1']


def test_a_call_moves_an_alias_and_who_did_it_is_on_record(server):
    from llmops.verbs import user
    a = server.ask('llmops/api/call/alias', 'POST', {'args': {'ref': 'model:chat@1', 'name': 'prod'}})
    assert (a.status, a.json) == (200, dict(run='', versions=[], value='model:chat@prod'))
    page = server.ask('llmops/api/version/model:chat@prod').json
    assert 'prod' in page['version']['aliases']
    assert page['history'][0]['data'] == dict(alias='prod', to=1, was=None, by=user())


def test_a_report_is_approved_over_http_and_only_about_its_subject(server):
    ok = server.ask('llmops/api/call/approve', 'POST',
                    {'args': {'ref': 'model:chat', 'report': 'report:eval', 'note': 'better'}})
    assert ok.status == 200 and server.ask('llmops/api/version/model:chat').json['version']['status'] == 'approved'
    no = server.ask('llmops/api/call/approve', 'POST',
                    {'args': {'ref': 'prompt:p0', 'report': 'report:eval', 'note': 'better'}})
    assert no.status == 403 and 'is not about prompt:p0@1' in said(no)['message']


def test_a_long_verb_runs_in_a_process_of_its_own_and_can_be_seen(server):
    (server.folder/'hello.txt').write_text('Hello {name}')
    a = server.ask('llmops/api/call/add', 'POST',
                   {'args': {'ref': 'prompt:hello', 'path': str(server.folder/'hello.txt')}})
    assert a.status == 200 and a.json['run']
    for _ in range(150):
        page = server.ask(f"llmops/api/run/{a.json['run']}").json
        if page['run']['status'] not in ('waiting', 'running'): break
        time.sleep(.2)
    assert (page['run']['status'], page['writes'], page['can_stop']) == ('done', ['prompt:hello@1'], False)
    assert a.json['run'] in [r['id'] for r in server.ask('llmops/api/runs').json['items']]


def test_a_template_starts_with_checked_parameters_only(server):
    folder = server.folder/'templates'
    folder.mkdir(exist_ok=True)
    cell = dict(cell_type='code', id='p', source='steps: int = 3  # How many', metadata=dict(tags=['parameters']),
                outputs=[], execution_count=None)
    (folder/'tiny.ipynb').write_text(json.dumps(
        dict(nbformat=4, nbformat_minor=5, cells=[cell, {**cell, 'id': 'b', 'source': 'print(steps)', 'metadata': {}}],
             metadata=dict(kernelspec=dict(name='python3', display_name='Python 3', language='python')))))
    listed = {t['name']: t for t in server.ask('llmops/api/templates').json['items']}['tiny']
    assert listed['params'] == [dict(name='steps', type='int', doc='How many', default=3, required=False, choices=[],
                                     kind='', many=False, group='')]
    for args in ({'step': 1}, {'steps': 'x'}, {'x=1\nimport os': 1}, {'__class__': 1}):
        a = server.ask('llmops/api/templates/tiny/run', 'POST', {'args': args})
        assert a.status == 400 and said(a)
    run = server.ask('llmops/api/templates/tiny/run', 'POST', {'args': {'steps': 5}}).json['run']
    for _ in range(300):
        page = server.ask(f'llmops/api/run/{run}').json
        if page['run']['status'] not in ('waiting', 'running'): break
        time.sleep(.2)
    assert (page['run']['status'], page['error'], {c['status'] for c in page['cells']}) == ('done', '', {'done'}), page
    assert [c['source'] for c in page['cells'] if c['id'] == 'b'] == ['print(steps)']
    assert page['page'] == f'run:{run}' and server.ask(f'llmops/api/report/run:{run}').status == 200


def test_news_of_the_store_reaches_a_subscriber(server):
    asyncio = pytest.importorskip('asyncio')
    websocket = pytest.importorskip('tornado.websocket')
    from tornado.httpclient import HTTPRequest

    assert server.ask('llmops/api/head').status == 200 # The workspace is open, and the log is followed from here
    time.sleep(1.5)

    async def listen() -> dict:
        ws = await websocket.websocket_connect(HTTPRequest(f'ws://127.0.0.1:{server.port}/api/events/subscribe',
                                                           headers={'Authorization': f'token {server.token}'}))
        server.ws.store.put('prompt', 'news', dict(text='fresh'))
        while True:
            got = json.loads(await asyncio.wait_for(ws.read_message(), 15))
            if 'prompt:news@1' in got.get('about', []): return got

    news = asyncio.run(listen())
    assert news['schema_id'] == 'urn:llmops:store' and 'version' in news['kinds']
    assert news['seq'] <= server.ws.store.head()[0]


def test_a_folder_without_a_workspace_says_how_to_make_one(tmp_path, server):
    from llmops.core import NotFound
    from llmops.faces.server import Desk, problem
    with pytest.raises(NotFound) as e: Desk(tmp_path).versions()
    assert problem(e.value) == dict(message='There is no workspace here or in a folder above.', code='not_found',
                                    next='llmops init')


def test_no_secret_and_no_trace_reached_the_log(server):
    server.ask('llmops/api/version/model:nope', headers={'Referer': f'http://x/?token={server.token}'})
    log = server.log.read_text()
    # Jupyter prints its own address at the start
    assert server.token not in log.replace(f'token={server.token}', '', 1) or log.count(server.token) <= 4
    assert 'Traceback' not in log and ' 500 ' not in log


def test_schema_ts_is_what_python_generates():
    from llmops.faces.server import main
    assert main(['--check', str(Path(__file__).parent.parent/'jupyter_extension/src/schema.ts')]) == 0


# --- rows of a dataset -----------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def rows(server):
    "A dataset of 1,000 rows, two of them hostile, and one that takes ten over"
    from llmops.data.write import write_dataset
    from llmops.rows import rows as rows_of
    from llmops.verbs import VERBS, call, verb

    @verb(writes='dataset')
    def hostile_rows(run):
        "Write rows"
        made = [dict(text=XSS if i in (7, 8) else f'row {i}', n=i, _file=f'{XSS}.jsonl', _line=i+1)
                for i in range(1000)]
        whole = write_dataset(run, 'many', made, format='text',
                              rejected=[dict(line=3, column=9, reason=XSS, text=XSS, file='x.jsonl')],
                              removed=[dict(step='empty', why=XSS, row=dict(text=''))])
        return [whole, write_dataset(run, 'part', (r for r in rows_of(server.ws.store, whole) if r['n'] % 100 == 8),
                                     format='text', parents=[whole])]
    try: whole, part = call(server.ws.store, 'hostile_rows')
    finally: del VERBS['hostile_rows']
    return str(whole), str(part)


def page_of(server, ref: str, **query) -> dict:
    from urllib.parse import quote, urlencode
    a = server.ask(f'llmops/api/rows/{quote(ref, safe="")}?{urlencode(query)}')
    assert a.status == 200, a.body
    assert a.headers['content-type'].startswith('application/json') and a.headers['x-content-type-options'] == 'nosniff'
    return a.json


def test_rows_come_a_page_at_a_time_with_where_they_came_from(server, rows):
    whole, part = rows
    p = page_of(server, whole, start=998, limit=50)
    assert (p['total'], p['next'], [h['number'] for h in p['items']]) == (1000, None, [999, 1000])
    assert p['items'][0] == dict(number=999, row=dict(text='row 998', n=998), cut=False, file=f'{XSS}.jsonl', line=999,
                                 parent='', parent_row=None)
    first = page_of(server, part, limit=1)['items'][0]
    assert (first['row']['n'], first['line'], first['parent'], first['parent_row']) == (8, 9, whole, 9)
    seen, at = [], 0
    while at is not None:
        p = page_of(server, whole, start=at, limit=333)
        seen += [h['row']['n'] for h in p['items']]
        at = p['next']
    assert seen == list(range(1000))


def test_a_search_looks_at_what_rows_say_and_goes_on_where_it_stopped(server, rows):
    whole, _ = rows
    p = page_of(server, whole, q='ONERROR', limit=1)
    assert ([h['number'] for h in p['items']], p['next']) == ([8], 8)
    p = page_of(server, whole, q='onerror', limit=5, start=p['next'])
    assert ([h['number'] for h in p['items']], p['next']) == ([9], None)
    assert page_of(server, whole, q='text')['items'] == [] # The name of a column is not what a row says


def test_rows_that_were_not_read_or_taken_out_are_browsed_alike(server, rows):
    whole, part = rows
    assert (page_of(server, whole, part='rejected')['items'][0]['row']
            == dict(line=3, column=9, reason=XSS, text=XSS, file='x.jsonl'))
    assert page_of(server, whole, part='removed')['items'][0]['row']['step'] == 'empty'
    assert page_of(server, part, part='removed') == dict(ref=part, part='removed', total=0, start=0,
                                                         items=[], next=None)


@pytest.mark.parametrize('query', ['start=-1', 'start=x', 'start=1e3', 'start=9999999999999', 'limit=0', 'limit=1001',
                                   'part=secret', 'part=../rows', 'lines=3'])
def test_a_wrong_page_of_rows_is_a_sentence(server, rows, query):
    a = server.ask(f'llmops/api/rows/{rows[0]}?{query}')
    assert a.status == 400 and said(a)['code'] == 'invalid'


def test_only_datasets_have_rows(server, rows):
    assert server.ask('llmops/api/rows/model:chat').status == 400
    assert server.ask('llmops/api/rows/dataset:none').status == 404


# --- Chinese ---------------------------------------------------------------------------------------------------------

def test_every_verb_and_parameter_says_in_chinese_what_it_does():
    from llmops.verbs import VERBS, load_all
    from llmops.faces.templates import all_templates
    load_all()
    key = re.compile(r'''^\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([A-Za-z_]\w*)):\s''', re.M)
    texts = [f.read_text('utf-8') for f in (Path(__file__).parent.parent/'jupyter_extension/src').glob('zh*.ts')]
    known = {re.sub(r'\\(.)', r'\1', next(filter(None, m.groups()))) for t in texts for m in key.finditer(t)}
    said_ = {d: n for n, s in VERBS.items() if s.fn.__module__.startswith('llmops.')
             for d in (s.doc, *(x for p in s.params.values() for x in (p.doc, p.group))) if d}
    said_ |= {p.help: t.name for t in all_templates()
              for p in t.parameters if p.help and not re.search('[\u4e00-\u9fff]', p.help)}
    assert len(said_) > 200 and sorted(f'{n}: {d}' for d, n in said_.items() if d not in known) == []
