"""What detectors and segmenters share: a backbone at given reductions, frozen in part, and a feature pyramid."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from ..contract import ImageModel
from ..data.config import per_channel
from ..factory import Weights, create_model
from ..features import FeatureInfo, FeatureNet
from .necks import Sam2Fpn
from .plain import SimplePyramid, even_depths


def create_backbone(backbone: str | nn.Module, reductions: Sequence[int], pretrained: bool | Weights = False,
                    frozen_bn: bool | None = None, trainable_layers: int | None = None,
                    options: Mapping[str, Any] | None = None, plain: int = 0, prefix: bool = False) -> nn.Module:
    """A backbone that gives the last map of each of the `reductions` that it has, of images of any size.

    Args:
        backbone: a name, as in `zoo.create_model`; or a module with `feature_info` that returns a list of maps, which
            is taken as it is: it must have been made to give maps of these reductions only.
        reductions: input pixels per pixel of the maps, e.g. (8, 16, 32); those that the network lacks are left out.
        pretrained, options: what `zoo.create_model` takes, for a name.
        frozen_bn, trainable_layers: see `freeze`; batch norm is frozen by default where weights are loaded.
        plain: if not 0, the network's maps must all be of one reduction, whichever it is, as those of a plain vision
            transformer are, and it gives so many of them, evenly spaced up to the last.
        prefix: give, of a plain network with a class token, pairs (map, prefix tokens).

    Raises:
        ValueError: the network has none of the reductions, its maps are of several where one is asked for or too few,
            or `trainable_layers` is out of range.
    """
    if isinstance(backbone, str):
        whole = create_model(backbone, pretrained, features_only=True, **(options or {}))
        if not isinstance(whole, FeatureNet):
            raise ValueError(f'{backbone} makes a {type(whole).__name__}, which is no backbone of this library: pass '
                             'the module itself.')
        whole.set_input_size(dynamic_img_size=True)
        if plain:
            _check_plain(backbone, whole.feature_info.get('reduction', range(len(whole.feature_info))), plain)
            chosen = FeatureNet(whole.network, even_depths(len(whole.feature_info), plain), norm=whole.normed,
                                return_prefix_tokens=prefix and has_class_token(whole))
        else:
            chosen = _of_reductions(backbone, whole, reductions)
        chosen.pretrained_cfg, chosen.default_cfg = whole.pretrained_cfg, whole.default_cfg
        found: nn.Module = chosen
    else:
        found, given = backbone, info_of(backbone).reduction()
        if plain:
            _check_plain(type(backbone).__name__, given, plain)
        elif strange := [r for r in given if r not in reductions]:
            raise ValueError(f'The backbone gives maps of the reductions {given}; {strange} are not among '
                             f'{list(reductions)}: choose with out_indices.')
    freeze(found, bool(pretrained) if frozen_bn is None else frozen_bn, trainable_layers)
    return found


def _of_reductions(name: str, whole: FeatureNet, reductions: Sequence[int]) -> FeatureNet:
    info = whole.feature_info
    last = {reduction: index for index, reduction in zip(info.out_indices, info.reduction()) if reduction in reductions}
    if not last:
        raise ValueError(f'{name} has maps of the reductions {info.reduction()}; '
                         f'none of {list(reductions)} is among them.')
    return FeatureNet(whole.network, sorted(last.values()))


def _check_plain(name: str, reductions: Sequence[int], count: int) -> None:
    if len(set(reductions)) > 1:
        raise ValueError(f'{name} has maps of the reductions {sorted(set(reductions))}. The simple pyramid and DPT are '
                         "for networks whose maps are all of one, such as ViT: leave out neck='simple', and choose "
                         'another head than DPT.')
    if len(reductions) < count:
        raise ValueError(f'{name} has {len(reductions)} maps, of which {count} are needed.')


def has_class_token(backbone: nn.Module) -> bool:
    """Whether the first prefix token of a backbone of this library is a class token."""
    return getattr(getattr(backbone, 'network', None), 'cls_token', None) is not None


def channels_of(backbone: nn.Module) -> list[int]:
    """Channels of the maps of a plain backbone: where it has a final normalisation, such as SAM's neck, of that."""
    if isinstance(backbone, FeatureNet) and backbone.normed:
        return [backbone.network.num_features] * len(backbone.returned)
    return [*info_of(backbone).channels()]


def info_of(backbone: nn.Module) -> FeatureInfo:
    """What a backbone says of its maps."""
    info: FeatureInfo = getattr(backbone, 'feature_info')
    return info


