"Labelling in JupyterLab, in a real browser and by the keyboard: a queue, two people, a judge, the dataset and its rows."
import json
from contextlib import suppress

import pytest
from lab_server import CHROMIUM

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason='no Chromium: apt-get install chromium')]
XSS = '<img src=x onerror=alert(1)><script>alert(2)</script>"\'><svg/onload=alert(3)>'
TEXTS = ['It came late and broken', 'A wonderful book', 'Where is my invoice?', '书很好，谢谢', 'I want my money back',
         'Do you sell maps?', XSS]
TALK = [dict(messages=[dict(role='user', content='Where is order 4711?'),
                       dict(role='assistant', content='It left on Friday, Mr 🦊 Fox.')]),
        dict(messages=[dict(role='user', content='什么时候到？'), dict(role='assistant', content='明天送达。')]),
        dict(messages=[dict(role='user', content=XSS),
                       dict(role='assistant', content=XSS,
                            tool_calls=[dict(type='function', function=dict(name=XSS, arguments=dict(q=XSS)))])])]
PAIRS = [dict(prompt=[dict(role='user', content=f'Question {i}')], chosen=[dict(role='assistant', content=f'good {i}')],
              rejected=[dict(role='assistant', content=f'bad {i}')]) for i in range(3)]


@pytest.fixture(scope='module')
def here(lab_over):
    "A workspace with texts, dialogues and pairs, and Lab over it"
    def fill(folder, call):
        for name, rows in (('reviews', [dict(text=t) for t in TEXTS]), ('talk', TALK), ('pairs', PAIRS)):
            text = ''.join(json.dumps(r, ensure_ascii=False)+'\n' for r in rows)
            (folder/f'{name}.jsonl').write_text(text+('{"text": "no end\n' if name == 'reviews' else ''))
            call('load', path=str(folder/f'{name}.jsonl'), out=name)
        call('label', ref='dataset:talk', task='dialogue', tags=['polite', 'wrong'], spans=['name', 'time'],
             out='talk-queue')
        call('label', ref='dataset:pairs', task='preference', out='pairs-queue')
        call('label', ref='dataset:reviews', task='correction', out='fix-queue')
    with lab_over(fill) as it: yield it


def desk(page, queue: str):
    "Open the desk of a queue from the row of its dataset"
    if not page.locator('#llmops-datasets').is_visible(): page.click('li[data-id="llmops-datasets"]')
    line = page.locator(f'#llmops-datasets .llm-line-of:has([data-id="dataset:{queue}@1"])')
    line.hover()
    line.locator('[data-action="label"]').click()
    it = page.locator(f'.llm-labelling[data-queue="dataset:{queue}@1"]:visible')
    it.wait_for()
    return it


def at(page, but: str = '') -> str:
    "The item on the desk, once it is another than `but`"
    page.wait_for_function("but => [...document.querySelectorAll('.llm-desk[data-item]')].some(e => e.offsetParent && "
                           "e.dataset.item && e.dataset.item !== but)", arg=but)
    return page.locator('.llm-desk[data-item]:visible').get_attribute('data-item')


def fill(page, **values):
    for k, v in values.items():
        box = page.locator(f'[data-param="{k}"] :is(input,textarea,select):visible').last
        box.select_option(v) if box.evaluate('e => e.tagName') == 'SELECT' else box.fill(v)


def ended(page) -> None:
    page.wait_for_function("() => [...document.querySelectorAll('.llm-page[data-run]')].some(e => e.offsetParent && "
                           "!['waiting', 'running'].includes(e.dataset.status))", timeout=90_000)
    it = page.locator('.llm-page[data-run]:visible')
    assert it.get_attribute('data-status') == 'done', it.inner_text()


def labels(here, queue: str, who: str) -> dict:
    "What a person has answered, by item"
    from llmops.verbs import look
    mine = look(here.ws.store, 'label_mine', dict(queue=f'dataset:{queue}', annotator=who))
    return {m['item']: m['state'] for m in mine if m['state'] != 'open'}


