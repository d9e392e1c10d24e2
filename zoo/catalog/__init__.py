"""Every public model name and every set of weights, as rows. One file per network module; rows only."""
from . import efficientformer, efficientformer_v2, efficientnet, hardcorenas, mobilenetv3

FAMILIES = efficientnet.FAMILIES + mobilenetv3.FAMILIES + hardcorenas.FAMILIES \
    + efficientformer.FAMILIES + efficientformer_v2.FAMILIES
