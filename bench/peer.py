"""MLflow, measured in an environment of its own: reads one JSON request a line, answers with the seconds it took.

`synchronous` is set as on our side, and the database is in WAL mode. Versions beyond the first are cloned in its tables
by SQL, since adding 10,000 through its client takes minutes.
"""
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Peer:
    "The other end: starts this file with .venv-bench and asks it"
    def __init__(self, folder: Path):
        exe = HERE.parent/'.venv-bench/bin/python'
        if not exe.exists(): raise SystemExit('the peers are not installed: make bench')
        env = {**os.environ, 'MLFLOW_DISABLE_TELEMETRY': 'true', 'DO_NOT_TRACK': 'true', 'GIT_PYTHON_REFRESH': 'quiet'}
        self.p = subprocess.Popen([exe, str(HERE/'peer.py'), str(folder)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True, env=env)
        self.ask('hello')

    def ask(self, what: str, **args) -> float:
        self.p.stdin.write(json.dumps(dict(what=what, **args)) + '\n')
        self.p.stdin.flush()
        line = self.p.stdout.readline()
        if not line: raise RuntimeError('MLflow stopped')
        return json.loads(line)

    def close(self) -> None:
        self.p.stdin.close()
        self.p.wait(20)


def serve(folder: Path) -> None:
    out = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    import mlflow
    import sqlalchemy as sa
    from mlflow.tracking import MlflowClient
    logging.disable(logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)

    @sa.event.listens_for(sa.engine.Engine, 'connect')
    def _(db, _):
        db.execute('pragma journal_mode=wal')
        db.execute('pragma synchronous=normal')

    db = folder/'mlflow.db'
    mlflow.set_tracking_uri(f'sqlite:///{db}')
    c = MlflowClient()
    run, n = None, 0

    def grow(to: int) -> None:
        "Clone version 1 until there are `to`"
        nonlocal n
        import sqlite3
        with sqlite3.connect(db) as raw:
            cols = [r[1] for r in raw.execute('pragma table_info(model_versions)')]
            rest = [k for k in cols if k not in ('version', 'storage_location')]
            raw.executemany(f'insert into model_versions(version, {", ".join(rest)}) select ?, '
                            f'{", ".join(rest)} from model_versions where name=? and version=1',
                            [(i, 'chat') for i in range(n + 1, to + 1)])
        n = to

    for line in sys.stdin:
        q = json.loads(line)
        what, t = q.pop('what'), time.perf_counter()
        if what == 'start':
            c.create_registered_model('chat')
            c.create_model_version('chat', f'file://{folder}/w', tags={'a': '1'})
            n = 1
            grow(q['versions'])
        elif what == 'add':
            for _ in range(q['times']):
                n = int(c.create_model_version('chat', f'file://{folder}/w{n}', tags={'licence': 'apache-2.0'}).version)
        elif what == 'alias':
            for i in range(q['times']): c.set_registered_model_alias('chat', 'prod', str(1 + (i*7919) % n))
        elif what == 'get':
            for _ in range(q['times']): c.get_model_version_by_alias('chat', 'prod')
        elif what == 'artifacts':
            if run is None:
                run = c.create_run(c.create_experiment('bench',
                                                       artifact_location=f'file://{folder}/artifacts')).info.run_id
            t = time.perf_counter()
            c.log_artifacts(run, q['folder'], q['to'])
        print(json.dumps(time.perf_counter() - t), file=out, flush=True)


if __name__ == '__main__': serve(Path(sys.argv[1]))
