"""`features_only=True`: a network as a multi-scale backbone."""
from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from torch import Tensor, nn

from .contract import NOT_SCRIPTED, OUTPUT_FORMATS, ImageModel
from .spec import Feature, map_side, unknown

FEATURE_CLASSES = ('list', 'dict', 'hook', 'fx', 'getter')
IMPLIED: dict[str, dict[str, Any]] = {'dict': {'return_dict': True}, 'hook': {'out_map': 'module'}}
OPTIONS = {'out_indices', 'output_fmt', 'norm', 'return_dict', 'out_map', 'return_prefix_tokens', 'feature_location'}
TAKEN_APART = {'flatten_sequential', 'no_rewrite'}      # how timm takes a network apart: no difference here


class FeatureInfo:
    """The feature maps of a backbone: all the network offers, and which of them come out, in what order."""

    def __init__(self, features: Sequence[Feature], out_indices: Sequence[int]) -> None:
        self.info: list[dict[str, Any]] = [{**feature, 'rounding': _rounding(feature), 'index': i}
                                           for i, feature in enumerate(features)]
        self.out_indices = tuple(out_indices)

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """The value of `key` for each map that comes out (None), of one entry of all maps, or of several.

        Raises:
            KeyError: a key that entries do not have.
        """
        if key not in self.info[0]:
            raise KeyError(unknown('Key of a feature map', key, self.info[0]))
        if isinstance(idx, int):
            return self.info[idx][key]
        return [self.info[i][key] for i in (self.out_indices if idx is None else idx)]

    def get_dicts(self, keys: Sequence[str] | None = None, idx: int | Sequence[int] | None = None) -> Any:
        """Whole entries, or the `keys` of them; indices and errors as in `get`."""
        if isinstance(idx, int):
            return {k: self.get(k, idx) for k in keys or self.info[idx]}
        return [self.get_dicts(keys, i) for i in (self.out_indices if idx is None else idx)]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Channels of the maps that come out, in their order."""
        return self.get('num_chs', idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """Input pixels per pixel of the maps that come out, in their order."""
        return self.get('reduction', idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """Names of the submodules that the maps come out of, in their order."""
        return self.get('module', idx)

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self.info[item]

    def __len__(self) -> int:
        return len(self.info)

    def map_sizes(self, img_size: Sequence[int]) -> list[tuple[int, int]]:
        """(height, width) of the maps that come out, in their order, of images (height, width) in pixels."""
        chosen = [self.info[i] for i in self.out_indices]
        return [(side_of(f, img_size[0]), side_of(f, img_size[1])) for f in chosen]


def side_of(feature: Mapping[str, Any], side: int) -> int:
    """Pixels a side of a map, of an image's side in pixels."""
    return map_side(side, feature['reduction'], feature.get('ceil_reduction'), feature.get('floor_reduction'),
                    feature.get('margin', 0), feature.get('patches', ()))


def _rounding(feature: Feature) -> str:
    reduction = feature['reduction']
    up_to, down_to = feature.get('ceil_reduction', reduction), feature.get('floor_reduction', reduction)
    less = f" of {feature['margin']} pixels less" if feature.get('margin') else ''
    if feature.get('patches'):
        return f"ceil to patches of {feature['patches'][-1][1]}"
    if up_to == reduction:
        return f'ceil{less}'
    first = f'floor{less}' if up_to == 1 else f'ceil to {up_to}{less}, then floor'
    return first if down_to == reduction else f'{first} to {down_to}, then ceil'


