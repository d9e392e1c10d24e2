"""Self-attention over the pixels of a feature map, as MobileNetV4's hybrid networks use it."""
from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .conv import conv2d
from .norm import Norm


class MultiHeadAttention2d(nn.Module):
    """Multi-head self-attention (arXiv:1706.03762) over pixels: (B, C, H, W) -> (B, C', H, W)."""

    def __init__(self, in_chans: int, out_chans: int, heads: int) -> None:
        super().__init__()
        if in_chans % heads:
            raise ValueError(f'{heads} heads do not divide {in_chans} channels.')
        self.heads = heads
        self.qkv = nn.Conv2d(in_chans, 3 * in_chans, 1, bias=False)
        self.proj = nn.Conv2d(in_chans, out_chans, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        out = F.scaled_dot_product_attention(q, k, v)                           # (B, heads, H W, C / heads)
        return self.proj(out.transpose(-1, -2).flatten(1, 2).unflatten(-1, x.shape[-2:]))


class MultiQueryAttention2d(nn.Module):
    """Mobile multi-query attention, arXiv:2404.10518, section 4: all heads share keys and values, which are computed
    on a map subsampled by `kv_stride`. (B, C, H, W) -> (B, C', H, W)."""

    def __init__(self, in_chans: int, out_chans: int, heads: int, key_dim: int, kv_stride: int = 1, kernel: int = 3,
                 dilation: int = 1, norm: Norm | None = None, pad_type: str = '') -> None:
        super().__init__()
        self.heads = heads

        def shared() -> nn.Sequential:
            path = nn.Sequential()
            if kv_stride > 1:
                path.down_conv = conv2d(in_chans, in_chans, kernel, kv_stride, dilation, in_chans, pad_type)
                path.norm = (norm or Norm())(in_chans)
            path.proj = nn.Conv2d(in_chans, key_dim, 1, bias=False)
            return path

        self.query = nn.Sequential()
        self.query.proj = nn.Conv2d(in_chans, heads * key_dim, 1, bias=False)
        self.key, self.value = shared(), shared()
        self.output = nn.Sequential()
        self.output.proj = nn.Conv2d(heads * key_dim, out_chans, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q = self.query(x).flatten(2).unflatten(1, (self.heads, -1)).transpose(-1, -2)     # (B, heads, H W, D)
        k = self.key(x).flatten(2).transpose(-1, -2).unsqueeze(1)                         # (B, 1, h w, D)
        v = self.value(x).flatten(2).transpose(-1, -2).unsqueeze(1)
        out = F.scaled_dot_product_attention(q, k.expand(-1, self.heads, -1, -1), v.expand(-1, self.heads, -1, -1))
        return self.output(out.transpose(-1, -2).flatten(1, 2).unflatten(-1, x.shape[-2:]))
