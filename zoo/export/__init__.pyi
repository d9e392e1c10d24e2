# What a type checker is to see of zoo.export, whose names are resolved when first used.
from .check import Outcome as Outcome
from .check import TooFarOff as TooFarOff
from .formats import FORMATS as FORMATS
from .formats import Format as Format
from .formats import missing as missing
from .model import export_model as export_model
from .dense import export_dense as export_dense
