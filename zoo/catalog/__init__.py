"""Every public model name and every set of weights, as rows. One file per network module; rows only."""
from . import efficientnet, hardcorenas, mobilenetv3

FAMILIES = efficientnet.FAMILIES + mobilenetv3.FAMILIES + hardcorenas.FAMILIES