def value(here, queue: str, item: int, who: str) -> dict:
    from llmops.verbs import look
    return look(here.ws.store, 'label_item', dict(queue=f'dataset:{queue}', item=item, annotator=who))[0]


def test_from_a_dataset_to_a_dataset_with_two_people_and_a_judge(page, here):
    page.click('li[data-id="llmops-datasets"]')
    line = page.locator('#llmops-datasets .llm-line-of:has([data-id="dataset:reviews@1"])')
    line.hover()
    line.locator('[data-action="label"]').click()
    page.locator('.llm-queues [data-action="label"]').click()
    page.wait_for_selector('[data-form="label"] [data-param="task"]')
    fill(page, task='classification', classes='praise, complaint, question', annotators='anna, ben', overlap='2',
         out='reviews-queue')
    page.click('[data-form="label"] [data-action="run"]')
    ended(page)
    page.locator('.llm-wrote .llm-link', has_text='dataset:reviews-queue@1').click()
    page.locator('.llm-page[data-ref="dataset:reviews-queue@1"] [data-action="label"]').click()
    it = page.locator('.llm-labelling[data-queue="dataset:reviews-queue@1"]')
    it.locator('[data-action="who:anna"]').wait_for()

    page.keyboard.press('1') # Anna, and from here on the mouse is not needed
    done, seen = {}, ''
    for key in '12312':
        seen = at(page, seen)
        page.keyboard.press(key)
        done[int(seen)] = key
    sixth = at(page, seen)
    assert {k: 'done' for k in done} == labels(here, 'reviews-queue', 'anna')
    assert it.locator('[role="progressbar"]').get_attribute('aria-valuenow') == '71'
    page.keyboard.press('u') # The last label is taken back, then given again
    assert at(page, sixth) == seen
    page.keyboard.press('3')
    assert at(page, seen) == sixth
    assert value(here, 'reviews-queue', int(seen), 'anna')['value'] == {'classes': ['question']}

    page.keyboard.press('n') # A note is begun, and Lab is loaded anew
    page.keyboard.type('not sure')
    page.wait_for_function("() => Object.values(localStorage).some(v => v.includes('not sure'))")
    page.reload()
    page.locator('.llm-labelling[data-who="anna"]').wait_for()
    assert at(page) == sixth and it.locator('[data-field="note"]').input_value() == 'not sure'
    it.locator('.llm-desk').focus()
    page.keyboard.press('1')
    last = at(page, sixth)
    page.keyboard.press('s')
    page.keyboard.type('cannot read it')
    page.keyboard.press('Enter')
    it.locator('.llm-desk[data-state="done"]').wait_for()
    assert labels(here, 'reviews-queue', 'anna') == {**{k: 'done' for k in done}, int(sixth): 'done',
                                                     int(last): 'skipped'}
    assert value(here, 'reviews-queue', int(sixth), 'anna')['note'] == 'not sure'

    it.locator('[data-field="who"]').select_option('ben')
    page.locator('.llm-labelling[data-who="ben"]').wait_for()
    seen = ''
    for _ in range(7):
        seen = at(page, seen)
        page.keyboard.press('1' if int(seen) not in done
                            else done[int(seen)] if int(seen) != min(done) else '2' if done[int(seen)] != '2' else '1')
        page.wait_for_function("seen => [...document.querySelectorAll('.llm-desk')].some(e => e.offsetParent && "
                               "e.dataset.item !== seen)", arg=seen)
    it.locator('[data-tab="overview"]').click()
    it.locator('[data-measure="krippendorff"]').first.wait_for()
    assert it.locator('[data-action="disagreements"] b').inner_text() in ('1', '2')
    table = it.locator('.llm-table[aria-label="People"]').inner_text()
    assert 'anna' in table and 'ben' in table

    it.locator('[data-field="who"]').select_option('') # Somebody else judges
    it.locator('[data-tab="disagreements"]').click()
    it.locator('.llm-judge').wait_for()
    for _ in range(int(it.locator('.llm-disagreements .llm-list li').count())):
        item = it.locator('.llm-judge').get_attribute('data-item')
        assert 'anna' not in it.locator('.llm-answers').inner_text() # The judge sees answers, not people
        page.keyboard.press('1')
        page.wait_for_function("item => document.querySelector('.llm-judge')?.dataset.item !== item", arg=item)
    it.locator('[data-tab="overview"]').click()
    it.locator('[data-action="collect"]').click()
    page.wait_for_selector('[data-form="collect"] [data-param="queue"]')
    fill(page, policy='adjudicated', out='reviews-labelled')
    page.click('[data-form="collect"] [data-action="run"]')
    ended(page)
    made = here.ws.store.get('dataset:reviews-labelled')
    assert made.body['rows'] >= 5 and made.body['parents'][0]['ref'] == 'dataset:reviews-queue@1'