def freeze(backbone: nn.Module, frozen_bn: bool = True, trainable_layers: int | None = None) -> None:
    """Freezes part of a backbone, in place.

    Args:
        frozen_bn: batch normalisation keeps its statistics, scale and bias: each becomes a FrozenBatchNorm2d.
        trainable_layers: how many of the stem and the stages, from the last, are trained; None for all. Batch
            normalisation of the others is frozen as well.

    Raises:
        ValueError: `trainable_layers` is out of range, or needs a backbone of this library; a subclass of BatchNorm2d
            is to be frozen.
    """
    untrained: set[str] = set()
    if trainable_layers is not None:
        untrained = set(_first_layers(backbone, trainable_layers))
    for path, module in [*backbone.named_modules()]:
        for name, child in module.named_children():
            key = f'{path}.{name}' if path else name
            if isinstance(child, nn.BatchNorm2d) and (frozen_bn or f'{key}.weight' in untrained):
                if type(child) is not nn.BatchNorm2d:      # it may do more, such as an activation
                    raise ValueError(f'{key} is a {type(child).__name__}; only torch.nn.BatchNorm2d can be frozen. '
                                     'Freeze it yourself, and pass frozen_bn=False.')
                setattr(module, name, _frozen(child))
    for name, parameter in backbone.named_parameters():
        if name in untrained:
            parameter.requires_grad_(False)


def _first_layers(backbone: nn.Module, trainable_layers: int) -> Iterator[str]:
    """Names of the parameters of the stem and the stages but the last `trainable_layers`."""
    network = getattr(backbone, 'network', None)
    if not isinstance(network, ImageModel):
        raise ValueError('trainable_layers needs a backbone that zoo.create_model made; freeze the parameters of '
                         f'{type(backbone).__name__} yourself.')
    layers = network.layer_names(coarse=True)
    count = len(layers)
    if not 0 <= trainable_layers <= count:
        raise ValueError(f'trainable_layers is 0 to {count}, the stem and {count - 1} stages; got {trainable_layers}.')
    fixed = [part for layer in layers[:count - trainable_layers] for part in layer]
    for name, _ in backbone.named_parameters():
        if any(name == part or name.startswith(f'{part}.') for part in fixed):
            yield name


def _frozen(norm: nn.BatchNorm2d) -> FrozenBatchNorm2d:
    frozen = FrozenBatchNorm2d(norm.num_features, eps=norm.eps).to(norm.weight.device, norm.weight.dtype)
    frozen.load_state_dict(norm.state_dict())
    return frozen


def image_statistics(backbone: nn.Module) -> tuple[list[float], list[float]]:
    """Mean and standard deviation, per channel of images in 0..1, that the backbone's weights were trained with."""
    cfg: Mapping[str, Any] = getattr(backbone, 'pretrained_cfg')
    mean, std = (per_channel(cfg[name], cfg['input_size'][0], name) for name in ('mean', 'std'))
    return [*map(float, mean)], [*map(float, std)]


class Pyramid(nn.Module):
    """A backbone and a feature pyramid (arXiv:1612.03144): images (B, C, H, W) -> maps of `out_channels` channels.

    The maps are named '0', '1', … from the finest, then as the extra blocks name theirs.

    Args:
        neck: one of `NECKS` in place of that pyramid; None for none.
        levels: reductions of the levels that the neck 'simple' makes.

    Attributes:
        strides: input pixels per pixel of each map.
    """

    def __init__(self, body: nn.Module, out_channels: int = 256, extra_blocks: ExtraFPNBlock | None = None,
                 extra_levels: int = 0, neck: str | None = None, levels: Sequence[int] = ()) -> None:
        super().__init__()
        self.body = body
        reductions: list[int] = [*info_of(body).reduction()]
        self.strides = [*levels] if neck == 'simple' else reductions
        self.fpn: nn.Module
        if neck == 'simple':
            self.fpn = NamedLevels(SimplePyramid(channels_of(body)[-1], reductions[-1], levels, out_channels), extra_blocks)
        elif neck:
            self.fpn = NamedLevels(Sam2Fpn(info_of(body).channels(), reductions, out_channels), extra_blocks)
        else:
            self.fpn = FeaturePyramidNetwork(info_of(body).channels(), out_channels, extra_blocks)
        self.out_channels = out_channels
        self.strides += [self.strides[-1] * 2 ** (i + 1) for i in range(extra_levels)]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.fpn(OrderedDict((str(i), features) for i, features in enumerate(self.body(x))))


class NamedLevels(nn.Module):
    """A neck as torchvision's pyramid is used: named maps in and out, with the extra blocks after them."""

    def __init__(self, pyramid: nn.Module, extra_blocks: ExtraFPNBlock | None = None) -> None:
        super().__init__()
        self.pyramid, self.extra_blocks = pyramid, extra_blocks

    def forward(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        given = [*maps.values()]
        levels = self.pyramid(given)
        names = [str(i) for i in range(len(levels))]
        if self.extra_blocks is not None:
            levels, names = self.extra_blocks(levels, given, names)
        return dict(zip(names, levels))
