"""`features_only=True`: a network as a multi-scale backbone."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from .contract import ImageModel
from .spec import Feature, refuse


class FeatureInfo:
    """The feature maps of a backbone: all the network offers, and which of them come out, in what order."""

    def __init__(self, features: Sequence[Feature], out_indices: Sequence[int]) -> None:
        self.info: list[dict[str, Any]] = [{**feature, 'index': i} for i, feature in enumerate(features)]
        self.out_indices = tuple(out_indices)

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """The value of `key` for each map that comes out (None), of one entry of all maps, or of several.

        Raises:
            KeyError: a key that entries do not have.
        """
        if key not in self.info[0]:
            raise KeyError(refuse('Key of a feature map', key, self.info[0]))
        if isinstance(idx, int):
            return self.info[idx][key]
        return [self.info[i][key] for i in (self.out_indices if idx is None else idx)]

    def get_dicts(self, keys: Sequence[str] | None = None, idx: int | Sequence[int] | None = None) -> Any:
        """Whole entries, or the `keys` of them; indices as in `get`."""
        if isinstance(idx, int):
            return {k: self.info[idx][k] for k in keys or self.info[idx]}
        return [{k: self.info[i][k] for k in keys or self.info[i]} for i in (self.out_indices if idx is None else idx)]

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

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.info)

    def __len__(self) -> int:
        return len(self.info)


class FeatureNet(nn.Module):
    """A network without its head: images -> the feature maps `out_indices`, in that order.

    Its submodules, and so the keys of its state dict, are the classifier's own.
    """

    def __init__(self, network: ImageModel, out_indices: int | Sequence[int] | None = None,
                 output_fmt: str = 'NCHW') -> None:
        super().__init__()
        chosen = network.feature_indices(out_indices)
        self.feature_info = FeatureInfo(network.feature_info, chosen)
        self.output_fmt = output_fmt
        self.returned = self.feature_info.out_indices
        network.prune_intermediate_layers(chosen)
        # The network stays out of the module tree, and the tree is the network's own: the same dictionaries, so that
        # neither ever holds a parameter that the other does not.
        object.__setattr__(self, 'network', network)
        self._modules, self._parameters, self._buffers = network._modules, network._parameters, network._buffers

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.network.forward_intermediates(x, self.returned, output_fmt=self.output_fmt,
                                                  intermediates_only=True)

    @property
    def return_layers(self) -> dict[str, str]:
        """Submodule -> index, as text, of each map that comes out. Another such dictionary chooses other maps until the
        next one, in its order; maps of stages that `out_indices` made needless are not there, and are left out.

        Raises:
            ValueError: a submodule that no map comes out of.
        """
        return {self.feature_info[i]['module']: str(i) for i in self.returned}

    @return_layers.setter
    def return_layers(self, layers: Mapping[str, str]) -> None:
        """Chooses the maps that come out."""
        number = {feature['module']: i for i, feature in enumerate(self.feature_info)}
        for module in layers:
            if module not in number:
                raise ValueError(refuse('Submodule of a feature map', module, number))
        kept = len(self.network.steps())
        self.returned = tuple(number[m] for m in layers if self.feature_info[number[m]]['stage'] < kept)

    def train(self, mode: bool = True) -> FeatureNet:
        self.network.training = mode
        return super().train(mode)

    def set_input_size(self, img_size: int | Sequence[int] | None = None, dynamic_img_size: bool | None = None) -> None:
        """Fits the network to images of another size, see `ImageModel.set_input_size`."""
        self.network.set_input_size(img_size, dynamic_img_size)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each stage in the backward pass instead of keeping its activations."""
        self.network.set_grad_checkpointing(enable)
