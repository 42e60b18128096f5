#!/usr/bin/env python
"""The few pictures of README and docs, taken from a real workspace in Debian's Chromium.

    make quickstart && .venv/bin/python tools/pictures.py [WORKSPACE [SCENE]]

SCENE is english, chinese, dark or labelling.

Writes docs/pictures/*.png: the models panel beside a version page in English and in Chinese, a run, a report,
the form of a template, the dashboard tab, the labelling desk and the page of a dataset. The pictures are
small: 8-bit palettes, at most 1280 pixels wide.
"""
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT/'docs/pictures'
sys.path.insert(0, str(ROOT/'tests'))


def small(path: Path) -> None:
    "A palette is enough for a screen, and a third of the bytes"
    from PIL import Image
    Image.open(path).convert('RGB').quantize(160, dither=Image.Dither.NONE).save(path, optimize=True)


def take(page, name: str, clip: dict | None = None) -> None:
    page.wait_for_timeout(700)
    page.screenshot(path=OUT/f'{name}.png', clip=clip)
    small(OUT/f'{name}.png')
    print(f'{name}.png  {(OUT/f"{name}.png").stat().st_size/1000:.0f} kB')


def panel(page, name: str) -> None:
    if not page.locator(f'#llmops-{name}').is_visible(): page.click(f'li[data-id="llmops-{name}"]')
    page.locator(f'#llmops-{name}').wait_for()


def run_row(page, title: str):
    return page.locator('#llmops-runs .llm-tools ~ .llm-list .llm-row',
                        has=page.locator('.llm-name', has_text=title)).first


def version(page, kind: str, ref: str, tab: int = 0) -> None:
    panel(page, kind)
    tabs = page.locator(f'#llmops-{kind} [role="tab"]')
    if tabs.count(): tabs.nth(tab).click()
    page.locator(f'#llmops-{kind} .llm-row[data-id^="{ref}@"]').first.click()
    page.locator(f'.llm-page[data-ref^="{ref}@"] .llm-lineage').wait_for()


def english(page) -> None:
    panel(page, 'runs')
    page.locator('#llmops-runs .llm-row[data-id="finetune"]').click()
    page.wait_for_selector('[data-form="finetune"] .llm-field')
    take(page, 'form')
    run_row(page, 'finetune').click()
    page.wait_for_selector('.llm-page[data-run]:visible .llm-curve')
    page.set_viewport_size(dict(width=1280, height=590))
    take(page, 'run')
    page.set_viewport_size(dict(width=1280, height=800))
    version(page, 'releases', 'report:tickets', 2)
    page.click('.llm-page:visible [data-action="report"]')
    page.locator('[data-report] iframe').wait_for()
    page.frame_locator('[data-report] iframe').locator('h1').wait_for()
    take(page, 'report')
    close_tabs(page)
    version(page, 'models', 'model:tickets-sft')
    take(page, 'lab-en')


def chinese(page) -> None:
    version(page, 'models', 'model:tickets-sft')
    take(page, 'lab-zh')


def dark(page) -> None:
    version(page, 'releases', 'release:tickets')
    take(page, 'release-dark')


def queue(workspace: Path) -> None:
    "Tickets as customers write them, cleaned, and a queue about the answers to them"
    from llmops.verbs import call, look, open_workspace
    store = open_workspace(workspace).store
    call(store, 'samples', dict(rows=240, dirty=True, out='support'))
    call(store, 'clean', dict(data='dataset:support', mask_pii=True, dedup=True))
    about = call(store, 'label',
                 dict(ref='dataset:support-clean', task='dialogue', rows=20, annotators=['anna', 'ben'], overlap=2,
                      tags=['polite', 'wrong', 'too long'], spans=['place', 'product'], out='answers'))
    for i, item in enumerate(look(store, 'label_mine', dict(queue=about, annotator='anna'))[:7]):
        call(store, 'label_save',
             dict(queue=about, item=item['item'], value=dict(rating=3+i % 3), annotator='anna', seconds=9))
    store.close()


def labelling(page) -> None:
    panel(page, 'datasets')
    line = page.locator('#llmops-datasets .llm-line-of:has([data-id="dataset:answers@1"])')
    line.hover()
    line.locator('[data-action="label"]').click()
    page.locator('.llm-labelling [data-field="who"], .llm-labelling [data-action="who:anna"]').first.wait_for()
    if (ask := page.locator('[data-action="who:anna"]')).count(): ask.click()
    else: page.locator('[data-field="who"]').select_option('anna')
    page.locator('.llm-desk[data-item]:not([data-item=""])').wait_for()
    for key in ('4', 'Shift+1', 'm', *['ArrowRight']*3): page.keyboard.press(key)
    page.keyboard.press('2')
    page.set_viewport_size(dict(width=1280, height=640))
    take(page, 'label')
    close_tabs(page)
    page.set_viewport_size(dict(width=1280, height=900))
    version(page, 'datasets', 'dataset:support-clean')
    page.locator('.llm-vrow[data-row="1"]').first.wait_for()
    page.locator('.llm-steps').scroll_into_view_if_needed()
    take(page, 'dataset')


def close_tabs(page) -> None:
    while (tab := page.locator('.lm-DockPanel-tabBar .lm-TabBar-tab .lm-TabBar-tabCloseIcon')).count() > 1:
        tab.last.click()


def shots(workspace: Path, only: str = '') -> None:
    from lab_server import CHROMIUM, FLAGS, lab
    from playwright.sync_api import sync_playwright
    scenes: list[tuple[str, str, Callable]] = (
        [('en-US', 'JupyterLab Light', english), ('zh-CN', 'JupyterLab Light', chinese),
         ('en-US', 'JupyterLab Dark', dark), ('en-US', 'JupyterLab Light', labelling)])
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, '--force-color-profile=srgb'])
        for locale, theme, scene in scenes:
            if only and scene.__name__ != only: continue
            if scene is labelling: queue(workspace)
            settings = workspace/'.home/settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings'
            settings.parent.mkdir(parents=True, exist_ok=True)
            settings.write_text(f'{{"theme": "{theme}"}}')
            with lab(workspace, 'jupyterlab') as it:
                page = chromium.new_page(viewport=dict(width=1280, height=800), locale=locale, timezone_id='UTC')
                page.set_default_timeout(60_000)
                page.goto(f'{it.url}lab?reset&token={it.token}')
                page.wait_for_selector('li[data-id="llmops-models"]')
                page.wait_for_timeout(1500)
                scene(page)
                page.close()
        chromium.close()


def main() -> int:
    source = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT/'workspace')
    if not (source/'settings.ini').is_file():
        print(f'{source} is no workspace. Make one with: make quickstart', file=sys.stderr)
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp)/'workspace' # Pictures leave no trace in the workspace
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns('.home', 'cache', 'tmp'))
        with suppress(KeyboardInterrupt): shots(copy, sys.argv[2] if len(sys.argv) > 2 else '')
    return 0


if __name__ == '__main__': sys.exit(main())
