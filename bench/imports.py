"""Import: a gigabyte of JSON lines as a dataset version, beside the readers of polars and datasets and a bare loop over its lines.

Each arm is a process of its own that reports its seconds and the most memory it had. Only ours checks every row against its format, refuses
keys that come twice, keeps the line of each row and stores the rows under their digest; polars reads all rows into memory, datasets
makes Arrow files in its cache. The bare loop is the floor: it reads lines and does nothing.
"""
import json
import os
import random
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

ARMS = {
    'ours': 'from llmops.verbs import open_workspace, load_all\nload_all()\nws = open_workspace(folder+"/ws")\n'
    'start()\nn = ws.load(path, "big").body["rows"]',
    'polars.read_ndjson': 'import polars as pl\nstart()\nn = len(pl.read_ndjson(path))',
    'datasets.load_dataset': 'import datasets\ndatasets.disable_progress_bars()\nstart()\n'
    'n = len(datasets.load_dataset("json", data_files=path, cache_dir=folder+"/cache", split="train"))',
    'bare loop': 'start()\nwith open(path, "rb") as f: n = sum(1 for _ in f)',
}
CHILD = ('import json, sys, time\nfolder, path = sys.argv[1:]\ndef start():\n    global t\n'
         '    t = time.perf_counter()\n{}\nt = time.perf_counter()-t\nprint(json.dumps([t, n, '
         'int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])/1024]))')


def make(path: Path, size: int) -> int:
    "Instructions of about a kilobyte, half of them with Chinese; returns how many"
    r, n = random.Random(0), 0
    words = [''.join(r.choices('etaoinshrdlucmfw', k=r.randint(2, 9))) for _ in range(6000)]
    texts = [' '.join(r.choices(words, k=120))+('。天地玄黄宇宙洪荒' if i % 2 else '\n"Yes."') for i in range(997)]
    with open(path, 'wb') as f:
        while f.tell() < size:
            f.writelines(json.dumps(dict(instruction=f'Question {n+i}: {texts[(n+i) % 997][:400]}', input='',
                                         output=texts[(n+i*7) % 997], id=n+i), ensure_ascii=False).encode()+b'\n'
                         for i in range(2000))
            n += 2000
    return n


def measure(ctx) -> None:
    path, most = ctx.folder/'big.jsonl', 30_000_000 if ctx.small else 1_000_000_000
    want, peak = make(path, most), {}
    print(f'    {want:,} rows, {path.stat().st_size/1e6:,.0f} MB')

    def arm(name: str):
        def f() -> float:
            at = ctx.folder/f'run-{name.split()[0]}-{len(list(ctx.folder.iterdir()))}'
            at.mkdir()
            env = {**os.environ, 'HF_HUB_OFFLINE': '1', 'HF_DATASETS_OFFLINE': '1'}
            r = subprocess.run([sys.executable, '-c', CHILD.format(ARMS[name]), str(at), str(path)],
                               capture_output=True, text=True, env=env)
            if r.returncode: raise RuntimeError(r.stderr[-2000:])
            t, n, mb = json.loads(r.stdout.strip().split('\n')[-1])
            assert n == want, (name, n, want)
            peak[name] = max(mb, peak.get(name, 0))
            subprocess.run(['rm', '-rf', str(at)], check=True)
            return t
        return f
    rounds = min(ctx.rounds, 2 if not ctx.small else 1)
    ctx.turn('import', {a: arm(a) for a in ARMS}, rounds=rounds, warm=0)
    for a, mb in peak.items(): print(f'    {"peak memory":28} {a:28} {mb:9,.0f} MB')
    size = path.stat().st_size/1e6
    speed = size/min(ctx.times['import']['ours'])
    ctx.figure('peak memory of an import of 1 GB', peak['ours'], 400, peak['ours'] <= 400, 'below',
               f'polars {peak["polars.read_ndjson"]:,.0f} MB, datasets {peak["datasets.load_dataset"]:,.0f} MB', ' MB')
    ctx.figure('import speed', speed, 10, speed >= 10, 'above',
               f'datasets {size/min(ctx.times["import"]["datasets.load_dataset"]):.0f} MB/s', ' MB/s')
