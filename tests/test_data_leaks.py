"Leaks: rows of a test that stand in training data, whole or edited, are found and named; other rows are not."
import csv
import gzip
import html
import io
import json
import random
import re
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.core import Invalid
from llmops.data.leak import index, prepare, questions, search, squeeze, stretch
from llmops.data.samples import draw
from llmops.rows import rows as rows_of
from llmops.verbs import call


def chat(q, a='yes'):
    return {'messages': [{'role': 'user', 'content': q}, {'role': 'assistant', 'content': a}]}


def write(tmp_path, rows, name):
    p = tmp_path/f'{name}.jsonl'
    p.write_text(''.join(json.dumps(r, ensure_ascii=False)+'\n' for r in rows))
    return p


def load(ws, tmp_path, rows, name):
    return ws.load(write(tmp_path, rows, name), out=name)


def benchmark(ws, tmp_path, rows, name):
    return ws.add(f'benchmark:{name}', str(write(tmp_path, rows, name)))


def hits(train, test):
    "(row, row of the test) → what was found; `test` may be an index"
    ix = index(test) if isinstance(test, list) else test
    return {(h.row+i, h.test): h for i in range(0, len(train), 500) for h in search(prepare(train[i:i+500]), ix)}


# --- planted rows -----------------------------------------------------------------------------------------------------

def typos(r, s, share=.02):
    s = list(s)
    for _ in range(max(1, round(len(s)*share))):
        i, kind = r.randrange(len(s)), r.randrange(3)
        if kind == 0: s[i] = r.choice(s)
        elif kind == 1: s.insert(i, r.choice(s))
        elif i+1 < len(s): s[i], s[i+1] = s[i+1], s[i]
    return ''.join(s)


def swapped(r, s, n=1):
    "Neighbouring words, or characters where words are not spaced"
    gap = ' ' if s.count(' ') > len(s)/15 else ''
    w = s.split(' ') if gap else list(s)
    for _ in range(n):
        i = r.randrange(len(w)-1)
        w[i], w[i+1] = w[i+1], w[i]
    return gap.join(w)


