"""What networks of shifting windows share: stages of `ShiftedWindows`, and other sizes of images, patches and windows."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from ..layers.head import Head
from ..layers.init import init_transformer
from ..layers.norm import MakeNorm
from ..layers.patch_embed import PatchEmbed
from ..layers.shifted import ShiftedWindows
from ..layers.sizes import ImageSize, map_size, pair_of
from ..layers.stages import children_of, drop_path_rates
from ..spec import Feature, Pair, Sizes
from .headnet import HeadNet

Windows = ImageSize | Sequence[ImageSize]
WEIGHT_INITS = ('', 'reset', 'skip')


class WindowNet(HeadNet):
    """Base of networks whose stages hold `blocks`, after a `downsample` in all but the first.

    A subclass calls `build_stem`, `build_stages` and `build_end`.

    Attributes:
        container: the submodule whose children are the stages.
    """

    draw = staticmethod(init_transformer)
    output_fmt = 'NHWC'
    container: ClassVar[str] = 'layers'
    img_size: Pair
    patch_embed: PatchEmbed

    def build_stem(self, embed_layer: Callable[..., PatchEmbed], img_size: ImageSize, patch_size: int, in_chans: int,
                   embed_dim: int, norm: MakeNorm, dynamic: bool) -> None:
        """Adds what makes patches, as the network's states are laid out."""
        self.in_chans, self.embed_dim = in_chans, embed_dim
        self.img_size, self.dynamic_img_size = pair_of(img_size), dynamic
        self.patch_embed = embed_layer(img_size=self.img_size, patch_size=patch_size, in_chans=in_chans,
                                       embed_dim=embed_dim, norm_layer=norm,
                                       strict_img_size=not dynamic, dynamic_img_pad=True)
        self.patch_embed.pad_fitted = True

    def build_stages(self, make: Callable[..., nn.Module], depths: Sequence[int], num_heads: Sequence[int],
                     drop_path_rate: float, **by_stage: Sequence[Any]) -> None:
        """Adds the stages, each twice as wide as the one before, and describes their maps.

        Args:
            make: given the channels that come in and go out, rows and columns of the map, `depth`, `num_heads`,
                `downsample`, `drop_path` and what `by_stage` has of the stage.

        Raises:
            ValueError: numbers of blocks and heads for different numbers of stages.
        """
        if len(num_heads) != len(depths):
            raise ValueError(f'depths and num_heads have one entry a stage, not {len(depths)} and {len(num_heads)}.')
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        patch, stages = self.patch_embed.patch_size[0], nn.Sequential()
        self.feature_info = []
        for number, depth in enumerate(depths):
            width = self.embed_dim * 2 ** number
            reduction = patch * 2 ** number                          # input pixels per pixel of the map
            stage = make(width // 2 if number else width, width, map_size(self.img_size, reduction), depth=depth,
                         num_heads=num_heads[number], downsample=number > 0,
                         drop_path=[next(rates) for _ in range(depth)],
                         **{key: value[number] for key, value in by_stage.items()})
            for block in blocks_of(stage):
                block.patch, block.merged = patch, 2 ** number
            stages.append(stage)
            self.feature_info.append(Feature(num_chs=width, reduction=reduction, module=f'{self.container}.{number}',
                                             stage=number + 1))
        self.num_features = self.embed_dim * 2 ** (len(depths) - 1)
        self.add_module(self.container, stages)

    def build_end(self, num_classes: int, global_pool: str, drop_rate: float, weight_init: str = '') -> None:
        """Adds the head, and draws the weights.

        Raises:
            ValueError: another word than '', 'reset' or 'skip' for how they are drawn.
        """
        if weight_init not in WEIGHT_INITS:
            raise ValueError(f"weight_init is '', 'reset' or 'skip', not {weight_init!r}.")
        self.head = Head(self.num_features, global_pool, self.output_fmt, drop_rate=drop_rate)
        self.build_head(self.num_features, num_classes, global_pool, drop_rate)
        if weight_init != 'skip':
            self.init_fresh()

    def hidden_of(self, state: Tensor) -> Tensor:
        """The embedded patches, as the network's states are laid out."""
        return state

    def hidden_modules(self) -> list[nn.Module]:
        """What merges pixels for each stage but the first, and the last stage."""
        stages = self.stages_there()
        return [*(stage.get_submodule('downsample') for stage in stages[1:]), stages[-1]]

    def set_input_size(self, img_size: ImageSize | None = None, patch_size: ImageSize | None = None,
                       window_size: Windows | None = None, window_ratio: int | Sequence[int] | None = None,
                       always_partition: bool | None = None, *, dynamic_img_size: bool | None = None) -> None:
        """Fits the network to other sizes, see `ImageModel.set_input_size`. Where no windows are given, they grow with
        the grid of patches.

        Args:
            window_size: as in the constructor. window_ratio: in its place, how many windows a side of the patches' grid
                has; one number, or one a stage.
            always_partition: as in the constructor.
        """
        stages = [blocks_of(stage) for stage in self.stages_there()]
        if always_partition is not None:
            for block in (block for blocks in stages for block in blocks):
                block.always_partition = always_partition
        if window_ratio is not None and window_size is None:
            window_size = windows_by_ratio(self.grid_of(img_size, patch_size), window_ratio, len(stages))
        if window_size is None and (img_size is not None or patch_size is not None):
            window_size = self._grown_windows(img_size, patch_size)
        if window_size is not None:
            for blocks, window in zip(stages, windows_of_stages(window_size, len(stages))):
                for block in blocks:
                    block.target_window_size = window
        if patch_size is not None and len(set(pair_of(patch_size, 'patch_size'))) > 1:
            raise ValueError(f'patch_size of this network is the side of a square, not {patch_size!r}.')
        super().set_input_size(img_size, patch_size, dynamic_img_size=dynamic_img_size)
        if patch_size is not None:
            factor = self.patch_embed.patch_size[0]
            self.feature_info = [feature | {'reduction': factor * 2 ** number}
                                 for number, feature in enumerate(self.feature_info)]

    def grid_of(self, img_size: ImageSize | None, patch_size: ImageSize | None) -> Pair:
        """Rows and columns of patches; of the sizes that it has where they are None."""
        patch = self.patch_embed.patch_size if patch_size is None else pair_of(patch_size, 'patch_size')
        return map_size(self.img_size if img_size is None else pair_of(img_size), patch[0])

    def _grown_windows(self, img_size: ImageSize | None, patch_size: ImageSize | None) -> list[Pair]:
        """Windows for other images or patches: as many a side of the patches' grid as there are now."""
        old, new = self.grid_of(None, None), self.grid_of(img_size, patch_size)
        windows = []
        for first, *_ in map(blocks_of, self.stages_there()):
            rows, columns = (max(1, n // max(1, o // side)) for o, n, side in zip(old, new, first.target_window_size))
            windows.append((rows, columns))
        return windows

    def stages_there(self) -> list[nn.Module]:
        """The stages that are left."""
        return list(self.get_submodule(self.container).children())

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes: every block's window is chosen anew."""
        super().fit_to(replace(sizes, img_size=sizes.img_size or self.img_size))


def blocks_of(stage: nn.Module) -> list[ShiftedWindows]:
    """The blocks of a stage."""
    return children_of(stage.get_submodule('blocks'), ShiftedWindows)


def windows_of_stages(window_size: Windows, stages: int) -> list[Pair]:
    """(rows, columns) of each stage's windows, of one for all or one a stage."""
    one_each = not isinstance(window_size, int) and len(window_size) == stages and (
        stages != 2 or not all(isinstance(n, int) for n in window_size))
    sizes: Any = window_size if one_each else [window_size] * stages
    return [pair_of(size, 'window_size') for size in sizes]


def windows_by_ratio(grid: Pair, window_ratio: int | Sequence[int], stages: int) -> list[Pair]:
    """(rows, columns) of each stage's windows, so many of which a side of the grid of patches has: one number, or one a
    stage."""
    ratios = [window_ratio] * stages if isinstance(window_ratio, int) else window_ratio
    if len(ratios) != stages:
        raise ValueError(f'window_ratio is a number, or one for each of {stages} stages, not {window_ratio!r}.')
    return [(max(1, grid[0] // ratio), max(1, grid[1] // ratio)) for ratio in ratios]