def test_a_dialogue_is_edited_marked_rated_and_tagged_by_keyboard_and_mouse(page, here):
    it = desk(page, 'talk-queue')
    first = at(page)
    while 'Fox' not in it.inner_text():
        page.keyboard.press('ArrowRight')
        first = at(page, first)
    for key in ('4', 'Shift+1', 'm'): page.keyboard.press(key)
    for _ in range(5): page.keyboard.press('ArrowRight') # It left on Friday, Mr
    page.keyboard.press('Shift+ArrowRight')
    page.keyboard.press('Shift+ArrowRight')
    page.keyboard.press('1')
    it.locator('.llm-chips .llm-chip b', has_text='name').wait_for()
    for key in ('ArrowUp', 'e'): page.keyboard.press(key)
    page.keyboard.type(' Please!')
    page.keyboard.press('Escape')
    box = it.locator('[data-turn="1"] .llm-marked')
    box.evaluate("""e => { const text = e.firstChild, range = document.createRange(); range.setStart(text, 0); range.setEnd(text, 2);
        const s = getSelection(); s.removeAllRanges(); s.addRange(range); e.dispatchEvent(new MouseEvent('mouseup', {bubbles: true})) }""")
    it.locator('[data-span="time"]').click()
    it.locator('[data-action="save"]').click()
    at(page, first)
    got = value(here, 'talk-queue', int(first), it.get_attribute('data-who'))['value']
    assert got['rating'] == 4 and got['tags'] == ['polite']
    assert got['messages'][0]['content'] == 'Where is order 4711? Please!'
    answer = TALK[0]['messages'][1]['content']
    # Counted in code points, behind the fox too
    assert all(answer[s['start']:s['end']] == s['text'] for s in got['spans'])
    assert [(s['label'], s['text']) for s in got['spans']] == [('time', 'It'), ('name', got['spans'][1]['text'])]
    assert '🦊' in got['spans'][1]['text']


def test_what_is_labelled_without_a_connection_is_kept_said_and_sent(page, here):
    it = desk(page, 'pairs-queue')
    first = at(page)
    text = it.locator('.llm-desk-item').inner_text()
    assert 'chosen' not in text and 'rejected' not in text # Nothing says whose answer is whose
    page.route('**/call/label_save**', lambda r: r.abort())
    page.keyboard.press('1')
    it.locator('[data-saved="lost"]').wait_for()
    who = it.get_attribute('data-who')
    assert labels(here, 'pairs-queue', who) == {}
    assert json.loads(page.evaluate("() => Object.entries(localStorage).find(([k]) => k.startsWith('llmops.labels "
                                    "dataset:pairs-queue'))[1]"))[0]['item'] == int(first)
    page.reload() # Even the page may go
    page.wait_for_selector('li[data-id="llmops-models"]')
    it = desk(page, 'pairs-queue')
    it.locator('[data-saved="lost"]').wait_for()
    page.unroute('**/call/label_save**')
    page.evaluate("() => window.dispatchEvent(new Event('online'))")
    it.locator('[data-saved="saved"]').wait_for()
    page.wait_for_function("() => !Object.keys(localStorage).some(k => k.startsWith('llmops.labels'))")
    assert labels(here, 'pairs-queue', who) == {int(first): 'done'}


