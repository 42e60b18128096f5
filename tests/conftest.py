"""What tests share: a workspace in a temporary folder, and a store on SQLite and on PostgreSQL.

The PostgreSQL server is a throw-away cluster of the test session: made with `initdb` in a temporary folder, run by a
user that is not root, reachable over a Unix socket and a loopback port of its own, stopped and removed at the end.
`LLMOPS_TEST_PG` (an SQLAlchemy URL) uses a server that is there instead.
"""
import getpass
import json
import os
import pwd
import shutil
import socket
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent/'shared'/'data'


# --- order of files --------------------------------------------------------------------------------------------------

COSTS = ROOT/'tests'/'costs.json' # File → seconds that it took on a quiet machine; written with --costs


def pytest_addoption(parser):
    parser.addoption('--costs', action='store_true', help='keep in tests/costs.json how long each file took')


def pytest_configure(config):
    "Files go to workers in the order below; xdist would sort them by how many tests they have"
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    "Long files first, so that no worker idles while another begins a long one at the end"
    costs = json.loads(COSTS.read_text())
    def place(item): return -costs.get(name := item.nodeid.partition('::')[0], 30.), name
    items.sort(key=place)


def pytest_terminal_summary(terminalreporter, config):
    "Keep what files cost"
    if not config.getoption('--costs'): return
    took:Counter = Counter()
    for r in (r for rs in terminalreporter.stats.values() for r in rs if hasattr(r, 'duration')):
        took[r.nodeid.partition('::')[0]] += r.duration
    new = json.loads(COSTS.read_text()) | {k: round(v, 1) for k, v in took.items()}
    COSTS.write_text(json.dumps(dict(sorted(new.items(), key=lambda kv: -kv[1])), indent=1)+'\n')


# --- a place to work -------------------------------------------------------------------------------------------------

@pytest.fixture(scope='session', autouse=True)
def _quiet_home(tmp_path_factory) -> Iterator[None]:
    "No test reads or writes the user's own settings, and none reaches beyond this machine"
    home = tmp_path_factory.mktemp('home')
    keep = {k: os.environ.get(k)
            for k in ('LLMOPS_STORE', 'JUPYTER_CONFIG_DIR', 'JUPYTER_RUNTIME_DIR', 'JUPYTER_DATA_DIR', 'IPYTHONDIR',
                      'HF_HUB_OFFLINE', 'WANDB_MODE', 'WANDB_SILENT')}
    os.environ.pop('LLMOPS_STORE', None)
    os.environ |= {'JUPYTER_CONFIG_DIR': str(home/'jupyter'), 'JUPYTER_RUNTIME_DIR': str(home/'run'),
                   'JUPYTER_DATA_DIR': str(home/'data'), 'IPYTHONDIR': str(home/'ipython'), 'HF_HUB_OFFLINE': '1',
                   'WANDB_MODE': 'offline', 'WANDB_SILENT': 'true'}
    yield
    for k, v in keep.items():
        if v is None: os.environ.pop(k, None)
        else: os.environ[k] = v


@pytest.fixture
def ws(tmp_path, monkeypatch):
    "A new workspace in a folder of its own, which is also the working directory"
    import llmops
    monkeypatch.chdir(tmp_path)
    return llmops.open(tmp_path/'ws')


@pytest.fixture(scope='session')
def base() -> Path:
    "The folder of the model that ships"
    return ROOT/'assets'/'tiny-qwen'


@pytest.fixture
def model(ws, base):
    "The model that ships, in the workspace"
    return ws.add('model:tiny', str(base))


@pytest.fixture
def data() -> Path:
    "The folder of public data sets beside the checkout"
    if not DATA.is_dir(): pytest.skip('no ../shared/data beside this checkout')
    return DATA


# --- Lab in a browser ------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def lab_over(tmp_path_factory):
    "Start Lab over a new workspace: `fill` gets its folder and a way to call verbs"
    @contextmanager
    def start(fill):
        from lab_server import lab

        from llmops.settings import write_settings
        from llmops.verbs import call, open_workspace
        if not (ROOT/'llmops/labextension/package.json').exists():
            pytest.fail('llmops/labextension is not built: make setup')
        folder = tmp_path_factory.mktemp('lab')
        write_settings(folder, sinks='', phoenix='off')
        ws = open_workspace(folder)
        fill(folder, lambda verb, **given: call(ws.store, verb, given))
        with lab(folder, 'jupyterlab') as it:
            it.ws = ws
            yield it
        ws.store.close()
    return start


@pytest.fixture(scope='module')
def chromium():
    from lab_server import CHROMIUM, FLAGS
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield b
        b.close()


