"""Files of networks in the runtimes that they are for.

Public names are resolved when first used.
"""
from __future__ import annotations

from ..lazy import lazy_names

_PUBLIC = {
    'exported': ('Exported', 'is_exported', 'levels_of', 'load_exported'),
    'sessions': ('OnnxSession', 'OpenVinoSession', 'ProgramSession', 'Session', 'import_runtime', 'open_session'),
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _PUBLIC)
