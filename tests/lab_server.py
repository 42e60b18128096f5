"A real Jupyter server on loopback, over a workspace of its own."
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
FLAGS = ('--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync')


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self): return json.loads(self.body)


@dataclass
class Lab:
    port: int
    token: str
    folder: Path
    log: Path

    @property
    def url(self) -> str: return f'http://127.0.0.1:{self.port}/'

    def ask(self, path: str, method: str = 'GET', body=None, headers: dict | None = None, token: bool = True) -> Answer:
        "One request, just as it is written"
        h = {'Authorization': f'token {self.token}'} if token else {}
        if body is not None and not isinstance(body, bytes):
            body, h = json.dumps(body).encode(), {**h, 'Content-Type': 'application/json'}
        r = urllib.request.Request(self.url+path, data=body, method=method, headers={**h, **(headers or {})})
        try:
            with urllib.request.urlopen(r, timeout=60) as f:
                return Answer(f.status, {k.lower(): v for k, v in f.headers.items()}, f.read())
        except urllib.error.HTTPError as e:
            return Answer(e.code, {k.lower(): v for k, v in e.headers.items()}, e.read())


def free_port() -> int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


@contextmanager
def lab(folder: Path, app: str = 'jupyter_server', *options: str):
    "A server whose root is `folder`; `app` is jupyter_server or jupyterlab"
    token, port, home = secrets.token_hex(16), free_port(), folder/'.home'
    home.mkdir(parents=True, exist_ok=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith(('JUPYTER', 'LLMOPS'))}
    env |= dict(JUPYTER_CONFIG_DIR=str(home/'config'), JUPYTER_DATA_DIR=str(home/'data'),
                JUPYTER_RUNTIME_DIR=str(home/'runtime'), JUPYTERLAB_SETTINGS_DIR=str(home/'settings'),
                JUPYTERLAB_WORKSPACES_DIR=str(home/'workspaces'), OMP_NUM_THREADS='1')
    extensions, news = (home/'share/labextensions/llmops-lab',
                        home/'settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings')
    extensions.parent.mkdir(parents=True, exist_ok=True)
    if not extensions.exists(): extensions.symlink_to(ROOT/'llmops/labextension')
    news.parent.mkdir(parents=True, exist_ok=True)
    news.write_text('{"fetchNews": "false"}')
    env['JUPYTER_PATH'] = str(home/'share')
    log = home/'server.log'
    with open(log, 'wb') as out:
        p = subprocess.Popen([sys.executable, '-m', app, '--no-browser', '--allow-root', '--ip=127.0.0.1',
                              f'--port={port}', '--ServerApp.port_retries=0',
                              f'--IdentityProvider.token={token}', f'--ServerApp.root_dir={folder}',
                              '--ServerApp.jpserver_extensions={"llmops.faces.server": True}', *options],
                             cwd=folder, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    me = Lab(port, token, folder, log)
    try:
        for _ in range(300):
            if p.poll() is not None: raise RuntimeError(log.read_text()[-2000:])
            try:
                if me.ask('api/status').status == 200: break
            except OSError: pass
            time.sleep(.2)
        else: raise RuntimeError('The server did not start: '+log.read_text()[-2000:])
        yield me
    finally:
        p.terminate()
        try: p.wait(15)
        except subprocess.TimeoutExpired: p.kill()
