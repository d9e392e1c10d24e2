# What a type checker is to see of zoo.runtime, whose names are resolved when first used.
from .exported import Exported as Exported
from .exported import is_exported as is_exported
from .exported import levels_of as levels_of
from .exported import load_exported as load_exported
from .sessions import OnnxSession as OnnxSession
from .sessions import OpenVinoSession as OpenVinoSession
from .sessions import ProgramSession as ProgramSession
from .sessions import Session as Session
from .sessions import import_runtime as import_runtime
from .sessions import open_session as open_session
