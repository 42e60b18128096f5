"The command line as programs and people use it: real processes."
import argparse
import json
import os
import subprocess
import sys

import pytest

FIELDS = {'ref', 'kind', 'name', 'number', 'digest', 'created', 'made_by'}
ENV = {**{k: v for k, v in os.environ.items() if k != 'LLMOPS_STORE'}, 'LLMOPS_USER': 'ana'}


def llmops(*argv, cwd, env=None, rc=0):
    r = subprocess.run([sys.executable, '-c', 'import sys; from llmops.faces.cli import main; sys.exit(main())', *argv],
                       cwd=cwd, env={**ENV, **(env or {})}, capture_output=True, text=True, timeout=120)
    assert r.returncode == rc, (argv, r.returncode, r.stdout[-2000:], r.stderr[-2000:])
    assert 'Traceback' not in r.stdout+r.stderr, r.stderr
    return r


def rows(*argv, cwd, **kw):
    got = json.loads(llmops(*argv, '--json', cwd=cwd, **kw).stdout)
    assert isinstance(got, list) and all(FIELDS <= set(r) for r in got), got
    return got


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    d = tmp_path_factory.mktemp('cli')
    llmops('init', 'w', cwd=d)
    (d/'p1.txt').write_text('Answer: {{ q }}')
    (d/'p2.txt').write_text('In one word: {{ q }}')
    w = d/'w'
    assert [r['ref'] for r in rows('add', 'prompt:p', '../p1.txt', cwd=w)] == ['prompt:p@1']
    llmops('add', 'prompt:p', '../p2.txt', cwd=w)
    llmops('samples', '--rows', '120', cwd=w)
    return w


def test_ls_gives_the_latest_of_each_name_newest_last(work):
    assert [r['ref'] for r in rows('ls', cwd=work)] == ['prompt:p@2', 'dataset:tickets@1']
    assert [r['ref'] for r in rows('ls', '--all', cwd=work)] == ['prompt:p@1', 'prompt:p@2', 'dataset:tickets@1']
    assert [r['ref'] for r in rows('ls', 'prompt', cwd=work)] == ['prompt:p@2']
    r = rows('ls', 'dataset', cwd=work)[0]
    assert (r['kind'], r['name'], r['number'], len(r['digest'])) == ('dataset', 'tickets', 1, 64) and r['made_by']
    assert r['created'].endswith('Z')


def test_show_of_a_dataset_has_rows_format_and_columns(work):
    r = rows('show', 'dataset:tickets', cwd=work)[0]
    assert (r['rows'], r['format']) == (r['body']['rows'], 'messages')
    assert set(r['columns']) >= {'messages', 'phrase', 'split'}


def test_alias_history_state_and_compare(work):
    from llmops.core import now, stamp
    assert rows('alias', 'prompt:p@1', 'prod', cwd=work)[0]['aliases'] == ['prod']
    t = stamp(now()+.001)
    assert rows('alias', 'prompt:p@2', 'prod', cwd=work)[0]['ref'] == 'prompt:p@2'
    assert ([(e['kind'], e['by']) for e in rows('history', 'prompt:p', cwd=work)][-2:]
            == [('alias', 'ana'), ('alias', 'ana')])
    assert [r['ref'] for r in rows('state', '--at', t, cwd=work) if r['about'] == 'prompt:p'] == ['prompt:p@1']
    assert [r['ref'] for r in rows('state', cwd=work) if r['about'] == 'prompt:p'] == ['prompt:p@2']
    assert ([(r['field'], r['change']) for r in rows('compare', 'prompt:p@1', 'prompt:p@2', cwd=work)]
            == [('text', 'changed')])
    assert rows('show', 'prompt:p@prod', cwd=work)[0]['ref'] == 'prompt:p@2'


def test_lineage_and_runs(work):
    llmops('clean', 'tickets', cwd=work)
    assert ([(r['ref'], r['direction']) for r in rows('lineage', 'dataset:tickets-clean', cwd=work)]
            == [('dataset:tickets@1', 'up')])
    assert rows('lineage', 'prompt:p@1', cwd=work) == []
    assert {'samples', 'clean'} <= {r['name'] for r in rows('runs', cwd=work)}


