"""Sphinx configuration: offline, from the notebooks with the outputs that they hold. Built by tools/docs.py."""
import re
from pathlib import Path

project = 'LLMOps workbench'
copyright = 'its contributors, Apache-2.0'
release = re.search(r'__version__ = "([^"]+)"', (Path(__file__).parent.parent/'llmops/__init__.py').read_text())[1]
extensions = ['myst_nb']
source_suffix = {'.md': 'myst-nb', '.ipynb': 'myst-nb'}
exclude_patterns = ['_build']
nb_execution_mode = 'off'                       # the notebooks' tests ran them; what they showed is committed
nb_ipywidgets_js = {}                           # no script from elsewhere
myst_enable_extensions = ['colon_fence', 'deflist']
myst_heading_anchors = 3
suppress_warnings = ['mystnb.unknown_mime_type', 'misc.highlighting_failure']
html_theme = 'sphinx_book_theme'
html_title = project
html_theme_options = {'show_toc_level': 2, 'use_download_button': False, 'use_fullscreen_button': False}
html_static_path = ['_static'] if any((Path(__file__).parent/'_static').glob('*')) else []
html_copy_source = False