FILLER = 'The workshop opens at nine. Bring a notebook and a pencil, and leave your coat in the hall. '*6
EDITS = {
    'verbatim': lambda r, s: s, 'upper': lambda r, s: s.upper(),
    'no punctuation': lambda r, s: re.sub(r'[^\w\s]', '', s),
    'blanks': lambda r, s: re.sub(' ', lambda _: r.choice([' ', '  ', '\n', '\u3000', '\t']), s),
    'no blanks': lambda r, s: re.sub(r'\s', '', s),
    'full width': lambda r, s: ''.join(chr(ord(c)+0xfee0) if '!' <= c <= '~' else c for c in s),
    'one typo': lambda r, s: typos(r, s, 0), 'typos': typos,
    'words swapped': swapped, 'prefix': lambda r, s: 'Please answer with care. '+s,
    'suffix': lambda r, s: s+' Think first, then give a short answer.',
    'in a long row': lambda r, s: FILLER[:300]+s+FILLER[:400],
    'template': lambda r, s: f'### Instruction:\n{s}\n\n### Response:\n',
    'chinese digits': lambda r, s: s.translate(str.maketrans('0123456789', '零一二三四五六七八九')),
    'arabic digits': lambda r, s: s.translate(str.maketrans('0123456789', '٠١٢٣٤٥٦٧٨٩')),
    'markup': lambda r, s: '<p>'+html.escape(s).replace('\n', '<br>')+'</p>',
    'accents gone': lambda r, s: s.translate(str.maketrans('áéíóúüäöñçß', 'aeiouuaoncs')),
    'two edits': lambda r, s: 'Q: '+typos(r, s).upper()+' A:',
    'cut': lambda r, s: s[:-max(1, len(s)//10)], 'quoted': lambda r, s: f'> **“{s}”**',
}
WORDS = {
    'en': 'farmer river teacher bridge winter engine museum ticket garden doctor planet letter market window soldier '
    'kitchen harvest printer'.split(),
    'de': 'Bäuerin Fluss Lehrer Brücke Winter Maschine Museum Fahrkarte Garten Ärztin Planet Brief Markt Fenster Küche '
    'Ernte Drucker Straße'.split(),
    'ru': 'фермер река учитель мост зима двигатель музей билет сад врач планета письмо рынок окно солдат '
    'кухня урожай принтер'.split(),
    'es': 'granjero río maestro puente invierno motor museo billete jardín médico planeta carta mercado ventana '
    'soldado cocina cosecha niño'.split(),
    'ar': 'مزارع نهر معلم جسر شتاء محرك متحف تذكرة حديقة طبيب كوكب رسالة سوق نافذة جندي مطبخ حصاد طابعة'.split(),
    'zh': '农民 河流 老师 桥梁 冬天 发动机 博物馆 车票 花园 医生 行星 信件 市场 窗户 士兵 厨房 收获 打印机'.split(),
    'ja': '農家 川 先生 橋 冬 エンジン 博物館 切符 庭 医者 惑星 手紙 市場 まど 兵士 台所 収穫 プリンター'.split(),
    'hi': 'किसान नदी शिक्षक पुल सर्दी इंजन संग्रहालय टिकट बगीचा डॉक्टर ग्रह पत्र बाज़ार खिड़की सैनिक रसोई फसल प्रिंटर'.split(),
}
FORMS = {
    'en': 'The {0} has {a} {1}s near the {2}, and the {3} takes {b} of them to the {4}. How many are left for the {5}?',
    'de': 'Bei {0} stehen {a} {1} neben {2}, und {3} bringt {b} davon zu {4}. Wie viele bleiben für {5}?',
    'ru': 'У нас есть {0}, {a} {1} и {2}; потом {3} забрал {b} и {4}. Сколько осталось для {5}?',
    'es': 'En el {0} hay {a} {1} cerca del {2}, y el {3} lleva {b} al {4}. ¿Cuántos quedan para el {5}?',
    'ar': 'لدى {0} عدد {a} {1} قرب {2} ثم أخذ {3} منها {b} إلى {4}. كم بقي من أجل {5}؟',
    'zh': '{0}在{2}旁边有{a}个{1}，{3}把其中{b}个带到了{4}，请问还剩下多少个给{5}？',
    'ja': '{0}は{2}の近くに{a}個の{1}を持っています。{3}がそのうち{b}個を{4}へ運びました。{5}には何個残りますか？',
    'hi': '{0} के पास {2} के निकट {a} {1} हैं और {3} उनमें से {b} को {4} ले जाता है। {5} के लिए कितने बचे?',
}


def asked(r, lang):
    return FORMS[lang].format(*r.sample(WORDS[lang], 6), a=r.randrange(20, 900), b=r.randrange(2, 20))


@pytest.mark.parametrize('lang', FORMS)
def test_planted_rows_are_found_in_any_language(lang):
    "One template for all rows: what is found is the row, not the template"
    r = random.Random(sum(map(ord, lang)))
    test = [chat(q) for q in dict.fromkeys(asked(r, lang) for _ in range(60))]
    clean = [chat(asked(r, lang), 'no') for _ in range(400)]
    found, all_, ix = {}, [], index(test)
    for name, edit in EDITS.items():
        planted = [chat(edit(r, t['messages'][0]['content'])) for t in test]
        got = hits(planted, ix)
        found[name] = sum((i, i) in got for i in range(len(test)))/len(test)
        all_ += [(i, i) in got for i in range(len(test))]
        assert all(v.how == 'verbatim' and v.score == 1 for k, v in got.items() if name == 'verbatim' and k[0] == k[1])
    assert found['verbatim'] == 1
    assert sum(all_)/len(all_) >= .95 and min(found.values()) >= .8, found
    wrong = {k[0] for k in hits(clean, test)}
    assert len(wrong) <= .01*len(clean), [clean[i]['messages'][0]['content'] for i in wrong][:3]


def public(data, name):
    "Rows of a public test"
    if name == 'gsm8k':
        return [chat(r['question'], r['answer'])
                for r in map(json.loads, (data/'gsm8k'/'test.jsonl').read_text().splitlines())]
    if name == 'humaneval': return [json.loads(x) for x in gzip.open(data/'humaneval'/'HumanEval.jsonl.gz', 'rt')]
    z = zipfile.ZipFile(data/name/f'{name}.zip')
    names = sorted(n for n in z.namelist() if re.search({'mmlu': r'test/.*\.csv$', 'ceval': r'val/.*\.csv$'}[name], n))
    rows = [dict(zip('question A B C D answer'.split(), x)) if name == 'mmlu' else {k: v for k, v in zip(head, x)}
            for n in names for t in [list(csv.reader(io.TextIOWrapper(z.open(n), 'utf-8')))]
            for head, body in [(t[0], t if name == 'mmlu' else t[1:])] for x in body]
    return random.Random(0).sample(rows, min(700, len(rows)))


def shown(row):
    "A row as an instruction set would write it"
    if 'messages' in row: return row['messages'][0]['content']
    if 'question' in row: return '\n'.join([row['question'], *(f'{c}. {row[c]}' for c in 'ABCD')])
    return row['prompt']


def mixed_options(r, row):
    o = [row[c] for c in 'ABCD']
    r.shuffle(o)
    return '\n'.join([row['question'], *(f'({c}) {x}' for c, x in zip('abcd', o))])


@pytest.mark.parametrize('name', ['gsm8k', 'humaneval', 'mmlu', 'ceval'])
def test_planted_rows_of_public_tests_are_found(data, name):
    r, test = random.Random(9), public(data, name)
    pick = r.sample(range(len(test)), 60)
    edits = {k: v for k, v in EDITS.items() if name != 'humaneval' or k != 'no blanks'}
    if name in ('mmlu', 'ceval'): edits['options mixed'] = lambda r, s: s
    found, ix = {}, index(test)
    for edit, f in edits.items():
        planted = [chat(mixed_options(r, test[i]) if edit == 'options mixed' else f(r, shown(test[i]))) for i in pick]
        got = hits(planted, ix)
        same = [(lambda w: {j for j, t in enumerate(test) if squeeze(shown(t)) == w})(squeeze(shown(test[i])))
                for i in pick] if edit == 'verbatim' else [{i} for i in pick]
        found[edit] = sum(any((n, j) in got for j in js) for n, js in enumerate(same))/len(pick)
    assert found['verbatim'] == 1
    assert sum(found.values())/len(found) >= .97 and min(found.values()) >= .9, found


def test_few_false_alarms_between_public_sets(data):
    "What is called a leak between sets that were made apart is at most one row in a thousand"
    gsm = [chat(r['question'], r['answer'])
           for r in map(json.loads, (data/'gsm8k'/'train.jsonl').read_text().splitlines()[:3000])]
    alpaca = {k: [chat(r['instruction']+'\n'+r['input'], r['output'])
                  for r in json.loads((data/'llamafactory'/f'alpaca_{k}_demo.json').read_text())] for k in ('en', 'zh')}
    pairs = [(gsm, 'gsm8k'), (alpaca['en'], 'humaneval'), (alpaca['en'], 'gsm8k'), (alpaca['en'], 'mmlu'),
             (alpaca['zh'], 'ceval'), (gsm, 'mmlu')]
    wrong = {f'{i} {name}': (len({k[0] for k in hits(train, public(data, name))}), len(train))
             for i, (train, name) in enumerate(pairs)}
    assert all(n <= max(1, of/1000) for n, of in wrong.values()), wrong


@pytest.mark.parametrize('rows,seed', [(120, 1), (300, 2), (600, 3), (1500, 0)])
def test_tickets_of_one_template_are_no_leak(rows, seed):
    made = draw(rows, seed, dirty=False)
    train = [{'messages': r['messages']} for r in made if r['split'] == 'train']
    for part in ('test', 'phrasings'):
        test = [{'messages': r['messages']} for r in made if r['split'] == part]
        assert not hits(train, test)
        r = random.Random(seed)
        planted = [chat(typos(r, t['messages'][0]['content']), '{}') for t in test]
        got = hits(planted, test)
        assert sum((i, i) in got for i in range(len(test))) >= .95*len(test)


# --- parts ------------------------------------------------------------------------------------------------------------

@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_squeezing_twice_is_squeezing_once_and_case_and_width_do_not_count(s):
    assert squeeze(squeeze(s)).replace(' ', '') == squeeze(squeeze(s))
    if s.isascii():
        assert (squeeze(s.upper()) == squeeze(s)
                == squeeze(''.join(chr(ord(c)+0xfee0) if '!' <= c <= '~' else c for c in s)))
        assert squeeze(s) == ''.join(c for c in s.lower() if c.isalnum())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=6), st.data())
