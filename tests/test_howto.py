"The how-to pages: every command that they print is one, and those about data run as printed, in the order of the page."
import json
import re
import shlex
from pathlib import Path

import pytest

from llmops.faces import cli
from llmops.verbs import load_all

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob('docs/how-to/*.md'), *ROOT.glob('docs/tutorials/*.md')])


def commands(page):
    "Commands of the code blocks of a page, without their remarks"
    blocks = re.findall(r'^```\w*\n(.*?)^```', page.read_text('utf-8'), re.S | re.M)
    return [shlex.split(line, comments=True)[1:] for b in blocks
            for line in b.replace('\\\n', ' ').splitlines() if line.startswith('llmops ')]


@pytest.mark.parametrize('page', PAGES, ids=lambda p: p.stem)
def test_every_command_of_a_page_is_one(page):
    load_all()
    for words in commands(page):
        argv = cli.spell(words)
        if argv and argv[0] not in ('-h', '--help'): cli.parser(argv[0]).parse_args(argv) # Exits where it does not fit


def files(folder):
    talk = lambda q, a, **more: dict(messages=[dict(role='user', content=q), dict(role='assistant', content=a)], **more)
    what = ['parcel', 'invoice', 'refund', 'password', 'voucher', 'delivery', 'address', 'account', 'order', 'payment']
    rows = [talk(f'My {what[i % 10]} of {what[i*7 % 10]} number {i} is {["late", "gone", "wrong"][i % 3]}, what now?',
                 f'We look after {what[i*3 % 10]} {i} and write to a{i}@example.org.', id=i, customer=f'c{i}',
                 topic='ab'[i % 2], created=f'2026-0{1+i//20}-{1+i % 20:02d}') for i in range(60)]
    put = lambda name, rows: (folder/name).write_text(''.join(json.dumps(r)+'\n' for r in rows))
    put('rows.jsonl', rows)
    put('general.jsonl',
        [talk(f'Tell me fact {i} about {what[i % 10]}s.', f'Fact {i}: {what[i*3 % 10]}.') for i in range(60)])
    put('answers.jsonl', [talk(f'Question {i}?', f'Answer {i}.') for i in range(6)])
    put('pairs.jsonl', [dict(prompt=f'Question {i}?', chosen=f'Good {i}.', rejected=f'Bad {i}.') for i in range(6)])
    put('mmlu.jsonl', [dict(question=f'Which of these is number {i}?', answer=f'{i}') for i in range(8)])


def test_the_pages_about_data_run_as_printed(tmp_path, monkeypatch, capsys):
    files(tmp_path)
    monkeypatch.chdir(tmp_path)
    def do(*words):
        assert cli.main(list(words)) == 0, (words, capsys.readouterr().err)
        return capsys.readouterr().out
    do('init', '.')
    for name in ('general', 'answers', 'pairs'): do('data', 'import', f'{name}.jsonl', f'dataset:{name}')
    do('add', 'benchmark:mmlu', 'mmlu.jsonl')
    page = (ROOT/'docs/how-to/data-recipes.md').read_text('utf-8')
    (tmp_path/'support.yaml').write_text(re.search(r'```yaml\n(.*?)```', page, re.S)[1])
    left = []
    def all_of(name):
        for words in commands(ROOT/f'docs/how-to/{name}.md'):
            if 'model:base' in words: left.append(words) # Needs a model
            elif words[1] == 'collect':
                for i in range(1, 7):
                    for who in ('anna', 'ben'):
                        do('data', 'label-save', 'dataset:check', str(i), '--value', '{"classes": ["good"]}',
                           '--annotator', who)
                assert 'rows for sft from 6 of 6 items' in do(*words)
            elif words[1:2] == ['feedback']:
                # A store that nobody has asked anything
                assert cli.main(words) == 1 and 'there are no spans in store' in capsys.readouterr().err
                break
            else: do(*words)
    do('data', 'import', 'rows.jsonl', 'dataset:support', '--licence', 'cc-by-4.0')
    for name in ('data-recipes', 'data-labelling'): all_of(name)
    do('data', 'stats', 'dataset:support') # Without the model
    (tmp_path/'rows.jsonl').write_text(
        '\n'.join((tmp_path/'rows.jsonl').read_text().splitlines()[:50]).replace('late', 'too late'))
    do('data', 'import', 'rows.jsonl', 'dataset:support')
    all_of('data-trust')
    assert [w[1] for w in left] == ['clean', 'stats']


def test_the_template_shows_tables_and_sentences_not_values_of_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(['init', '.']) == 0
    assert cli.main(['run', 'prepare', '-p', 'rows=60', '-p', 'name=t', '-p', 'mask_pii=true']) == 0
    run = re.findall(r'run:\w+', capsys.readouterr().out)[-1]
    assert cli.main(['report', run, '-o', 'x.html']) == 0
    cells = (tmp_path/'x.html').read_text('utf-8').split('The notebook that ran')[1]
    assert not re.search(r"\{&#39;|\{'|\[\(", re.sub(r'<details.*?</details>', '', cells, flags=re.S))
    assert all(w in cells
               for w in ('dataset:t-clean@1: ', 'rows stay', 'dataset:t-train@1', 'Statistics of dataset:t-train@1'))