def test_the_store_is_found_upward_and_by_environment(work, tmp_path):
    (work/'a'/'b').mkdir(parents=True, exist_ok=True)
    assert len(rows('ls', cwd=work/'a'/'b')) >= 2
    assert len(rows('ls', cwd=tmp_path, env={'LLMOPS_STORE': str(work/'store')})) >= 2
    assert 'llmops init' in llmops('ls', cwd=tmp_path, rc=1).stderr
    assert rows('ls', cwd=work, env={'LLMOPS_STORE': str(tmp_path/'other')}) == []


def test_verify_names_what_is_wrong_and_exits_with_1(work):
    assert rows('verify', cwd=work) == []
    import sqlite3
    seq = next(e['seq'] for e in rows('history', 'prompt:p@1', cwd=work))
    with sqlite3.connect(work/'store'/'store.db') as c:
        c.execute("update event set about='prompt:p@7' where seq=?", (seq,))
    assert [r['what'] for r in rows('verify', cwd=work, rc=1)][0] == f'event {seq}'
    with sqlite3.connect(work/'store'/'store.db') as c:
        c.execute("update event set about='prompt:p@1' where seq=?", (seq,))
    assert 'All is well' in llmops('verify', cwd=work).stdout


@pytest.mark.parametrize('argv', [
    ['show', 'prompt:x'], ['show', 'nonsense'], ['show', 'prompt:p@9'], ['alias', 'prompt:p', '3'],
    ['add', 'prompt:../x', 'settings.ini'],
    ['add', 'prompt:p', 'no-such-file'], ['state', '--at', 'yesterday'], ['compare', 'prompt:p', 'dataset:tickets'],
    ['approve', 'prompt:p', '--report', 'report:r', '--note', 'x'],
    ['samples', '--rows', 'many'], ['deploy', 'release:none'], ['rerun', 'report:none'],
    ['report', 'report:none', '-o', 'x.html'], ['run', 'no-such-template'],
    ['run', 'prepare', '-p', 'novalue'], ['ls', 'modle'], ['init', 'settings.ini/x'],
    ['report', 'prompt:p', '-o', 'no/such/folder/x.html'], ['stop', 'deployment:none']])
def test_mistakes_are_one_clear_line_and_exit_code_1(work, argv):
    before = rows('ls', '--all', cwd=work)
    r = llmops(*argv, cwd=work, rc=1)
    assert r.stdout == '' and r.stderr.startswith('llmops: ') and len(r.stderr.strip().splitlines()) == 1
    assert rows('ls', '--all', cwd=work) == before


@pytest.mark.parametrize('argv', [['shwo', 'x'], ['alias'], ['ls', '--no-such-option'], []])
def test_a_misspelt_command_exits_with_2(work, argv):
    llmops(*argv, cwd=work, rc=2)


@pytest.mark.parametrize('argv,said', [
    ('train sft --max_step 3',
     "train sft has no option '--max_step'. Did you mean '--max-steps'? See them: llmops train sft --help"),
    ('train dpo --bta=1 --model model:x',
     "train dpo has no option '--bta'. Did you mean '--beta'? See them: llmops train dpo --help"),
    ('train sft --zzzz', "train sft has no option '--zzzz'. See them: llmops train sft --help"),
    ('train sft --model', 'train sft has --model without a value. Write --model VALUE. See: llmops train sft --help'),
    ('train dpo --model a', 'train dpo needs --data. See: llmops train dpo --help'),
    ('train kto', 'train kto needs --model and --data. See: llmops train kto --help'),
    ('train sft --ma 3', 'train sft has several options that begin with --ma: --max-steps, --max-length, '
     '--max-grad-norm, --max-spike. See: llmops train sft --help'),
    ('train --foo', 'say first what train shall do, '
     'as in: llmops train sft --model model:NAME --data dataset:NAME … See the words: llmops train --help'),
    ('estimate --modle x',
     "estimate has no option '--modle'. Did you mean '--model'? See them: llmops estimate --help"),
    ('resume', 'resume needs ID. See: llmops resume --help')])