def test_a_copy_of_any_row_is_found(texts, d):
    "Any row at all, planted whole between others"
    test = [chat(t, t[::-1]) for t in texts]
    i = d.draw(st.integers(0, len(test)-1))
    got = hits([chat('Something else altogether', 'fine'), test[i]], test)
    assert any(k[0] == 1 and v.how == 'verbatim' and v.score == 1 for k, v in got.items())


def test_the_stretch_that_is_shown_is_the_one_that_was_found():
    text = 'Well —  “Ｗhere is　my PARCEL?” she said.'
    at = squeeze(text).index('whereismyparcel')
    assert stretch(text, (at, at+len('whereismyparcel'))) == 'Ｗhere is　my PARCEL'


def test_questions_of_tables_and_of_options():
    assert questions({'question': 'What is it?', 'A': 'red', 'answer': 'A'}) == ['What is it?', 'What is it?\nred\nA']
    q = 'Which of these metals is liquid at room temperature and used in old thermometers?'
    assert questions(chat(f'{q}\nA. Iron\nB. Mercury')) == [f'{q}\nA. Iron\nB. Mercury', q]
    assert questions({'text': 'Only this.'})[0] == 'Only this.'


def test_a_question_that_many_rows_ask_does_not_tell():
    "Which of these is true? is no leak; with its options it is"
    o = [f'{a} {b} {c}' for a in ('Iron', 'Neon', 'Gold', 'Lead') for b in ('burns', 'melts')
         for c in ('in the cold laboratory', 'at night in Paris', 'under water at sea')]
    test = [{'question': 'Which of the following statements is true?', 'A': o[i], 'B': o[i+6], 'C': o[i+12],
             'answer': 'A'} for i in range(8)]
    other = [chat('Which of the following statements is true?\nA. Cats bark\nB. Dogs sing songs')]
    copy = [chat('\n'.join([test[3]['question'], f'(1) {test[3]["C"]}', f'(2) {test[3]["A"]}', f'(3) {test[3]["B"]}']))]
    assert not hits(other, test) and (0, 3) in hits(copy, test)