class FeatureNet(nn.Module):
    """A network without its head: images -> the feature maps `out_indices`, in that order.

    Its submodules, and so the keys of its state dict, are the classifier's own; what no map needs is dropped from the
    network that is given.

    Args:
        out_indices, output_fmt, norm, return_prefix_tokens: `indices` and the others of
            `ImageModel.forward_intermediates`.
        return_dict: return the maps as a dictionary, not as a list.
        out_map: its keys: a name for each map, or a key of `feature_info`: 'index' for '0', '1' ..., or 'module'.
        feature_location: as in `ImageModel.set_feature_location`.

    Raises:
        ValueError: an index out of range, another `output_fmt`, or not one name for each map. KeyError: no such key.
    """

    network: ImageModel
    pretrained_cfg: dict[str, Any]
    default_cfg: dict[str, Any]

    def __init__(self, network: ImageModel, out_indices: int | Sequence[int] | None = None, output_fmt: str = 'NCHW',
                 norm: bool = False, return_dict: bool = False, out_map: str | Sequence[str] = 'index',
                 return_prefix_tokens: bool = False, feature_location: str = 'bottleneck') -> None:
        super().__init__()
        if output_fmt not in OUTPUT_FORMATS:
            raise ValueError(unknown('output_fmt', output_fmt, OUTPUT_FORMATS))
        network.set_feature_location(feature_location)
        if out_indices is None and network.default_out_indices:
            out_indices = min(network.default_out_indices, len(network.feature_info))
        chosen = network.feature_indices(out_indices)
        self.feature_info = FeatureInfo(network.feature_info, chosen)
        if return_prefix_tokens and not network.num_prefix_tokens:
            raise ValueError(f'{type(network).__name__} has no tokens before those of the image: '
                             'return_prefix_tokens=True cannot give any.')
        self.in_chans, self.output_fmt, self.return_dict = network.in_chans, output_fmt, return_dict
        self.normed, self.with_prefix = norm, return_prefix_tokens
        self.names = [str(n) for n in (self.feature_info.get(out_map) if isinstance(out_map, str) else out_map)]
        if not (len(chosen) == len(self.names) == len(set(self.names)) if return_dict else isinstance(out_map, str)):
            raise ValueError('out_map is a different name for each map of a dictionary (return_dict=True): there are '
                             f'{len(chosen)} maps, return_dict={return_dict} and the names {self.names}.')
        network.prune_intermediate_layers(chosen, prune_norm=not norm)
        self.left = network.keep_maps(chosen)
        self.returned = self.feature_info.out_indices
        # The network stays out of the module tree, and the tree is the network's own: the same dictionaries, so that
        # neither ever holds a parameter that the other does not.
        object.__setattr__(self, 'network', network)
        self._modules, self._parameters, self._buffers = network._modules, network._parameters, network._buffers

    def __prepare_scriptable__(self) -> NoReturn:
        raise NotImplementedError(NOT_SCRIPTED)

    def forward(self, x: Tensor) -> list[Tensor] | dict[str, Tensor]:
        maps = self.network.forward_intermediates(x, self.returned, self.with_prefix, self.normed,
                                                  output_fmt=self.output_fmt, intermediates_only=True)
        return dict(zip(self.names, maps)) if self.return_dict else maps

    @property
    def return_layers(self) -> dict[str, str]:
        """Submodule -> index, as text, of each map that comes out. Another such dictionary chooses other maps until the
        next one, in its order; maps that went with what `out_indices` made needless are left out.

        Raises:
            ValueError: a submodule that no map comes out of.
        """
        return {self.feature_info[i]['module']: str(i) for i in self.returned}

    @return_layers.setter
    def return_layers(self, layers: Mapping[str, str]) -> None:
        """Chooses the maps that come out."""
        number = {feature['module']: i for i, feature in enumerate(self.feature_info.info)}
        for module in layers:
            if module not in number:
                raise ValueError(unknown('Submodule of a feature map', module, number))
        there = [m for m in layers if number[m] in self.left]
        self.returned, self.names = tuple(number[m] for m in there), [str(layers[m]) for m in there]

    def train(self, mode: bool = True) -> FeatureNet:
        self.network.training = mode
        return super().train(mode)

    def set_input_size(self, *sizes: Any, **named: Any) -> None:
        """Fits the network to images, patches or windows of other sizes, see `ImageModel.set_input_size`."""
        self.network.set_input_size(*sizes, **named)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each stage in the backward pass instead of keeping its activations."""
        self.network.set_grad_checkpointing(enable)


def feature_wrapper(features_only: bool, options: Mapping[str, Any], own: Collection[str] = (),
                    ) -> tuple[Callable[[ImageModel], FeatureNet] | None, dict[str, Any]]:
    """What makes a backbone of a network, None for a classifier, and the options that are left for the network.

    `options` hold those of `FeatureNet`, which may stand in the mapping `feature_cfg` too, and `feature_cls`: a
    subclass of it, or a word of `FEATURE_CLASSES`. All words name the same class; 'dict' sets `return_dict`, and
    with 'hook' keys of a dictionary are the modules' names. Options that are None are left out. `flatten_sequential` and
    `no_rewrite` in `feature_cfg` make no difference: a backbone is the network itself, under the classifier's names.
    Options that the network has itself, `own`, are left for it.

    Raises:
        ValueError: another `feature_cls`. TypeError: an option that is not known, or given without `features_only`.
    """
    left = {name: value for name, value in options.items() if value is not None}
    names = [name for name in (*OPTIONS, 'feature_cls', 'feature_cfg') if name in left and name not in own]
    given = {name: left.pop(name) for name in names}
    if given and not features_only:
        raise TypeError(f'{", ".join(given)}: for backbones, which features_only=True makes.')
    given = {**given.pop('feature_cfg', {}), **given}
    kind = given.pop('feature_cls', 'list')
    for option in given.keys() & TAKEN_APART:
        if not isinstance(given.pop(option), bool):
            raise TypeError(f'feature_cfg: {option} is True or False.')
    if surplus := given.keys() - OPTIONS:
        raise TypeError(unknown('feature_cfg option', min(surplus), OPTIONS))
    extra = IMPLIED.get(str(kind).lower(), {})
    users = isinstance(kind, type) and issubclass(kind, FeatureNet)
    if not users and str(kind).lower() not in FEATURE_CLASSES:
        raise ValueError(unknown('feature_cls (or a subclass of zoo.features.FeatureNet)', str(kind), FEATURE_CLASSES))
    return partial(kind if users else FeatureNet, **{**extra, **given}) if features_only else None, left