@pytest.mark.parametrize('page', ['zh-CN'], indirect=True)
def test_a_notebook_shows_the_same_desk_in_chinese_and_nothing_stored_becomes_code(page, here):
    import nbformat
    from playwright.sync_api import TimeoutError
    cell = nbformat.v4.new_code_cell("import llmops\nllmops.open('.').labeller('dataset:fix-queue')")
    nbformat.write(nbformat.v4.new_notebook(
        cells=[cell], metadata={'kernelspec': {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}}),
                   here.folder/'label.ipynb')
    page.goto(f'{here.url}lab/tree/label.ipynb?reset')
    page.wait_for_selector('.jp-Notebook .jp-CodeCell')
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=90_000)
    for _ in range(4): # A kernel that has only just begun may not hear the first time
        page.locator('.jp-Notebook .jp-CodeCell .cm-content').first.click()
        page.keyboard.press('Shift+Enter')
        with suppress(TimeoutError):
            page.wait_for_selector('.jp-OutputArea .llm-labelling [data-action="save"]', timeout=25_000)
            break
    it = page.locator('.jp-OutputArea .llm-labelling')
    it.locator('[data-action="save"]').wait_for()
    assert it.locator('[role="tab"]').all_inner_texts() == ['标注', '总览', '分歧'] and '保存并继续' in it.inner_text()
    item, cells = at(page), page.locator('.jp-Notebook .jp-Cell').count()
    it.locator('.llm-desk').focus()
    for _ in range(3*len(TEXTS)): # To the hostile one; a key may come before the desk listens
        if XSS in it.inner_text(): break
        page.keyboard.press('ArrowRight')
        item = at(page, item)
    assert XSS in it.inner_text()
    assert it.locator('img, script, svg[onload]').count() == 0
    page.keyboard.press('e')
    page.keyboard.type(' dd')
    page.keyboard.press('Control+Enter')
    at(page, item)
    assert value(here, 'fix-queue', int(item), it.get_attribute('data-who'))['value'] == {'text': XSS+' dd'}
    page.keyboard.press('d') # Keys of the desk are not commands of the notebook
    page.keyboard.press('d')
    assert page.locator('.jp-Notebook .jp-Cell').count() == cells


def test_the_page_of_a_dataset_browses_rows_and_says_what_was_not_read(page, here):
    page.click('li[data-id="llmops-datasets"]')
    page.locator('#llmops-datasets .llm-row[data-id="dataset:talk@1"]').click()
    it = page.locator('.llm-page[data-ref="dataset:talk@1"]')
    it.locator('.llm-vrow[data-row="1"]').wait_for()
    assert it.locator('.llm-origin').inner_text().split('\n')[:2] == ['row 1', 'talk.jsonl, line 1']
    it.locator('.llm-virtual').first.focus()
    page.keyboard.press('End')
    it.locator('.llm-row-detail .llm-tool').wait_for()
    assert it.locator('img, script, svg[onload]').count() == 0 and XSS in it.locator('.llm-row-detail').inner_text()
    it.locator('[data-field="search"]').fill('明天')
    it.locator('[data-found="1"]').wait_for()
    assert '明天送达。' in it.locator('.llm-row-detail').inner_text()

    page.locator('#llmops-datasets .llm-row[data-id="dataset:reviews@1"]').click()
    bad = page.locator('.llm-page[data-ref="dataset:reviews@1"] [data-part="rejected"]')
    bad.locator('.llm-vrow[data-row="1"]').wait_for()
    said = bad.locator('.llm-row-detail').inner_text()
    assert '8' in said.split('\n') and 'column' in said.lower()
