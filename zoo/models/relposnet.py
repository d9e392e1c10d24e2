"""What vision transformers share whose attention knows relative positions: biases for the grid of patches, of each
block or of all."""
from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ..layers.attention_tokens import later_tokens, masked
from ..layers.relative import RelPosMlp, RelPosTable
from ..layers.tokens import Tokens
from ..spec import Pair, Sizes
from .tokennet import MaskedTokenNet


class RelPosNet(MaskedTokenNet):
    """Base of networks of `Tokens` with layers, `RelPosTable` or `RelPosMlp`, whose window is the grid of patches.

    Its blocks take tokens; a mask of attention or None, in which are the biases that blocks share and what the caller
    allows; and the grid of patches where that may be another than the layers' window, or None.
    """

    def shared_bias(self, window: Pair | None) -> Tensor | None:
        """The biases (heads, N, N) that all blocks share, of the layers' window or another; None for none."""
        return None

    def run_stem(self, x: Tensor) -> Tokens:
        state = super().run_stem(x)
        return state._replace(attn_mask=self.shared_bias(self._window(state)))

    def run_stage(self, number: int, state: Tokens) -> Tokens:
        block = self.get_submodule(self.stage_names()[number][0])
        mask = state.attn_mask
        if state.is_causal:
            earlier = ~later_tokens(state.x, state.x)
            mask = earlier if mask is None else masked(mask, earlier)
        return state._replace(x=block(state.x, mask, self._window(state)))

    def _window(self, state: Tokens) -> Pair | None:
        return state.grid if self.dynamic_img_size else None

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes in the network."""
        super().fit_to(sizes)
        for _, layer in self._relative():
            layer.set_window_size(self.patch_grid)

    @torch.no_grad()
    def adapt_state(self, state: Mapping[str, Tensor], source: Sizes = Sizes()) -> dict[str, Tensor]:
        """See `ImageModel.adapt_state`."""
        patch, old = self._patch_of(state), None
        if source.img_size:
            old = source.img_size[0] // patch[0], source.img_size[1] // patch[1]
        state = super().adapt_state(state, source)
        for name, layer in self._relative():
            layer.adapt_table(state, f'{name}.', old)
        return state

    def _relative(self) -> Iterator[tuple[str, RelPosTable | RelPosMlp]]:
        return ((name, module) for name, module in self.named_modules() if isinstance(module, (RelPosTable, RelPosMlp)))
