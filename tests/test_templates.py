"""What may be asked of a template, and what is refused before anything runs."""
import json
import keyword
import random

import pytest

from llmops.core import Invalid, NotFound
from llmops.faces.templates import (
    all_templates, check_parameters, choose_kernel, find_template, notebook_digest, read_notebook,
    read_parameters, read_template, size)

SOURCE = '''from typing import Literal
data: str = 'dataset:tickets'  # What to learn from
steps: int = 300  # Optimiser steps
lr: float = 3e-3  # Peak learning rate
merge: bool = True  # Merge afterwards
method: Literal['full', 'lora'] = 'full'  # How
probes: list[str] = ['a']  # Probes
options: dict = {}  # Options
note: str | None = None  # Why
plain = 7
'''
PARAMS = read_parameters(SOURCE)


def bad_names() -> list[str]:
    "Two hundred names that nobody may pass"
    r = random.Random(0)
    dunder = ['__import__', '__builtins__', '__name__', '__class__', '_', '__', '_steps', '__steps__', '_ih', '_oh']
    code = ['x=1\nimport os', 'steps\n', '\nsteps', 'steps;', 'steps #', 'steps=1', 'os.system("id")', 'a b', 'a-b',
            'a.b', 'a[0]', '1a', '', ' ', '\t', 'steps\0', '\0', 'steps\r', 'steps\u2028', 'steps\u200b', '\ufeffsteps',
            '$(id)', '`id`', '{steps}', '%run', '!ls', "'", '"', '\\', '/etc/passwd', '../x']
    alike = ['ѕteps', 'stерs', 'ｓｔｅｐｓ', 'ﬁle', 'ªb', 'ℌ', 'step\u0301s', 'ſteps', 'ⅼr', 'données', '步数', 'مرحلة',
             '𝐬𝐭𝐞𝐩𝐬', 'steps²', 'İ', 'ı', '\ud800']
    long = ['a'*65, 'a'*10_240, 'steps'*2048, 'é'*10_240]
    typos = ['step', 'Steps', 'STEPS', 'stpes', 'lrr', 'datas', 'pm', 'parameters', 'print', 'self', 'ws', 'llmops']
    names = [*keyword.kwlist, *dunder, *code, *alike, *long, *typos]
    while len(names) < 200: names.append(''.join(chr(r.randrange(33, 0x2fff)) for _ in range(r.randrange(1, 12))))
    return names


def test_two_hundred_names_are_refused_with_a_sentence():
    names = bad_names()
    assert len(names) == 200 and not set(names) & {p.name for p in PARAMS}
    for n in names:
        with pytest.raises(Invalid) as e: check_parameters(PARAMS, {n: 1})
        assert str(e.value).isascii() and '\n' not in str(e.value) and len(str(e.value)) < 300
    for n in (1, None, ('steps',), b'steps'):
        with pytest.raises(Invalid): check_parameters(PARAMS, {n: 1})


def test_the_nearest_right_name_is_offered():
    for wrong, right in dict(step='steps', metod='method', dta='data', mrege='merge').items():
        with pytest.raises(Invalid, match=f"Did you mean '{right}'"): check_parameters(PARAMS, {wrong: 1})
    with pytest.raises(Invalid, match="Did you mean 'lora'"): check_parameters(PARAMS, {'method': 'lore'})


WRONG = [('steps', '3'), ('steps', 3.5), ('steps', True), ('steps', None), ('steps', [3]), ('lr', 'fast'), ('lr', True),
         ('lr', float('nan')), ('lr', float('inf')), ('merge', 'true'), ('merge', 1), ('data', 3), ('data', None),
         ('data', b'x'), ('data', '\ud800'), ('method', 'LORA'), ('method', None), ('probes', 'a'), ('probes', {}),
         ('options', []), ('options', {1: object()}), ('note', 3), ('plain', '7'), ('data', 'x'*200_000)]


@pytest.mark.parametrize('name,value', WRONG, ids=[f'{n}-{i}' for i, (n, _) in enumerate(WRONG)])
def test_a_wrong_value_is_refused(name, value):
    with pytest.raises(Invalid): check_parameters(PARAMS, {name: value})


def test_right_values_pass_unchanged():
    good = dict(data='dataset:x@2', steps=3, lr=1, merge=False, method='lora', probes=[], options={'a': [1]},
                note=None, plain=0)
    assert check_parameters(PARAMS, good) == good
    nasty = 'quote " \\ newline \n tab \t zero \0 中文 {braces} %s'
    assert check_parameters(PARAMS, dict(data=nasty)) == dict(data=nasty)