def test_other_numbers_in_a_short_form_are_another_row():
    test = [chat('Order 48213 has not arrived, please look where it is now.')]
    assert not hits([chat('Order 97706 has not arrived, please look where it is now.')], test)
    assert (0, 0) in hits([chat('order 4823 has not arrived, pls look where it is now')], test)


# --- verb, registration, views ----------------------------------------------------------------------------------------

EXAM = ['Which river flows through Vienna, Budapest and Belgrade?',
        '小明买了3个苹果和5个梨，每个两元，一共花了多少钱？',
        'A farmer has 12 sheep and sells a third of them. How many sheep are left?']


def spoilt(*extra):
    return [chat('What is the tallest mountain in Africa?', 'Kilimanjaro'), *map(chat, extra),
            chat('Name a noble gas that glows red.', 'Neon')]


def test_leakcheck_names_rows_on_both_sides(ws, tmp_path):
    exam = benchmark(ws, tmp_path, [chat(q) for q in EXAM], 'exam')
    assert (str(exam), exam.body['role'], exam.body['rows'],
            exam.body['format']) == ('benchmark:exam@1', 'benchmark', 3, 'messages')
    train = load(ws, tmp_path, spoilt(f'Quiz: {EXAM[2].upper()}', EXAM[1].replace('3', '三')), 'train')
    got = ws.leakcheck(data=train, against=[exam])
    assert ([(r['row'], r['line'], r['file'], r['against'], r['of_row'], r['of_line']) for r in got]
            == [(2, 2, 'train.jsonl', 'benchmark:exam@1', 3, 3), (3, 3, 'train.jsonl', 'benchmark:exam@1', 2, 2)])
    assert [r['how'] for r in got] == ['verbatim']*2 and all(r['score'] == 1 for r in got)
    assert 'A FARMER HAS 12 SHEEP' in got[0]['text'] and got[0]['of_text'] == EXAM[2]
    assert ws.leakcheck(data=train) == got, 'without against: every registered test'
    assert [(r['dataset'], r['against'], r['rows'], r['found'], r['of'], r['verbatim'], r['edited'])
            for r in ws.leaks()] == [('dataset:train@1', 'benchmark:exam@1', 2, 2, 3, 2, 0)]
    assert ws.show(train)[0]['state']['leak:benchmark:exam@1']['rows'] == 2
    assert [e['data']['rows'] for e in ws.history(ref=str(train)) if e['kind'] == 'leak'][-1] == 2


