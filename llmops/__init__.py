"The LLMOps workbench: a run reads versions, writes versions and leaves events."
__version__ = "0.1.0"
