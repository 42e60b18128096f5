"""The wheel holds what a user needs, and nothing of the workshop."""
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "The wheel of this checkout, built as `make wheel` does"
    out = tmp_path_factory.mktemp('dist')
    r = subprocess.run([sys.executable, '-m', 'hatchling', 'build', '-t', 'wheel', '-d', str(out)], cwd=ROOT,
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return next(out.glob('*.whl'))


def test_modules_templates_assets_and_server_configuration_are_in(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    data = next(n.split('/')[0] for n in names if n.split('/')[0].endswith('.data'))
    want = {f'llmops/{p.relative_to(ROOT/"llmops").as_posix()}'
            for p in (ROOT/'llmops').rglob('*.py') if 'labextension' not in p.parts}
    for folder in ('templates', 'assets'):
        want |= {f'llmops/{p.relative_to(ROOT).as_posix()}'
                 for p in (ROOT/folder).rglob('*') if p.is_file() and '.ipynb_checkpoints' not in p.parts}
    want |= {f'{data}/data/etc/jupyter/jupyter_server_config.d/llmops.json'}
    assert sorted(want - names) == []
    assert ([n for n in names if n.startswith(('tests/', 'nbs/', 'tools/', 'bench/', 'docs/', 'llmops/labextension'))]
            == [])


def test_lab_extension_is_in(wheel):
    if not (ROOT/'llmops/labextension/package.json').exists():
        pytest.skip('the Lab extension is not built here (make setup with Node 20)')
    names = zipfile.ZipFile(wheel).namelist()
    ours = [n for n in names if '/share/jupyter/labextensions/' in n]
    assert [n.rpartition('/')[2] for n in ours if n.endswith('/package.json')] == ['package.json']
    assert any('/static/remoteEntry' in n for n in ours)


def test_installed_wheel_knows_its_commands_and_templates(wheel, tmp_path):
    "Unpacked elsewhere, with this environment's packages but not this checkout"
    site = tmp_path/'site'
    zipfile.ZipFile(wheel).extractall(site)
    shutil.copytree(next(site.glob('*.data'))/'data', tmp_path/'data')
    code = ('import llmops, pathlib; from llmops.faces import templates as t; '
            'print(pathlib.Path(llmops.__file__).parent.parent); '
            'print(*sorted(x.name for x in t.all_templates()))')
    r = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True,
                       env={'PYTHONPATH': str(site), 'PATH': '/usr/bin:/bin', 'HOME': str(tmp_path)})
    assert r.returncode == 0, r.stderr
    where, names = r.stdout.splitlines()
    assert where == str(site)
    assert names.split() == sorted(p.stem for p in (ROOT/'templates').glob('*.ipynb'))
