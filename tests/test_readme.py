"What the READMEs promise exists: their code calls real verbs with real parameters, and both languages say the same."
import ast
import re
from pathlib import Path

import pytest

from llmops.verbs import VERBS, VIEWS, load_all

ROOT = Path(__file__).resolve().parent.parent
READMES = ['README.md', 'README.zh-CN.md']


def code(name):
    return re.search(r'```python\n(.*?)```', (ROOT/name).read_text('utf-8'), re.S)[1]


@pytest.mark.parametrize('name', READMES)
def test_the_journey_calls_real_verbs_with_real_parameters(name):
    load_all()
    calls = [n for n in ast.walk(ast.parse(code(name))) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
             and getattr(n.func.value, 'id', '') == 'ws']
    assert [c.func.attr for c in calls if c.func.attr in ('load', 'sft', 'prove', 'deploy')] and len(calls) >= 12
    for c in calls:
        spec = VERBS.get(c.func.attr) or VIEWS[c.func.attr]
        assert len(c.args) <= len(spec.params) and {k.arg for k in c.keywords} <= set(spec.params), c.func.attr
        given = [*list(spec.params)[:len(c.args)], *(k.arg for k in c.keywords)]
        assert (len(set(given)) == len(given)
                and {p.name for p in spec.params.values() if p.required} <= set(given)), c.func.attr


def test_both_languages_show_the_same_code_and_commands():
    strip = lambda s: [line.split('#')[0].rstrip() for line in s.splitlines()]  # noqa: E731
    a, b = (re.sub(r"note='[^']*'", 'note', code(n)) for n in READMES)
    assert strip(a) == strip(b)
    commands = [set(re.findall(r'(?:^|`)make ([a-z]+)', (ROOT/n).read_text('utf-8'), re.M)) for n in READMES]
    assert commands[0] == commands[1] >= {'quickstart', 'test'}
    goals = set(re.findall(r'^([a-z-]+):', (ROOT/'Makefile').read_text(), re.M))
    assert commands[0] <= goals


@pytest.mark.parametrize('name', READMES)
def test_every_link_leads_to_a_file(name):
    for target in re.findall(r'\]\(([^)#]+)\)', (ROOT/name).read_text('utf-8')):
        assert '://' in target or (ROOT/target).exists(), target
