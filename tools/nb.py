#!/usr/bin/env python
"""Keep a notebook, its text form and its module in step.

python tools/nb.py nbs_py/00_core.py          text → notebook (ids and outputs kept), cleaned, exported
python tools/nb.py nbs_py/00_core.py --test   the same, then run it and keep what it shows
python tools/nb.py --open nbs/00_core.ipynb   notebook → text, to edit it
"""
import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def to_notebook(text: Path) -> Path:
    "Write `text` (py:percent) into its notebook, keeping the ids and outputs of cells that stay"
    nb = ROOT/'nbs'/text.resolve().relative_to(ROOT/'nbs_py').with_suffix('.ipynb')
    nb.parent.mkdir(parents=True, exist_ok=True)
    keep = ['--update'] if nb.exists() else []
    subprocess.run([sys.executable, '-m', 'jupytext', '--quiet', *keep, '--to', 'ipynb', '--output', str(nb),
                    str(text)], check=True)
    return nb


def tidy(nb: Path) -> None:
    "Keep of the notebook's metadata only the kernel and the cells' tags"
    from fastcore.nbio import read_nb, write_nb
    d = read_nb(nb)
    d.metadata = {'kernelspec': {'display_name': 'python3', 'language': 'python', 'name': 'python3'}}
    for c in d.cells: c.metadata = {k: v for k, v in c.metadata.items() if k == 'tags'}
    write_nb(d, nb)
    subprocess.run([BIN/'nbdev-clean', '--fname', str(nb)], cwd=ROOT, check=True)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('files', nargs='+', type=Path)
    p.add_argument('--test', action='store_true', help='run the notebook and keep its outputs')
    p.add_argument('--open', action='store_true', help='write the text form of a notebook')
    a = p.parse_args()
    for f in a.files:
        if a.open:
            out = ROOT/'nbs_py'/f.resolve().relative_to(ROOT/'nbs').with_suffix('.py')
            out.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run([sys.executable, '-m', 'jupytext', '--quiet', '--to', 'py:percent', '--output', str(out),
                            str(f)], check=True)
            continue
        nb = to_notebook(f)
        tidy(nb)
        subprocess.run([BIN/'nbdev-export', '--path', str(nb)], cwd=ROOT, check=True)
        if a.test:
            r = subprocess.run([BIN/'nbdev-test', str(nb), '--n-workers', '0', '--save'], cwd=ROOT)
            if r.returncode: return r.returncode
            subprocess.run([BIN/'nbdev-clean', '--fname', str(nb)], cwd=ROOT, check=True)
    return 0


if __name__ == '__main__': sys.exit(main())
