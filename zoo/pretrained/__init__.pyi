# What a type checker is to see of zoo.pretrained, whose names are resolved when first used.
from .adapt import load_into as load_into
from .adapt import load_weights as load_weights
from .conversion import Conversion as Conversion
from .conversion import convert as convert
from .location import Located as Located
from .location import fetch as fetch
from .location import locate as locate
from .read import read_state_dict as read_state_dict
from .source import Source as Source
from .source import model_config as model_config
from .source import parse as parse
from .storage import filled_by_constructors as filled_by_constructors
from .storage import materialise as materialise
from .storage import without_storage as without_storage
from .write import read_record as read_record
from .write import write_tensors as write_tensors
