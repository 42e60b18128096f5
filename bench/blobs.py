"""Putting files into the blob store: beside copy + SHA-256 with the standard library, and MLflow's `log_artifacts`.

Sources lie in the page cache and nothing is synced, on either side: this is the cost of hashing and copying, not of a disk.
Each round of every arm writes into a new, empty place; what it wrote is removed outside its time.
"""
import hashlib
import os
import random
import shutil
import time
from pathlib import Path

from peer import Peer

from llmops.blobs import Blobs


def make(folder: Path, files: int, size: int) -> Path:
    "`files` files of `size` random bytes, a hundred to a folder"
    rnd = random.Random(files)
    for i in range(files):
        d = folder/f'{i//100:03d}'
        d.mkdir(parents=True, exist_ok=True)
        with open(d/f'{i:05d}.bin', 'wb') as f:
            for _ in range(max(1, size >> 20)): f.write(rnd.randbytes(min(size, 1 << 20)))
    os.sync()
    return folder


def copy_sha256(src: Path, dst: Path) -> float:
    "What a careful script does: read, hash and write each file once, in 1 MB pieces"
    t = time.perf_counter()
    for base, _, names in os.walk(src):
        to = dst/Path(base).relative_to(src)
        to.mkdir(parents=True, exist_ok=True)
        for n in names:
            h = hashlib.sha256()
            with open(Path(base)/n, 'rb') as i, open(to/n, 'wb') as o:
                while b := i.read(1 << 20):
                    h.update(b)
                    o.write(b)
            h.hexdigest()
    return time.perf_counter() - t


def measure(ctx) -> None:
    small = ctx.small
    peer = Peer(ctx.folder/'mlflow')
    count = 0

    def fresh() -> Path:
        nonlocal count
        count += 1
        return ctx.folder/f'out-{count}'

    def clear(p: Path) -> None: shutil.rmtree(p, ignore_errors=True)

    def ours(src: Path, link: bool = False):
        def arm() -> float:
            b = Blobs(to := fresh())
            t = time.perf_counter()
            b.put_folder(src, link=link)
            t = time.perf_counter() - t
            clear(to)
            return t
        return arm

    def floor(src: Path):
        def arm() -> float:
            t = copy_sha256(src, to := fresh())
            clear(to)
            return t
        return arm

    def mlflow(src: Path):
        def arm() -> float:
            to = fresh().name
            t = peer.ask('artifacts', folder=str(src), to=to)
            for p in (ctx.folder/'mlflow'/'artifacts').glob(f'*/artifacts/{to}'): clear(p)
            return t
        return arm

    try:
        for name, files, size, goal in (('1 GB in 10 files', 10, (1 << 20 if small else 100 << 20), .35),
                                        ('10,000 files of 4 KB', 300 if small else 10_000, 4096, .6)):
            src = make(ctx.folder/f'src-{files}', files, size)
            ctx.turn(name, {'llmops': ours(src), 'llmops, linked': ours(src, True), 'copy + sha256': floor(src),
                            'MLflow log_artifacts': mlflow(src)}, rounds=min(5, ctx.rounds))
            ctx.ratio(name, 'llmops', 'copy + sha256', goal)
            ctx.ratio(name, 'llmops', 'MLflow log_artifacts', 1)
            kept = Blobs(ctx.folder/f'kept-{files}')
            time.sleep(.1)                         # a file touched just now is not trusted by its time stamp
            kept.put_folder(src)
            ctx.turn(f'{name}, again', {'unchanged': lambda kept=kept, src=src: kept.put_folder(src) and None,
                                        'first': ours(src)}, rounds=min(5, ctx.rounds))
            ctx.ratio(f'{name}, again', 'unchanged', 'first', 10, 'above', note='first is our own first time')
            ctx.ratio(f'{name}, again', 'unchanged', 'copy + sha256', 10, 'above', other=name)
            clear(src)
            clear(ctx.folder/f'kept-{files}')
    finally: peer.close()
