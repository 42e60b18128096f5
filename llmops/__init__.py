"The LLMOps workbench: a run reads versions, writes versions and leaves events."
__version__ = "0.1.0"


def open(path=None):
    "Open the workspace here, in a folder, or over a store's folder or URL"
    from llmops.verbs import open_workspace
    return open_workspace(path)


def _jupyter_labextension_paths():
    return [{"src": "labextension", "dest": "llmops-workbench"}]


def _jupyter_server_extension_points():
    return [{"module": "llmops.faces.server"}]
