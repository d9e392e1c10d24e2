"""What every network of zoo offers: `ImageModel`, the one base class.

A network is a list of stages, a step from the last stage to the head's input, and a head. One walk through the stages
serves classification, feature maps and intermediates alike.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .layers.attention_bias import image_size
from .layers.pool import GlobalPool
from .spec import Feature, refuse, whole

OUTPUT_FORMATS = ('NCHW', 'NHWC')
LOCATIONS = ('bottleneck', 'expansion')


NOT_SCRIPTED = ('torch.jit.script, which PyTorch has deprecated, is not supported. Use torch.export.export(model, '
                '(images,)) to save a program, torch.jit.trace(model, images) where it has to be a TorchScript file, '
                'or torch.compile(model) for speed.')


class ImageModel(nn.Module):
    """Base of all networks: images (B, in_chans, H, W) -> logits (B, num_classes). `torch.export`, `torch.compile`
    and `torch.jit.trace` take them, `torch.fx.symbolic_trace` those that take images of any size; `torch.jit.script`
    does not.

    A subclass sets `feature_info`, `num_features` and `in_chans`, calls `build_head`, and defines `steps`, `pre_head`,
    `init_weights`, `group_matcher` and `drop_stages`. Its head is the submodules `global_pool` and
    `classifier_name`.

    Attributes:
        num_classes: width of the logits; 0 for none.
        in_chans: channels of the images.
        num_features: channels of what `forward_features` returns.
        img_size: (height, width) in pixels that the network is fitted to; None where its weights fit every size.
        dynamic_img_size: whether it takes images of any size.
        feature_info: the feature maps that `forward_intermediates` and `features_only=True` give.
    """

    classifier_name = 'classifier'
    feature_info: list[Feature]
    num_classes: int
    in_chans: int
    num_features: int
    img_size: tuple[int, int] | None = None
    dynamic_img_size = True
    grad_checkpointing = False

    def __prepare_scriptable__(self) -> NoReturn:
        raise NotImplementedError(NOT_SCRIPTED)         # torch.jit.script asks for this

    # --- what a subclass says of itself

    def steps(self) -> Sequence[Callable[[Tensor], Tensor | tuple[Tensor, Tensor]]]:
        """The stem and the stages, in the order in which they run. What one gives goes on and is its map; of a pair,
        the first goes on and the second is the map."""
        raise NotImplementedError

    def set_feature_location(self, location: str) -> None:
        """Chooses where in a stage's last block its map is taken: 'bottleneck', what comes out of it, or 'expansion',
        what its projection takes in. `feature_info` says so.

        Raises:
            ValueError: another place, or one that the network's blocks do not have.
        """
        if location not in LOCATIONS:
            raise ValueError(refuse('feature_location', location, LOCATIONS))
        if location != 'bottleneck':
            raise ValueError(f"feature_location={location!r} is for networks of block strings; the maps of "
                             f"{type(self).__name__} are what comes out of its stages: 'bottleneck'.")

    def pre_head(self, x: Tensor) -> Tensor:
        """From the last stage to what the head takes in."""
        raise NotImplementedError

    def init_weights(self) -> None:
        """Draws every parameter anew and resets every buffer, whatever was in them."""
        raise NotImplementedError

    def init_fresh(self) -> None:
        """`init_weights` at the end of construction, unless the network has no memory yet."""
        if not next(self.parameters()).is_meta:
            self.init_weights()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Regular expressions over parameter names that sort them into layers from the input to the output; `coarse`
        makes a layer of each stage. Used for layer-wise learning rates."""
        raise NotImplementedError

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that weight decay would harm, beyond biases and normalisation."""
        return set()

    # --- image sizes

    def set_input_size(self, img_size: int | Sequence[int] | None = None, dynamic_img_size: bool | None = None) -> None:
        """Fits the network to images of another size, a side in pixels or (height, width), and says whether it takes
        any size; None leaves either as it is. `pretrained_cfg` has the size then, for preprocessing to follow.

        Optimizers are made afterwards: a parameter whose shape changes is a new one.

        Raises:
            ValueError: no such size.
        """
        size = None if img_size is None else image_size(img_size)
        self.fit_to_size(size, dynamic_img_size)
        record = getattr(self, 'pretrained_cfg', None)
        if record and size:
            record['input_size'] = (self.in_chans, *size)
            record.pop('test_input_size', None)
        if record and dynamic_img_size is not None and self.img_size:
            record['fixed_input_size'] = not dynamic_img_size

    def fit_to_size(self, img_size: tuple[int, int] | None, dynamic_img_size: bool | None) -> None:
        """What `set_input_size` changes in the network; one that takes images of any size has nothing to do."""

    def adapt_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of this network as it was for images of another size, fitted to the size it has now; weights
        are loaded through it. Of the network itself it needs the shapes alone."""
        return dict(state)

    # --- the walk

    def walk(self, x: Tensor, wanted: Iterable[int] = (), last: int | None = None) -> tuple[Tensor, dict[int, Tensor]]:
        """Runs the stages up to `last` (None: all) and keeps the outputs of those `wanted`."""
        if isinstance(x, Tensor) and any(isinstance(side, int) and not side for side in x.shape[1:]):
            raise ValueError(f'An image without pixels: {tuple(x.shape)} is not (B, {self.in_chans}, H, W) with H and '
                             'W above 0.')
        kept = {}
        for number, stage in enumerate(self.steps()):
            if number and self.grad_checkpointing and self.training:
                x = checkpoint(stage, x, use_reentrant=False)
            else:
                x = stage(x)
            x, offered = x if isinstance(x, tuple) else (x, x)
            if number in wanted:
                kept[number] = offered
            if number == last:
                break
        return x, kept

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / reduction, W / reduction), or of a network that ends in tokens
        (B, pixels, num_features), before pooling."""
        return self.pre_head(self.walk(x)[0])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The output of `forward_features` -> logits (B, num_classes), or with `pre_logits` the embedding that the
        classifier takes in (B, embedding_size)."""
        x = self.global_pool(x)
        if self.drop_rate:
            x = F.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.get_classifier()(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False,
                              stop_early: bool = False, output_fmt: str = 'NCHW', intermediates_only: bool = False,
                              ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Feature maps on the way, and what `forward_features` returns.

        Args:
            indices: entries of `feature_info`: a list in the order wanted, negative ones from the end; an int n for
                the last n; None for all.
            norm: apply the network's final normalisation to the last stage's map, where it has one before its head.
            stop_early: do not run past the last map wanted; the first result is then that stage's output.
            output_fmt: 'NCHW' or 'NHWC', of the maps.
            intermediates_only: return the maps alone, and run no further than they need.

        Raises:
            ValueError: an index out of range, or another `output_fmt`.
        """
        if output_fmt not in OUTPUT_FORMATS:
            raise ValueError(refuse('output_fmt', output_fmt, OUTPUT_FORMATS))
        stages = [self.feature_info[i]['stage'] for i in self.feature_indices(indices)]
        early = stop_early or intermediates_only
        x, kept = self.walk(x, wanted=frozenset(stages), last=max(stages) if early else None)
        final = self.feature_info[-1]['stage'] if norm else None
        maps = [self.norm_intermediate(kept[stage]) if stage == final else kept[stage] for stage in stages]
        if output_fmt == 'NHWC':
            maps = [m.permute(0, 2, 3, 1) for m in maps]
        if intermediates_only:
            return maps
        return (x if early else self.pre_head(x)), maps

    def norm_intermediate(self, x: Tensor) -> Tensor:
        """The final normalisation on the last stage's map; a network without one has nothing to do."""
        return x

    def feature_indices(self, indices: int | Sequence[int] | None = None) -> list[int]:
        """Entries of `feature_info` as non-negative numbers, in the order given; see `forward_intermediates`."""
        count = len(self.feature_info)
        if hasattr(indices, '__index__'):
            if not 0 < indices <= count:
                raise ValueError(f'The last {indices} feature maps are out of range: it is the last 1 to {count}.')
            return list(range(count - indices, count))
        if indices is not None and not isinstance(indices, Iterable):
            raise ValueError(f'Feature indices are numbers from 0 to {count - 1} in a list, or how many of the last, '
                             f'not {indices!r}.')
        chosen = list(range(count) if indices is None else indices)
        for index in chosen:
            if not hasattr(index, '__index__') or not -count <= index < count:
                raise ValueError(f'Feature index {index!r} is out of range: there are {count} feature maps, '
                                 f'0 to {count - 1} (or -{count} to -1).')
        if not chosen:
            raise ValueError(f'No feature index was given; there are {count} feature maps, 0 to {count - 1}.')
        return [int(index) % count for index in chosen]

    def prune_intermediate_layers(self, indices: int | Sequence[int] = 1, prune_norm: bool = False,
                                  prune_head: bool = True) -> list[int]:
        """Drops the stages that the maps `indices` do not need, and returns these as non-negative numbers. `prune_norm`
        drops a final normalisation, `prune_head` all else after the stages; both go where the last stage goes."""
        chosen = self.feature_indices(indices)
        kept = self.feature_info[:max(chosen) + 1]
        cut = len(kept) < len(self.feature_info)
        self.drop_stages(kept[-1]['stage'])
        self.feature_info = kept
        if prune_norm or cut:
            self.drop_norm()
        if prune_head or cut:
            self.drop_pre_head()
            self.num_features = self.pooled_channels = kept[-1]['num_chs']
            self.drop_head()
        return chosen

    def drop_stages(self, last: int) -> None:
        """Removes the stages after number `last` of `steps()`."""
        raise NotImplementedError

    def drop_pre_head(self) -> None:
        """Removes the modules of `pre_head`, save a normalisation; a network without others has nothing to do."""

    def drop_norm(self) -> None:
        """Removes what `norm_intermediate` applies; a network without it has nothing to do."""

    def drop_head(self) -> None:
        """Removes pooling and classifier."""
        self.reset_classifier(0, '')

    # --- the head

    def build_head(self, width: int, num_classes: int, global_pool: str, drop_rate: float = 0.0) -> None:
        """Adds pooling and classifier for maps of `width` channels."""
        self.pooled_channels, self.drop_rate = width, drop_rate
        self.reset_classifier(num_classes, global_pool)

    def get_classifier(self) -> nn.Module:
        """The last layer: nn.Linear, or nn.Identity without classes."""
        return getattr(self, self.classifier_name)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Makes a new classifier, and pooling where `global_pool` names one.

        Raises:
            ValueError: classes without pooling, or an unknown kind of pooling.
        """
        if global_pool is not None:
            self.global_pool = GlobalPool(global_pool)
        whole('num_classes', num_classes, 0)
        if num_classes and not self.global_pool.pool_type:
            raise ValueError(f"global_pool='' leaves feature maps, which a classifier of {num_classes} classes cannot "
                             'take: give num_classes=0 as well, or a kind of pooling.')
        self.num_classes = num_classes
        like = next(self.parameters(), None)
        layer = nn.Linear(self.embedding_size, num_classes) if num_classes else nn.Identity()
        setattr(self, self.classifier_name, layer if like is None else layer.to(like.device, like.dtype))
        self.init_head()

    def init_head(self) -> None:
        """Draws the classifier anew: uniform within 1 / sqrt(classes), bias zero."""
        if self.num_classes:
            classifier, bound = self.get_classifier(), 1 / math.sqrt(self.num_classes)
            nn.init.uniform_(classifier.weight, -bound, bound)
            nn.init.zeros_(classifier.bias)

    @property
    def embedding_size(self) -> int:
        """The width of the embedding: of what `num_classes=0` and `forward_head(pre_logits=True)` return."""
        return self.pooled_channels * self.global_pool.feat_mult

    @property
    def head_hidden_size(self) -> int:
        """The embedding's width under the name that programs built on timm read."""
        return self.embedding_size

    # --- training

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each stage in the backward pass instead of keeping its activations."""
        self.grad_checkpointing = enable
