"""Feature maps of a backbone cut into patches, a token each."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..spec import Pair, Sizes, map_side
from .patch_embed import PatchEmbed
from .sizes import ImageSize, pair_of


class HybridEmbed(PatchEmbed):
    """A linear map of each patch of a backbone's feature map (ViT, arXiv:2010.11929, section 3.1): (B, in_chans, H, W) ->
    tokens (B, N, embed_dim).

    Args:
        backbone: makes a map of images, or several, of which the last counts. The last entry of its `feature_info` says
            how many channels and pixels the map has; one without is run on an empty image to find out.
        patch_size: in pixels of the map.
        feature_size: (rows, columns) of the map of an image of `img_size`. feature_ratio: pixels of an image a pixel of
            the map. Either is for a backbone that does not say.
        proj: False takes the map's pixels as tokens, as they are.
        img_size, in_chans, embed_dim, bias, flatten, output_fmt, strict_img_size, norm_layer: as of `PatchEmbed`.
        dynamic_img_pad: pad maps, at the bottom and right, to whole patches, and images to whole pixels of maps where the
            backbone would leave out what is left over.

    Raises:
        ValueError: without `proj`, patches of several pixels, or maps of another width than the tokens.
    """

    def __init__(self, backbone: nn.Module, img_size: ImageSize | None = 224, patch_size: ImageSize = 1,
                 feature_size: ImageSize | None = None, feature_ratio: ImageSize | None = None, in_chans: int = 3,
                 embed_dim: int = 768, bias: bool = True, proj: bool = True, flatten: bool = True,
                 output_fmt: str | None = None, strict_img_size: bool = True, dynamic_img_pad: bool = False,
                 norm_layer: Callable[[int], nn.Module] | None = None) -> None:
        info = getattr(backbone, 'feature_info', None)
        if info:
            channels, ratio = info[-1]['num_chs'], pair_of(info[-1]['reduction'])
            rounds = tuple(info[-1].get(key, info[-1]['reduction']) for key in ('ceil_reduction', 'floor_reduction'))
            margin, patches = info[-1].get('margin', 0), info[-1].get('patches', ())
        else:
            size = pair_of(224 if img_size is None else img_size)
            channels, found = _measure(backbone, in_chans, size)
            rows, columns = found if feature_size is None else pair_of(feature_size, 'feature_size')
            ratio = -(-size[0] // rows), -(-size[1] // columns)
            rounds, margin, patches = (max(ratio), max(ratio)), 0, ()
        super().__init__(img_size, patch_size, channels, embed_dim, norm_layer, flatten, output_fmt, bias, strict_img_size,
                         dynamic_img_pad)
        self.backbone = backbone
        self.feature_ratio = ratio if feature_ratio is None else pair_of(feature_ratio, 'feature_ratio')
        self.rounds, self.margin, self.patches = rounds, margin, patches
        if not proj:
            if channels != embed_dim or self.patch_size != (1, 1):
                raise ValueError(f'Without a projection (proj=False) pixels of {channels} channels are tokens of as many, '
                                 f'not of {embed_dim}, and patches are of one pixel, not {self.patch_size}.')
            setattr(self, 'proj', nn.Identity())
            self.follows = ('img_size', 'dynamic')

    @property
    def patch_pixels(self) -> Pair:
        """(height, width) of a patch in pixels of the image."""
        return self.patch_size[0] * self.feature_ratio[0], self.patch_size[1] * self.feature_ratio[1]

    def map_of(self, img_size: Pair) -> Pair:
        """Rows and columns of the map of an image (height, width)."""
        up_to, down_to = self.rounds
        rows, columns = (map_side(side, ratio, min(up_to, ratio), min(down_to, ratio), self.margin, self.patches)
                         for side, ratio in zip(img_size, self.feature_ratio))
        return rows, columns

    def grid_of(self, img_size: Pair, patch_size: Pair) -> Pair:
        """Rows and columns of whole patches, in pixels of the map, of images (height, width)."""
        return super().grid_of(self.map_of(img_size), patch_size)

    def dynamic_feat_size(self, img_size: Pair) -> Pair:
        """Rows and columns of patches of an image (height, width)."""
        if self.dynamic_img_pad:
            (height, width), (rows, columns) = img_size, self.feature_ratio
            return super().dynamic_feat_size(self.map_of((-(-height // rows) * rows, -(-width // columns) * columns)))
        return super().dynamic_feat_size(self.map_of(img_size))

    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """See `PatchEmbed.adapt_state`."""
        if isinstance(self.proj, nn.Conv2d):
            super().adapt_state(state, prefix, source)

    def _fitting(self, x: Tensor) -> Tensor:
        """The backbone's map of the image, padded to whole patches where that is asked for."""
        self._check_size(x)
        if self.rounds[0] < max(self.feature_ratio):
            x = self._whole(x, self.img_size, self.feature_ratio)
        found = self.backbone(x)
        x = found[-1] if isinstance(found, (list, tuple)) else found
        if self.patch_size == (1, 1):
            return x
        return self._whole(x, self.map_of(self.img_size) if self.img_size else None, self.patch_size, 'A map')


@torch.no_grad()
def _measure(backbone: nn.Module, in_chans: int, size: Pair) -> tuple[int, Pair]:
    """Channels, and (rows, columns), of a backbone's map of an image (height, width)."""
    like, training = next(backbone.parameters(), torch.empty(0)), backbone.training
    found = backbone.eval()(torch.zeros(1, in_chans, *size, dtype=like.dtype, device=like.device))
    backbone.train(training)
    found = found[-1] if isinstance(found, (list, tuple)) else found
    return found.shape[1], (found.shape[2], found.shape[3])
