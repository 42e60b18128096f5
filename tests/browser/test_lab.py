"JupyterLab in a real browser: start a run from the panel, watch it, open its report, approve."

import pytest
from lab_server import CHROMIUM, ROOT

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason='no Chromium: apt-get install chromium')]
XSS = '<img src=x onerror=alert(1)><script>alert(2)</script>'


@pytest.fixture(scope='module')
def here(lab_over):
    "A workspace with real tickets and the shipped base model, and Lab over it"
    def fill(folder, call):
        raw = call('samples', out='tickets', rows=600)
        call('split', data=call('clean', data=raw, out='tickets-clean'), out='tickets')
        call('import_model', source=str(ROOT/'assets/tiny-qwen'), out='tiny-qwen')
    with lab_over(fill) as it: yield it


def panel(page, name: str):
    "Open a panel of the sidebar"
    box = page.locator(f'#llmops-{name}')
    if not box.is_visible(): page.click(f'li[data-id="llmops-{name}"]')
    box.wait_for(state='visible')
    return box


def fill(page, **values):
    for k, v in values.items(): page.locator(f'[data-param="{k}"] :is(input,textarea,select)').last.fill(v)


def ended(page, status: str = 'done', seconds: int = 240) -> str:
    "Wait for the run on screen to end; its id"
    page.wait_for_selector('.llm-page[data-run]:visible')
    it = page.locator('.llm-page[data-run]:visible')
    page.wait_for_function("() => [...document.querySelectorAll('.llm-page[data-run]')].some(e => e.offsetParent && "
                           "!['waiting', 'running'].includes(e.dataset.status))", timeout=seconds*1000)
    assert it.get_attribute('data-status') == status, it.inner_text()
    return it.get_attribute('data-run')


def test_run_from_the_panel_watch_report_approve(page, here):
    panel(page, 'runs').locator('.llm-row[data-id="finetune"]').click()
    page.wait_for_selector('[data-form="finetune"] [data-param="steps"]')
    fill(page, steps='twelve')
    page.click('[data-form="finetune"] [data-action="run"]')
    assert page.locator('[data-param="steps"] .llm-wrong').inner_text() == 'Write a whole number, like 300'
    fill(page, steps='60', batch='16', lr='0.006', track='')
    page.click('[data-form="finetune"] [data-action="run"]')
    page.wait_for_selector('.llm-page[data-run] .llm-progress [role="progressbar"]')
    page.wait_for_selector('.llm-page[data-run] .llm-curve', timeout=120_000) # Drawn while it runs: the page is live
    assert page.locator('.llm-page[data-run]:visible').get_attribute('data-status') == 'running'
    ended(page)
    assert 'model:tickets-sft@1' in page.locator('.llm-wrote').inner_text()

    page.locator('.llm-wrote .llm-link', has_text='model:tickets-sft@1').click()
    at = page.locator('.llm-page[data-ref="model:tickets-sft@1"]')
    at.locator('.llm-lineage .llm-here').wait_for()
    assert at.locator('.llm-curve figcaption', has_text='loss').count() == 1
    at.locator('[data-action="evaluate"]').click()
    page.wait_for_selector('[data-form="evaluate"] [data-param="model"]')
    assert page.locator('[data-form="evaluate"] [data-param="model"] input').input_value() == 'model:tickets-sft@1'
    fill(page, data='dataset:tickets-test', baseline='model:tiny-qwen', rows='24', out='tickets-evaluation')
    page.click('[data-form="evaluate"] [data-action="run"]')
    page.wait_for_selector('.llm-page[data-run]:visible h1:has-text("evaluate")')
    ended(page)

    page.click('.llm-page[data-run]:visible [data-action="report"]')
    report = page.locator('[data-report="report:tickets-evaluation@1"]')
    assert report.locator('iframe').get_attribute('sandbox') == ''
    inside = report.frame_locator('iframe')
    inside.locator('h1').wait_for()
    assert 'model:tickets-sft@1' in inside.locator('body').inner_text()

    report.locator('[data-action="approve"]').click()
    dialog = page.locator('dialog.llm-dialog')
    assert dialog.locator('[data-param="ref"] select').input_value() == 'model:tickets-sft@1'
    dialog.locator('button[type="submit"]').click()
    assert dialog.locator('[data-param="note"] .llm-wrong').inner_text() == 'Fill this in'
    fill(page, note='Right where the base is not')
    dialog.locator('button[type="submit"]').click()
    dialog.wait_for(state='detached')
    approval = here.ws.store.state('model:tickets-sft@1', 'approval')
    assert (approval['status'], approval['report'],
            approval['note']) == ('approved', 'report:tickets-evaluation@1', 'Right where the base is not')
    row = panel(page, 'models').locator('.llm-row[data-id="model:tickets-sft@1"] .llm-status')
    row.wait_for()
    assert row.get_attribute('data-status') == 'approved'