def test_text_of_the_command_line_is_read_as_the_declared_type():
    said = dict(data='7', steps='7', lr='7', merge='no', method='full', probes='["b"]', options='{"a": 1}',
                note='', plain='8')
    assert check_parameters(PARAMS, said, text=True) == dict(data='7', steps=7, lr=7., merge=False, method='full',
                                                             probes=['b'], options={'a': 1}, note=None, plain=8)
    for name, v in dict(steps='1.5', lr='x', merge='maybe', probes='b', options='[1]', plain='').items():
        with pytest.raises(Invalid): check_parameters(PARAMS, {name: v}, text=True)


def test_a_parameters_cell_is_read_and_never_run():
    for source in ("x = __import__('os').system('id')", 'x: int = f()', 'x: Model = 1', '_x = 1', 'x: int = (', '\0'):
        with pytest.raises(Invalid): read_parameters(source)
    assert read_parameters('print("hello")\nfor i in range(3): y = i') == []


def test_a_template_is_found_by_name_and_only_there(tmp_path):
    (tmp_path/'templates').mkdir()
    (tmp_path/'templates'/'mine.ipynb').write_text(
        json.dumps(dict(nbformat=4, nbformat_minor=5, metadata={}, cells=[])))
    (tmp_path/'secret.ipynb').write_text('{}')
    assert read_template('mine', tmp_path).parameters == []
    for name in ('../secret', 'templates/mine', '/etc/passwd', '', 'mine\0', '..', 'a'*5000, 'mіne'):
        with pytest.raises((Invalid, NotFound)): find_template(name, tmp_path)
    with pytest.raises(NotFound, match="Did you mean 'mine'"): find_template('mien', tmp_path)


@pytest.mark.parametrize('content',
                         [b'', b'{}', b'[]', b'\xff', b'{"nbformat": 4}', b'{"nbformat": 3, "cells": []}',
                          b'{"nbformat": 4, "cells": [1]}',
                          b'{"nbformat": 4, "cells": [{"source": 3, "cell_type": "code"}]}',
                          b'{"nbformat": 4, "cells": [{"cell_type": "code"}]}',
                          b'{"nbformat": 4, "cells": [{"source": "", "cell_type": "evil"}]}', b'[' * 100_000])
def test_what_is_no_notebook_is_refused(tmp_path, content):
    (tmp_path/'x.ipynb').write_bytes(content)
    with pytest.raises(Invalid, match=r'x\.ipynb is not a notebook'): read_notebook(tmp_path/'x.ipynb')
    (tmp_path/'templates').mkdir()
    (tmp_path/'templates'/'broken.ipynb').write_bytes(content)
    assert 'broken' not in [t.name for t in all_templates(tmp_path)]


def test_outputs_and_metadata_do_not_change_what_a_notebook_says():
    cell = dict(cell_type='code', id='a', source=['x = 1\n', 'x'], metadata={}, outputs=[])
    nb = dict(nbformat=4, nbformat_minor=5, metadata={}, cells=[cell])
    shown = dict(nb, metadata={'a': 1},
                 cells=[dict(cell, source='x = 1\nx', outputs=[1], execution_count=4, metadata={'tags': ['b']})])
    assert (notebook_digest(nb) == notebook_digest(shown)
            != notebook_digest(dict(nb, cells=[dict(cell, source='x = 2')])))


KERNELS = [dict(name='python3', language='python', gpu=0, memory=8e9),
           dict(name='a100', language='python', gpu=1, memory=80e9), dict(name='r', language='R', gpu=8, memory=1e12)]


def test_a_run_goes_to_a_kernel_that_has_what_it_needs_or_hears_which_there_are():
    assert [choose_kernel(n, KERNELS) for n in ({}, dict(kernel='python3'), dict(gpu=1), dict(memory='64GB'),
                                                dict(kernel='r', gpu=8))] == ['python3', 'python3', 'a100', 'a100', 'r']
    with pytest.raises(Invalid, match=r"Did you mean 'python3'.*python3 \(0 GPU, 8 GB\); a100 \(1 GPU, 80 GB\)"):
        choose_kernel(dict(kernel='pyton3'), KERNELS)
    with pytest.raises(Invalid, match='needs 2 GPU'): choose_kernel(dict(gpu=2), KERNELS)
    with pytest.raises(Invalid, match='no kernel'): choose_kernel(dict(kernel='../../evil'), KERNELS)
    assert [size(s) for s in (5, '8GB', '512 MB', '1.5KiB')] == [5, 8_000_000_000, 512_000_000, 1500]
    for s in ('', 'much', '-1GB', '8XB'):
        with pytest.raises(Invalid): size(s)