def test_a_dataset_is_checked_when_it_is_written_and_a_benchmark_when_it_is_added(ws, tmp_path):
    exam = benchmark(ws, tmp_path, [chat(EXAM[0])], 'exam')
    d = load(ws, tmp_path, spoilt(EXAM[0], EXAM[2]), 'd')
    e = ws.dedup(data=d)
    assert ([(r['dataset'], r['against'], r['rows']) for r in ws.leaks() if r['dataset'] == str(e)]
            == [(str(e), str(exam), 1)])
    later = benchmark(ws, tmp_path, [chat(EXAM[2]), chat(EXAM[1])], 'later')
    assert ([(r['dataset'], r['rows'], r['found'], r['of']) for r in ws.leaks(ref=later)]
            == [(str(d), 1, 1, 2), (str(e), 1, 1, 2)])


def test_a_clean_dataset_is_recorded_as_looked_at(ws, tmp_path):
    benchmark(ws, tmp_path, [chat(q) for q in EXAM], 'exam')
    e = ws.dedup(data=load(ws, tmp_path, spoilt(), 'd'))
    assert ws.leaks(ref=e) == []
    assert [(r['against'], r['rows'], r['found']) for r in ws.leaks(ref=e, all=True)] == [('benchmark:exam@1', 0, 0)]


def test_parts_of_one_dataset_do_not_alarm_and_a_mixture_with_the_test_does(ws, tmp_path):
    d = load(ws, tmp_path, [chat(f'What is the {w} of {x} in the year {n}?', f'{n}')
                            for n, (w, x) in enumerate((w, x) for w in WORDS['en'] for x in WORDS['de'])], 'd')
    train, test = ws.split(data=d, test=.2)
    assert not ws.leaks() and test.body['role'] == 'held-out'
    rows = [{k: v for k, v in r.items() if k[:1] != '_'}
            for r in [*rows_of(ws.store, train), *list(rows_of(ws.store, test))[:7]]]
    again = load(ws, tmp_path, rows, 'again')
    got = ws.leakcheck(data=again, against=[test])
    assert {r['of_row'] for r in got} >= set(range(1, 8))
    assert [r['row'] for r in got if r['of_row'] <= 7] == list(range(len(rows)-6, len(rows)+1))


def test_counts_are_exact_where_names_are_cut(ws, tmp_path):
    exam = benchmark(ws, tmp_path, [chat(EXAM[0])], 'exam')
    d = load(ws, tmp_path, [chat(EXAM[0], str(i)) for i in range(250)], 'd')
    assert len(ws.leakcheck(data=d, against=[exam], limit=10)) == 10
    state = ws.show(d)[0]['state']['leak:benchmark:exam@1']
    assert (state['rows'], state['found'], state['verbatim'], len(state['named'])) == (250, 1, 250, 3)


@pytest.mark.parametrize('lang', ['zh', 'ru', 'de'])
def test_rows_behind_escapes_are_found(ws, lang):
    asked = {'zh': '一列火车以每小时八十公里的速度从上海开往北京，全程一千二百公里，需要多少小时？',
             'ru': 'Сколько часов поезд едет из Москвы в Казань со скоростью восемьдесят километров в час?',
             'de': 'Wie viele Stunden fährt der Zug von Köln nach München, '
             'wenn er für 80 Kilometer eine Stunde braucht?'}[lang]
    ix = index([dict(question=asked, answer='15')])
    for said in (json.dumps({'result': asked}), json.dumps(json.dumps([asked])),
                 f'<p>{html.escape(asked.replace(" ", chr(160))).replace(chr(160), "&nbsp;")}</p>'):
        row = dict(messages=[dict(role='user', content='look it up'), dict(role='tool', content=said)])
        assert [h.how for h in search(prepare([row]), ix)] == ['verbatim'], said