def test_what_happens_elsewhere_shows_without_a_reload(page, here):
    box = panel(page, 'prompts')
    box.locator('.llm-empty code', has_text='llmops add prompt:NAME FILE.txt').wait_for()
    here.ws.store.put('prompt', 'fresh', dict(text=XSS, title=XSS))
    box.locator('.llm-row[data-id="prompt:fresh@1"]').wait_for(timeout=8_000)
    box.locator('.llm-row').click()
    page.wait_for_selector('.llm-page[data-ref="prompt:fresh@1"]')
    assert page.locator('.llm-card').inner_text() == XSS
    assert page.locator('.llm-page img, .llm-page script').count() == 0


PAYLOADS = (XSS, '"><svg/onload=alert(1)>', "javascript:alert(1)", '<iframe srcdoc="<script>parent.alert(1)</script>">',
            '{{constructor.constructor("alert(1)")()}}', '<a href="javascript:alert(1)">x</a>',
            '</script><script>alert(1)</script>', '<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>',
            '[x](javascript:alert(1))', '\u202e<b>tsil')


def test_nothing_that_is_stored_becomes_code_in_lab(page, here):
    from llmops.core import Failed
    from llmops.verbs import VERBS, call, verb
    store, text = here.ws.store, ' '.join(PAYLOADS)

    @verb(writes='report')
    def explode(run, why:str):
        "Fail with a payload"
        yield dict(step=1, total=2, message=why, loss=1.)
        raise Failed(why)

    model = store.put('model', 'hostile', {'architecture': text, 'note': text, 'title': text, text[:60]: text,
                                           'files': [dict(path=text, blob='0'*64, size=1)]})
    html = store.blobs.put_bytes(f'<!doctype html><h1>Hostile</h1>{text}<script>top.alert(3)</script>'.encode())
    report = store.put('report', 'hostile',
                       dict(title=text, subject=dict(model=dict(ref=str(model), digest=model.digest)), html=html))
    call(store, 'reject', dict(ref=model, note=text, report=report))
    with pytest.raises(Failed): call(store, 'explode', dict(why=text))
    del VERBS['explode']
    panel(page, 'models').locator('.llm-row[data-id="model:hostile@1"]').click()
    at = page.locator('.llm-page[data-ref="model:hostile@1"]')
    at.locator('.llm-lineage, .llm-table').first.wait_for()
    panel(page, 'runs').locator('.llm-row', has_text='explode').first.click()
    page.locator('.llm-page[data-run][data-status="failed"]').wait_for()
    for box in (at, page.locator('.llm-page[data-run]'), page.locator('#llmops-models'), page.locator('#llmops-runs')):
        assert box.locator('img, script, iframe, a, math, svg[onload]').count() == 0
        assert '<script>alert(2)</script>' in box.inner_text() or box.get_attribute('id')
    panel(page, 'releases').locator('[role="tab"]').nth(2).click()
    page.locator('#llmops-releases .llm-row[data-id="report:hostile@1"]').click()
    page.locator('.llm-page:visible [data-action="report"]').click()
    page.frame_locator('[data-report="report:hostile@1"] iframe').locator('h1').first.wait_for()
    page.wait_for_timeout(500)


def test_a_mistake_in_a_dialog_is_a_sentence_and_the_next_command(page, here):
    panel(page, 'models').locator('.llm-row', has_text='tiny-qwen').click()
    page.click('[data-ref^="model:tiny-qwen"] [data-action="alias"]')
    fill(page, name='3')
    page.click('dialog.llm-dialog button[type="submit"]')
    told = page.locator('dialog.llm-dialog .llm-problem')
    told.wait_for()
    assert told.inner_text() == "'3' cannot be an alias: it reads as a version. Choose a word like prod"
    fill(page, name='base')
    page.keyboard.press('Enter')
    page.locator('dialog.llm-dialog').wait_for(state='detached')
    page.locator('#llmops-models .llm-alias', has_text='base').wait_for()
    assert here.ws.store.state('model:tiny-qwen', 'alias:base') == 1


def test_a_long_run_is_stopped_from_its_page(page, here):
    panel(page, 'runs').locator('.llm-row[data-id="finetune"]').click()
    fill(page, steps='5000', track='', name='never')
    page.click('[data-form="finetune"] [data-action="run"]')
    page.wait_for_selector('.llm-page[data-status="running"]:visible')
    page.click('.llm-page[data-run]:visible [data-action="stop"]')
    run = ended(page, 'stopped', 60)
    assert here.ws.store.state(f'run:{run}', 'run')['status'] == 'stopped'