def test_a_wrong_option_names_the_one_that_was_meant(argv, said, capsys):
    from llmops.faces.cli import main
    try: code = main(argv.split())
    except SystemExit as e: code = e.code
    assert (code, *capsys.readouterr()) == (2, '', f'llmops: {said}\n')


@pytest.mark.parametrize('argv', ['history prompt:p', 'templates', 'runs', 'show dataset:tickets', 'ls', 'gc --dry'])
def test_json_rows_have_every_field_and_no_null_among_them(work, argv, capsys, monkeypatch):
    from llmops.faces.cli import main
    monkeypatch.chdir(work)
    assert main([*argv.split(), '--json']) == 0
    got = json.loads(capsys.readouterr().out)
    assert got and [(k, r) for r in got for k in FIELDS if r[k] is None] == []


def every_command(p, before=()):
    "Words and parser of every command"
    for a in p._actions:
        if isinstance(a, argparse._SubParsersAction):
            for n, c in a.choices.items():
                inner = list(every_command(c, (*before, n)))
                yield from inner or [(' '.join((*before, n)), c)]


def test_every_command_has_help(work):
    from llmops.faces.cli import commands, parser
    got = dict(every_command(parser()))
    assert set(got) == {n for c in commands().values() for n, _ in c}
    assert {'data import', 'data clean', 'train sft', 'merge', 'ls'} <= set(got)
    for n, c in got.items():
        assert c.description.strip('. '), n
        assert all(a.help for a in c._actions), (n, [a.dest for a in c._actions if not a.help])


def test_verbs_of_an_area_stand_together_and_still_answer_alone(work):
    assert 'data import' in llmops('data', '--help', cwd=work).stdout
    assert 'train sft' in llmops('train', '--help', cwd=work).stdout
    assert llmops('data', 'clean', '--help', cwd=work).stdout == llmops('clean', '--help', cwd=work).stdout
    assert "Did you mean 'data clean'?" in llmops('data', 'claen', cwd=work, rc=2).stderr


def test_templates_are_listed_by_name(work):
    said = llmops('templates', cwd=work).stdout
    assert {line.split()[0] for line in said.splitlines()[1:]} >= {'prepare', 'finetune', 'evaluate', 'release'}, said


def test_a_closed_pipe_is_no_error(work):
    r = subprocess.run(f'{sys.executable} -c "import sys; from llmops.faces.cli import main; '
                       'sys.exit(main())" history --json | head -c 1', shell=True,
                       cwd=work, env=ENV, capture_output=True, text=True)
    assert (r.stdout, r.stderr) == ('[', '')


@pytest.mark.parametrize('lang', ['C', 'C.UTF-8'])
def test_any_locale_will_do(work, lang):
    llmops('add', 'prompt:客服', '../p1.txt', cwd=work, env={'LANG': lang, 'LC_ALL': lang})
    assert '客服' in llmops('ls', cwd=work, env={'LANG': lang, 'LC_ALL': lang}).stdout


def test_gc_clears_what_a_killed_run_left(work):
    "The folder of a killed run goes, that of one that lives stays"
    code = '''
import os, sys
from llmops.verbs import call, open_workspace, verb
@verb(writes='prompt')
def dies(run):
    "Write half a file and vanish, or live until told"
    (run.folder()/'half').write_text('x')
    print(run.id, flush=True)
    if sys.argv[1] == 'die': os.kill(os.getpid(), 9)
    sys.stdin.read()
call(open_workspace().store, 'dies', {})
'''
    dead = subprocess.run([sys.executable, '-c', code, 'die'], cwd=work, env=ENV, capture_output=True, text=True).stdout
    with subprocess.Popen([sys.executable, '-c', code, 'live'], cwd=work, env=ENV, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as p:
        live = p.stdout.readline().strip()
        assert '1 temporary' in llmops('gc', '--dry', cwd=work).stdout
        assert '1 temporary' in llmops('gc', cwd=work).stdout
        left = {d.name for d in (work/'store'/'tmp').iterdir() if d.is_dir()}
        assert live in left and dead.strip() not in left, (live, dead, left)
        p.stdin.close()
