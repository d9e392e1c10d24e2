# What a type checker is to see of zoo.evaluation, whose names are resolved when first used.
from .effect import decoder_effect as decoder_effect
from .labels import RealLabels as RealLabels
from .labels import read_valid_labels as read_valid_labels
from .metrics import Metrics as Metrics
from .network import fold_batch_norm as fold_batch_norm
from .network import prepare as prepare
from .preprocess import DECODERS as DECODERS
from .preprocess import Normalize as Normalize
from .preprocess import Preprocess as Preprocess
from .runner import Evaluation as Evaluation
from .runner import EvaluationStopped as EvaluationStopped
from .runner import at_once as at_once
from .runner import evaluate as evaluate