@pytest.mark.parametrize('page', ['zh-CN'], indirect=True)
def test_a_chinese_browser_gets_chinese_panels_and_the_keyboard_reaches_them(page):
    box = panel(page, 'datasets')
    assert box.locator('h2').inner_text() == '数据集'
    box.locator('.llm-row').first.focus()
    page.keyboard.press('ArrowDown')
    page.keyboard.press('Enter')
    page.wait_for_selector('.llm-page[data-ref^="dataset:"]')
    assert page.locator('.llm-section h2').first.inner_text() == '基本信息'


def test_the_dashboard_opens_in_a_tab(page):
    panel(page, 'runs').locator('[data-action="dashboard"]').click()
    inside = page.frame_locator('iframe[src*="llmops-dashboard"]')
    inside.get_by_text('LLMOps').first.wait_for(timeout=90_000)
    inside.get_by_text('tickets-clean').first.wait_for()


def test_a_panel_pages_and_filters(page, here):
    for i in range(60): here.ws.store.put('benchmark', f'b{i:02}', dict(rows=i))
    box = panel(page, 'datasets')
    box.locator('[role="tab"]').nth(1).click()
    box.locator('.llm-row[data-id="benchmark:b59@1"]').wait_for()
    assert box.locator('.llm-row').count() == 50
    box.locator('.llm-more').click()
    box.locator('.llm-row[data-id="benchmark:b00@1"]').wait_for()
    assert box.locator('.llm-row').count() == 60 and box.locator('.llm-more').count() == 0
    box.locator('.llm-filter').fill('b1')
    box.locator('.llm-row[data-id="benchmark:b59@1"]').wait_for(state='detached')
    assert box.locator('.llm-row').count() == 10
    box.locator('.llm-filter').fill('%')
    box.locator('.llm-empty').wait_for()


def test_reject_archive_and_roll_back_to_a_proven_state_only(page, here):
    from llmops.verbs import call
    store = here.ws.store
    versions = [store.put('model', 'rolled', dict(architecture='qwen', n=n)) for n in (1, 2, 3)]
    for v in (versions[0], versions[2]):
        report = store.put('report', f'about-{v.number}',
                           dict(type='evaluation', passed=True, subject=dict(model=dict(ref=str(v), digest=v.digest))))
        call(store, 'approve', dict(ref=v, report=report, note='good'))
    call(store, 'alias', dict(ref=versions[2], name='prod'))
    panel(page, 'models').locator('.llm-row[data-id="model:rolled@3"]').click()
    at = page.locator('.llm-page[data-ref="model:rolled@3"]')
    at.locator('[data-action="rollback"]').click()
    dialog = page.locator('dialog.llm-dialog')
    assert dialog.locator('.llm-fixed').inner_text() == 'model:rolled@prod'
    # Not 2: nothing proves it
    assert dialog.locator('[data-param="to"] option').all_inner_texts() == ['–', 'model:rolled@1']
    dialog.locator('[data-param="to"] select').select_option('model:rolled@1')
    dialog.locator('button[type="submit"]').click()
    ended(page)
    assert store.state('model:rolled', 'alias:prod') == 1

    panel(page, 'models').locator('.llm-row[data-id="model:rolled@3"]').click()
    at.locator('[data-action="reject"]').click()
    fill(page, note='Rolled back')
    dialog.locator('button[type="submit"]').click()
    at.locator('.llm-title [data-status="rejected"]').wait_for()
    at.locator('[data-action="archive"]').click()
    dialog.locator('button[type="submit"]').click()
    page.locator('#llmops-models .llm-row[data-id="model:rolled@3"]').wait_for(state='detached')


def test_labs_own_language_and_the_switch(page, here):
    locale = here.folder/'.home/settings/@jupyterlab/translation-extension/plugin.jupyterlab-settings'
    locale.parent.mkdir(parents=True, exist_ok=True)
    locale.write_text('{"locale": "zh_CN"}')
    try:
        page.reload()
        page.wait_for_selector('li[data-id="llmops-models"]')
        title = panel(page, 'models').locator('h2')
        page.wait_for_function("() => document.querySelector('#llmops-models h2')?.textContent === '模型'")
        page.keyboard.press('Control+Shift+C')
        page.locator('.lm-CommandPalette-input').fill('English / 中文')
        page.keyboard.press('Enter')
        page.wait_for_function("() => document.querySelector('#llmops-models h2')?.textContent === 'Models'")
        assert title.inner_text() == 'Models'
    finally: locale.unlink()


def test_without_the_event_socket_the_panels_still_follow(here, chromium):
    page = chromium.new_page(locale='en-US')
    page.route_web_socket('**/api/events/subscribe**', lambda ws: None)
    page.goto(f'{here.url}lab?reset&token={here.token}')
    page.wait_for_selector('li[data-id="llmops-models"]', timeout=60_000)
    box = panel(page, 'prompts')
    page.wait_for_timeout(2000)
    here.ws.store.put('prompt', 'by-polling', dict(text='slow'))
    box.locator('.llm-row[data-id="prompt:by-polling@1"]').wait_for(timeout=40_000)
    page.close()
