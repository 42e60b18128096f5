"""What goes into the wheel beside the modules: templates, assets, and the Lab extension if it is built.

An editable install gets only the configuration of the Jupyter server: templates and assets are read from the
checkout, and `tools/setup.py` links the Lab extension, so that a rebuild is seen without another install.
"""
import json
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Extras(BuildHookInterface):
    PLUGIN_NAME = 'custom'

    def initialize(self, version: str, build_data: dict) -> None:
        "Add what exists; a wheel built without Node has everything but the panels"
        if self.target_name != 'wheel': return
        root = Path(self.root)
        config = root/'jupyter_extension'/'jupyter-config'
        for f in sorted(config.rglob('*.json')):
            build_data['shared_data'][str(f)] = f'etc/jupyter/{f.relative_to(config).as_posix()}'
        if version == 'editable': return
        for folder in ('templates', 'assets'):
            if (root/folder).is_dir(): build_data['force_include'][str(root/folder)] = f'llmops/{folder}'
        lab = root/'llmops'/'labextension'
        if not (lab/'package.json').exists():
            self.app.display_warning('llmops/labextension is not built (make setup with Node 20 does it): '
                                     'this wheel is without the panels')
            return
        name = json.loads((lab/'package.json').read_text())['name']
        build_data['shared_data'][str(lab)] = f'share/jupyter/labextensions/{name}'
        install = root/'jupyter_extension'/'install.json'
        if install.exists():
            build_data['shared_data'][str(install)] = f'share/jupyter/labextensions/{name}/install.json'
