"A training in JupyterLab: a form that stays readable, curves while it runs, pause, checkpoints, samples, resume."
import json

import pytest
from lab_server import CHROMIUM, ROOT
from words import WORDS, ask, says

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason='no Chromium: apt-get install chromium')]


@pytest.fixture(scope='module')
def here(lab_over):
    "A workspace with the shipped model and forty rows, and Lab over it"
    def fill(folder, call):
        rows = [dict(messages=[*ask(w), *says(f'{w} {w}')]) for w in WORDS*2]
        (folder/'twice.jsonl').write_text('\n'.join(map(json.dumps, rows)))
        call('load', path=str(folder/'twice.jsonl'), out='twice')
        call('import_model', source=str(ROOT/'assets/tiny-qwen'), out='tiny-qwen')
    with lab_over(fill) as it: yield it


def shown(page, status: str) -> str:
    "Wait until the run on screen has this status; its id"
    page.wait_for_function("s => [...document.querySelectorAll('.llm-page[data-run]')].some(e => e.offsetParent && "
                           "e.dataset.status === s)", arg=status, timeout=180_000)
    return page.locator('.llm-page[data-run]:visible').get_attribute('data-run')


def test_a_training_is_started_paused_and_resumed(page, here):
    page.click('li[data-id="llmops-models"]')
    page.locator('#llmops-models .llm-row[data-id="model:tiny-qwen@1"]').click()
    page.locator('.llm-page[data-ref="model:tiny-qwen@1"] [data-action="sft"]').click()
    form = page.locator('[data-form="sft"]')
    form.locator('[data-param="data"]').wait_for()
    groups = form.locator('details.llm-group')
    assert groups.count() >= 6
    assert ([groups.nth(i).get_attribute('open') is not None for i in range(groups.count())]
            == [True]+[False]*(groups.count()-1))
    assert form.locator('[data-param="model"] input').input_value() == 'model:tiny-qwen@1'
    assert form.locator('[data-param="weight_decay"]').count() == 0

    def fill(**values):
        for k, v in values.items(): form.locator(f'[data-param="{k}"] :is(input,textarea,select)').fill(v)
    fill(data='dataset:twice', max_steps='sixty')
    for g in ('What is looked at meanwhile', 'What is kept to go on from'):
        form.locator(f'[data-group="{g}"] summary').click()
    fill(sample_steps='5', save_steps='5', log_every='1', batch='4')
    changed = {g: form.locator(f'[data-group="{g}"] .llm-count').inner_text()
               for g in ('What is looked at meanwhile', 'What is kept to go on from')}
    assert changed == {'What is looked at meanwhile': '2 changed', 'What is kept to go on from': '1 changed'}
    form.locator('[data-action="run"]').click()
    assert form.locator('[data-param="max_steps"] .llm-wrong').inner_text() == 'Write a whole number, like 300'
    fill(max_steps='400')
    form.locator('[data-action="run"]').click()

    run = page.locator('.llm-page[data-run]:visible')
    run.locator('.llm-curve figcaption', has_text='loss').first.wait_for(timeout=120_000)
    run.locator('[aria-label="Checkpoints"] tbody tr').first.wait_for(timeout=60_000)
    run.locator('.llm-sample').first.wait_for(timeout=60_000)
    run.locator('[data-action="pause"]').click()
    first = shown(page, 'paused')
    assert run.locator('[data-action="pause"]').count() == 0
    kept = here.ws.view('checkpoints', run=first)
    assert kept and kept[-1]['step'] < 400

    run.locator('[data-action="resume"]').click()
    page.wait_for_function("was => [...document.querySelectorAll('.llm-page[data-run]')].some(e => e.offsetParent && "
                           "e.dataset.run !== was)", arg=first)
    again = page.locator(f'.llm-page[data-run]:visible:not([data-run="{first}"])')
    again.locator('[data-resumes]').wait_for(timeout=60_000)
    page.wait_for_function("() => [...document.querySelectorAll('.llm-curve svg')].some(e => "
                           "e.closest('.llm-page').offsetParent && /loss/.test(e.getAttribute('aria-label')))")
    again.locator('[data-action="pause"]').click()
    second = shown(page, 'paused')
    assert here.ws.store.state(f'run:{second}', 'run')['resumes'] == first
    steps = [r['step'] for r in here.ws.view('curve', run=second)]
    assert steps == sorted(set(steps)) and steps[-1] >= kept[-1]['step']
