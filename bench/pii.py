"""Personal data: how fast a core scans and masks, beside Presidio's pattern recognisers and beside one regular expression.

The text is this repository's own prose and code in two languages, with a value of the test set's in every twentieth row.
Presidio's arm finds five kinds (cards, e-mail, IP, telephones, IBAN), ours ten, so its time flatters it. The floor is one
combined expression over the same rows, with no check of anything: what a quick script would do.
"""
import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLOOR = re.compile(r'[\w.+-]+@[\w-]+\.[\w.-]+|(?<!\d)1[3-9]\d{9}(?!\d)|(?<!\d)\d{17}[\dXx](?!\d)'
                   r'|(?<!\d)(?:\d[ -]?){13,19}(?!\d)|(?<!\d)(?:\d{1,3}\.){3}\d{1,3}(?!\d)|\+\d[\d -]{7,14}'
                   r'|AKIA[0-9A-Z]{16}|gh[pousr]_\w{36}|sk-[\w-]{20,}')


def corpus(size: int) -> list[str]:
    "Rows of some hundred characters, `size` bytes in all"
    spec = importlib.util.spec_from_file_location('pii_set', HERE.parent/'tests'/'pii_set.py')
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    files = [*sorted((HERE.parent/'docs').rglob('*.md')), *sorted(HERE.parent.glob('README*.md')),
             *sorted((HERE.parent/'llmops').glob('*.py'))]
    parts = [p.strip() for f in files if not {'_build', '_src', '_modidx.py'} & {*f.parts, f.name}
             for p in f.read_text('utf-8').split('\n\n') if p.strip()]
    held = [t for _, t, _, _ in made.regular(1, 200)]
    rows, n, i = [], 0, 0
    while n < size:
        t = parts[i % len(parts)] + ('\n' + held[i//20 % len(held)] if i % 20 == 0 else '')
        rows.append(t)
        n += len(t.encode())
        i += 1
    return rows


class Peer:
    "Presidio in .venv-bench; None where it is not installed"
    def __init__(self, rows: list[str], folder: Path):
        exe = HERE.parent/'.venv-bench/bin/python'
        self.p = None
        if not exe.exists() or subprocess.run([exe, '-c', 'import presidio_analyzer'], capture_output=True).returncode:
            return
        (folder/'rows.json').write_text(json.dumps(rows))
        self.p = subprocess.Popen([exe, str(Path(__file__).resolve()), str(folder/'rows.json')], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.ask()

    def ask(self) -> float:
        self.p.stdin.write('go\n')
        self.p.stdin.flush()
        return json.loads(self.p.stdout.readline())

    def close(self) -> None:
        if not self.p: return
        self.p.stdin.close()
        self.p.wait(20)


def serve(path: Path) -> None:
    import logging
    logging.disable(logging.WARNING)
    import tldextract
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer, EmailRecognizer, IbanRecognizer, IpRecognizer, PhoneRecognizer)
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)  # it would fetch a list
    found = [r() for r in (CreditCardRecognizer, EmailRecognizer, IpRecognizer, PhoneRecognizer, IbanRecognizer)]
    rows = json.loads(path.read_text())
    for _ in sys.stdin:
        t = time.process_time()
        for row in rows:
            for r in found: r.analyze(row, r.supported_entities, None)
        print(json.dumps(time.process_time() - t), flush=True)


def measure(ctx) -> None:
    from llmops.data.pii import masker, scan
    rows = corpus(50_000 if ctx.small else 2_000_000)
    mb, mask, few = sum(len(r.encode()) for r in rows)/1e6, masker(), max(1, len(rows)//10)
    peer = Peer(rows[:few], ctx.folder)

    def timed(f, rows=rows) -> float:
        "Seconds of this core: what others do at the same time is not counted"
        t = time.process_time()
        for r in rows: f(r)
        return time.process_time() - t

    scan('１')  # tables and expressions are made on first use
    arms = {'ours': lambda: timed(scan), 'ours, masking': lambda: timed(mask),
            'one expression': lambda: timed(lambda r: FLOOR.findall(r))}
    if peer.p: arms['presidio'] = lambda: peer.ask()*len(rows)/few
    else: print('    presidio-analyzer is not in .venv-bench: its arm is left out')
    try: ctx.turn('scan', arms)
    finally: peer.close()
    for name in ('ours', 'ours, masking'):
        speed = mb/sorted(ctx.times['scan'][name])[len(ctx.times['scan'][name])//2]
        ctx.figure(f'{name.replace("ours", "scan") if name == "ours" else "mask"} on one core', speed, 5, speed >= 5,
                   'above', f'{mb:.1f} MB, ten kinds', unit=' MB/s')
    if peer.p: ctx.ratio('scan', 'ours', 'presidio', 1, better='above', note='five kinds against ten')
    ctx.ratio('scan', 'ours', 'one expression', 20, note='the floor: no checks, no disguises')


if __name__ == '__main__': serve(Path(sys.argv[1]))