def test_a_short_sum_as_a_whole_question_is_found():
    ix = index([dict(question=f'{a}+31=', answer=str(a+31)) for a in range(12, 20)])
    rs = [dict(messages=[dict(role='user', content='hello'), dict(role='assistant', content='hi'),
                         dict(role='user', content=q), dict(role='assistant', content='?')])
          for q in ('12 + 31 =', '12+32=', '12-31=')]
    assert [(h.row, h.test) for h in search(prepare(rs), ix)] == [(0, 0)]


def test_it_says_what_is_wrong(ws, tmp_path):
    d = load(ws, tmp_path, spoilt(), 'd')
    with pytest.raises(Invalid, match='share is 0.1'): ws.leakcheck(data=d, share=.1)
    with pytest.raises(Invalid, match="no embedder 'gpt'"): ws.leakcheck(data=d, against=[d], embedder='gpt')
    assert ws.leakcheck(data=d, against=[d]) == [], 'a dataset is not compared with itself'


def test_a_step_takes_out_what_stands_in_a_test(ws, tmp_path):
    exam = benchmark(ws, tmp_path, [chat(q) for q in EXAM], 'exam')
    d = load(ws, tmp_path, spoilt(f'Hello. {EXAM[0]}', EXAM[2]), 'd')
    (tmp_path/'recipe.json').write_text(json.dumps({'steps': [{'step': 'decontaminate', 'against': [str(exam)]}]}))
    v = call(ws.store, 'clean', dict(data=d, recipe=str(tmp_path/'recipe.json')))
    assert v.body['rows'] == 2 and v.body['cleaning'][0]['removed'] == 2 and not ws.leakcheck(data=v)


def test_a_proof_of_a_model_that_saw_its_test_does_not_pass(ws, tmp_path):
    "Through the base and a merge: what was trained on an edited row of the test"
    store = ws.store
    exam = load(ws, tmp_path, [chat(EXAM[0]), chat(EXAM[2])], 'exam')
    at = lambda v: {'as_written': str(v.ref), 'ref': str(v.ref), 'digest': v.digest} # noqa: E731
    def made(name, reads, **body):
        store.append_many([('run.start', f'run:r-{name}',
                            dict(id=f'r-{name}', verb='x', status='done', args={}, writes=[], started=0.,
                                 reads={str(i): dict(ref=str(v.ref), digest=v.digest) for i, v in enumerate(reads)}))])
        return store.put('model', name,
                         {'files': [], 'chat_template': 'aa'*32, 'tokenizer': 'bb'*32, **body}, f'r-{name}')
    for kind, rows in (('clean', spoilt()), ('spoilt', spoilt('Q: '+EXAM[0].replace('flows', 'flws').upper()))):
        data = load(ws, tmp_path, rows, kind)
        base = made(f'{kind}-base', [data])
        tuned = made(f'{kind}-tuned', [base, load(ws, tmp_path, spoilt(), f'{kind}-more')], adapter=True,
                     base=str(base.ref))
        merged = made(f'{kind}-merged', [tuned], base=str(base.ref))
        subject = {'model': {'ref': str(base.ref), 'digest': base.digest},
                   'adapter': {'ref': str(tuned.ref), 'digest': tuned.digest}, 'chat_template': 'aa'*32,
                   'tokenizer': 'bb'*32}
        e = store.put('report', f'{kind}-e',
                      {'type': 'evaluation', 'title': 't', 'subject': subject,
                       'inputs': {'model': at(tuned), 'data.0': at(exam)}, 'passed': True, 'engine': {}, 'settings': {},
                       'gates': [dict(name='no leak', passed=True, why='0 of 2 questions', values={})], 'results': [],
                       'answers': {}})
        p = store.put('report', f'{kind}-p',
                      {'type': 'parity', 'title': 't', 'subject': subject | {'model': at(merged), 'adapter': None},
                       'passed': True, 'gates': [dict(name='same', passed=True, why='')],
                       'inputs': {'model': at(tuned), 'merged': at(merged)}})
        proof = ws.prove(model=merged, evaluation=e, parity=p)
        gate = next(g for g in proof.body['gates'] if g['name'] == 'no leak')
        assert proof.body['passed'] == gate['passed'] == (kind == 'clean'), gate
        if kind == 'spoilt':
            assert ([(r['in'], r['row'], r['against'], r['of_row']) for r in gate['values']['rows']]
                    == [('dataset:spoilt@1', 2, str(exam), 1)])
            assert 'row 1 in row 2' in gate['why']
