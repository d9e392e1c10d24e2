"""MobileNetV3, arXiv:1905.02244, and its kin: the wide last layer works on one vector an image, not on a map.

    image -> conv_stem (stride 2) -> blocks -> pool -> conv_head (1x1, on the pooled vector) -> classifier

MobileNetV4 (arXiv:2404.10518), LCNet (arXiv:2109.15099) and FBNetV3 (arXiv:2006.02049) differ from it in their blocks.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.act import ActLayer, create_act
from ..layers.conv import conv2d
from ..layers.mbconv import Style
from ..layers.norm import Norm, NormLayer, norm_options
from ..layers.pool import POOLS, SINGLE_POOLS, AaLayer, GlobalPool
from ..spec import whole
from .blocknet import BlockNet


class MobileNetV3(BlockNet):
    """MobileNetV3, arXiv:1905.02244. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        blocks, width, depth, divisor, round_limit, depth_rounding, fix_first_last, stem_size, stem_kernel_size,
            fix_stem, norm_kwargs, pad_type, aa_layer, se_layer, group_size, output_stride, global_pool, drop_rate,
            drop_path_rate: as in `zoo.models.efficientnet.EfficientNet`.
        head_size: width of the layer between pooling and classifier. head_bias, head_norm: its bias, and whether it is
            normalised.
        se_from_expanded: squeeze ratios count from a block's inner width, not from its input width.
        se_act, se_gate, se_divisor: activation inside the gates (None: the block's), their last function, and what
            their widths are rounded to multiples of (0: whole channels).
        layer_scale: initial value of learned scales on universal inverted residuals and attention; None for none.

    Raises:
        ValueError: blocks that cannot be read or built, an option outside what is allowed.
    """

    parts = replace(BlockNet.parts, head=('global_pool', 'conv_head', 'norm_head', 'act2'))
    global_pool: nn.Module

    def __init__(self, blocks: Sequence[str | Sequence[str]], *, width: float = 1.0,
                 depth: float | Sequence[float] = 1.0, divisor: int = 8, round_limit: float = 0.9,
                 depth_rounding: str = 'ceil', fix_first_last: bool = False, stem_size: int = 16,
                 stem_kernel_size: int = 3, fix_stem: bool = False, head_size: int = 1280, head_bias: bool = True,
                 head_norm: bool = False, act_layer: ActLayer = 'hard_swish', norm_layer: NormLayer = 'batchnorm2d',
                 norm_kwargs: Mapping[str, Any] | None = None, bn_eps: float | None = None,
                 bn_momentum: float | None = None, pad_type: str = '', aa_layer: AaLayer | None = None,
                 se_layer: str | Callable[..., nn.Module] = 'se', se_from_expanded: bool = True,
                 se_act: ActLayer | None = None, se_gate: ActLayer = 'sigmoid', se_divisor: int = 0,
                 layer_scale: float | None = None, group_size: int = 0, output_stride: int = 32, in_chans: int = 3,
                 num_classes: int = 1000, global_pool: str = 'avg', drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0) -> None:
        super().__init__()
        norm = Norm(norm_layer, **norm_options(bn_eps, bn_momentum, norm_kwargs))
        style = Style(act_layer=act_layer, norm=norm, pad_type=pad_type, aa_layer=aa_layer, se_layer=se_layer,
                      se_from_expanded=se_from_expanded, se_act=se_act, se_gate=se_gate, se_divisor=se_divisor,
                      round_limit=round_limit, group_size=group_size, layer_scale=layer_scale)
        self.num_features = self.build_trunk(
            blocks, style, in_chans=in_chans, width=width, depth=depth, divisor=divisor, depth_rounding=depth_rounding,
            fix_first_last=fix_first_last, stem_size=stem_size, stem_kernel_size=stem_kernel_size, fix_stem=fix_stem,
            output_stride=output_stride, drop_path_rate=drop_path_rate)
        whole('head_size', head_size, 0)
        self.conv_head = conv2d(self.num_features * GlobalPool(global_pool).feat_mult, head_size, 1, bias=head_bias)
        self.norm_head, self.act2 = norm.with_act(head_size, act_layer)
        if not head_norm:
            self.norm_head, self.act2 = nn.Identity(), create_act(act_layer)
        self.build_head(self.num_features, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The output of `forward_features` -> logits (B, num_classes), or with `pre_logits` the embedding that the
        classifier takes in (B, head_size)."""
        x = self.global_pool(x)
        kind = getattr(self.global_pool, 'pool_type', None)       # a pooling of the user's own names none
        pooled = x.ndim == 2 if kind is None else bool(kind)
        x = self.act2(self.norm_head(self.conv_head(x[:, :, None, None] if pooled else x)))
        x = F.dropout(x.flatten(1) if pooled else x, self.drop_rate, self.training)
        return x if pre_logits else self.classify(x)

    @property
    def embedding_size(self) -> int:
        """The width of the embedding, which conv_head makes: it differs from `num_features`."""
        pruned = isinstance(self.conv_head, nn.Identity)
        return super().embedding_size if pruned else self.conv_head.out_channels

    @property
    def pools(self) -> tuple[str, ...]:
        """Those whose width conv_head takes in."""
        pruned = isinstance(getattr(self, 'conv_head', None), nn.Identity)
        return POOLS if pruned else SINGLE_POOLS if self.conv_head.in_channels == self.num_features else ('', 'catavgmax')