@pytest.fixture
def page(here, chromium, request):
    "Lab in a browser; afterwards: no dialog, no error, no request to anybody else"
    seen = dict(dialogs=[], errors=[], outside=[])
    ours = (here.url, here.url.replace('http', 'ws', 1), 'data:', 'blob:')
    context = chromium.new_context(viewport=dict(width=1280, height=900), locale=getattr(request, 'param', 'en-US'))
    p = context.new_page()
    p.set_default_timeout(60_000)
    p.on('dialog', lambda d: (seen['dialogs'].append(d.message), d.dismiss()))
    p.on('pageerror', lambda e: seen['errors'].append(str(e)))
    p.on('request', lambda r: None if r.url.startswith(ours) else seen['outside'].append(r.url))
    p.goto(f'{here.url}lab?reset&token={here.token}')
    p.wait_for_selector('li[data-id="llmops-models"]')
    yield p
    p.screenshot(path=here.folder/'last.png') # What the test left, to look at when it failed
    context.close()
    assert seen == dict(dialogs=[], errors=[], outside=[])


# --- PostgreSQL ------------------------------------------------------------------------------------------------------

def _programs() -> Path | None:
    found = sorted(Path('/usr/lib/postgresql').glob('*/bin/initdb'), key=lambda p: int(p.parts[-3]))
    if found: return found[-1].parent
    exe = shutil.which('initdb')
    return Path(exe).resolve().parent if exe else None


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def _someone_else() -> str | None:
    "PostgreSQL refuses to run as root: the user to run it as, None for ourselves"
    if os.geteuid(): return None
    for name in ('postgres', 'nobody'):
        try: return pwd.getpwnam(name).pw_name
        except KeyError: pass
    raise RuntimeError('root, and neither a user postgres nor nobody to run PostgreSQL as')


@pytest.fixture(scope='session')
def pg_server(tmp_path_factory) -> Iterator[str]:
    "A running PostgreSQL server: the URL of its `postgres` database"
    if url := os.environ.get('LLMOPS_TEST_PG'):
        yield url
        return
    programs = _programs()
    if programs is None: pytest.skip('PostgreSQL is not installed (make test installs it on Debian)')
    user = _someone_else()
    base = Path('/tmp')/f'llmops-pg-{uuid.uuid4().hex[:8]}'         # short: a Unix socket's path has 107 bytes at most
    base.mkdir(mode=0o700)
    if user: shutil.chown(base, user)
    def sh(*cmd):
        subprocess.run(['setpriv', f'--reuid={user}', f'--regid={pwd.getpwnam(user).pw_gid}', '--clear-groups', *cmd]
                       if user else cmd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd='/',
                       env={**os.environ, 'HOME': str(base), 'LC_ALL': 'C.UTF-8'})
    try:
        who = user or getpass.getuser()
        sh(str(programs/'initdb'), '-D', str(base/'data'), '-U', who, '-A', 'trust', '-E', 'UTF8',
           '--locale=C.UTF-8', '--no-sync')
        for _ in range(3):                      # another process may take the port between asking and using
            port = _free_port()
            try:
                sh(str(programs/'pg_ctl'), '-D', str(base/'data'), '-l', str(base/'log'), '-w', '-t', '60', 'start',
                   '-o', f'-p {port} -k {base} -c listen_addresses=127.0.0.1 -c max_connections=120 -c '
                   'shared_buffers=64MB -c fsync=off')
                break
            except subprocess.CalledProcessError: pass
        else: raise RuntimeError((base/'log').read_text()[-2000:])
        yield f'postgresql+psycopg://{who}@127.0.0.1:{port}/postgres'
    finally:
        try: sh(str(programs/'pg_ctl'), '-D', str(base/'data'), '-m', 'immediate', '-w', 'stop')
        except subprocess.CalledProcessError: pass
        shutil.rmtree(base, ignore_errors=True)


def _psycopg(url: str) -> str:
    return url.replace('postgresql+psycopg://', 'postgresql://')


@pytest.fixture
def pg_url(pg_server) -> Iterator[str]:
    "A new, empty PostgreSQL database, dropped after the test"
    import psycopg
    name = f't{uuid.uuid4().hex[:12]}'
    with psycopg.connect(_psycopg(pg_server), autocommit=True) as c: c.execute(f'create database {name}')
    yield f'{pg_server.rsplit("/", 1)[0]}/{name}'
    with psycopg.connect(_psycopg(pg_server), autocommit=True) as c: c.execute(f'drop database {name} with (force)')


@pytest.fixture(params=['sqlite', pytest.param('postgresql', marks=pytest.mark.postgres)])
def store(request, tmp_path):
    "The same tests for the store on SQLite and on PostgreSQL"
    from llmops.store import Store
    s = (Store(tmp_path/'store') if request.param == 'sqlite'
         else Store(request.getfixturevalue('pg_url'), blobs=tmp_path/'blobs'))
    yield s
    s.close()
