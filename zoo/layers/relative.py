"""Attention biases by relative position: tables of learned values, small networks of coordinates, and both for windows
of another size."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import Pair, unknown
from .init import draw_normal
from .mlp import Mlp
from .sizes import ImageSize, pair_of

MODES = ('cr', 'swin')
LEAST, MOST, PARTS = 1.01, 1.5, 512                    # growth of a geometric grid, and how finely it is searched


def get_relative_position_index(win_h: int, win_w: int, device: torch.device | None = None) -> Tensor:
    """For each query and key of a window, row by row, the entry of a table over all offsets (rows, columns) between
    them, (1 - win_h, 1 - win_w) first: (pixels, pixels). Swin, arXiv:2103.14030, equation 4."""
    rows, columns = (torch.arange(n, device=device)[:, None] - torch.arange(n, device=device) + n - 1
                     for n in (win_h, win_w))
    return (rows[:, None, :, None] * (2 * win_w - 1) + columns[None, :, None, :]).flatten(2).flatten(0, 1)


def relative_position_index(window: Pair, class_token: bool = False, device: torch.device | None = None) -> Tensor:
    """`get_relative_position_index`, with `class_token` of that token and the window's pixels: (1 + pixels, …). Three
    entries follow the offsets in its table: one for what the token looks at, one for what looks at it, one for itself
    (BEiT, arXiv:2106.08254)."""
    if device is not None and device.type == 'meta':    # arithmetic there would import PyTorch's compiler: 1.5 s
        tokens = math.prod(window) + class_token
        return torch.empty(tokens, tokens, dtype=torch.int64, device=device)
    index = get_relative_position_index(*window, device)
    if not class_token:
        return index
    offsets, pixels = math.prod(table_size(window)), index.shape[0]
    queries = torch.cat([index.new_full((1, pixels), offsets), index])
    first = torch.cat([index.new_full((1, 1), offsets + 2), index.new_full((pixels, 1), offsets + 1)])
    return torch.cat([first, queries], dim=1)


def gen_relative_log_coords(win_size: Pair, pretrained_win_size: Pair = (0, 0), mode: str = 'swin',
                            device: torch.device | None = None) -> Tensor:
    """All offsets (rows, columns) between the pixels of a window, the far ones drawn together by a logarithm (Swin V2,
    arXiv:2111.09883, equation 4): (2 rows - 1, 2 columns - 1, 2).

    Args:
        pretrained_win_size: in mode 'swin', the window whose farthest offsets are the unit, by default `win_size`.
        mode: 'swin', in units of an eighth of the farthest offset, to the base of 8, as that paper's code has it; 'cr',
            in pixels, to the base of e.

    Raises:
        ValueError: another mode, or units for 'cr', which has none.
    """
    if mode not in MODES:
        raise ValueError(unknown('mode', mode, MODES))
    if mode == 'cr' and any(pretrained_win_size):
        raise ValueError("mode='cr' counts offsets in pixels: pretrained_win_size is for mode='swin'.")

    def axis(side: int, pretrained: int) -> Tensor:
        offsets = torch.arange(1 - side, side, dtype=torch.float32, device=device)
        if mode == 'cr':
            return offsets.sign() * offsets.abs().log1p()
        farthest: Any = torch.sym_max(1, (pretrained or side) - 1)
        offsets = offsets * 8 / farthest
        return offsets.sign() * (1 + offsets.abs()).log2() / math.log2(8)

    axes = [axis(*sides) for sides in zip(win_size, pretrained_win_size)]
    return torch.stack(torch.meshgrid(*axes, indexing='ij'), dim=-1)


def table_size(window: Pair) -> Pair:
    """Rows and columns of a table over all offsets in a window."""
    return 2 * window[0] - 1, 2 * window[1] - 1


# --- layers


class RelPosTable(nn.Module):
    """Base of layers with a table of learned biases, for each head and offset (rows, columns) between two tokens of a
    window (Swin, arXiv:2103.14030, equation 4), and three more where a class token stands before them (BEiT,
    arXiv:2106.08254).

    Only the table is kept, never what is looked up in it: nothing goes stale when weights change or move.

    Attributes:
        window_size: rows and columns of the window; None without a table.
        prefix_tokens: tokens before it: none, or the class token.
    """

    undecayed = ('relative_position_bias_table',)
    relative_position_bias_table: nn.Parameter                      # (offsets + 3 prefix_tokens, heads)
    relative_position_index: Tensor                                 # (queries, keys)
    window_size: Pair | None
    num_heads: int
    prefix_tokens: int

    def build_table(self, window_size: ImageSize | None, num_heads: int, prefix_tokens: int = 0) -> None:
        """Adds the table; none for no window.

        Raises:
            ValueError: no such window, or more than one token before it.
        """
        if prefix_tokens not in (0, 1):
            raise ValueError(f'A relative position table has entries for 0 or 1 prefix tokens, not {prefix_tokens}.')
        self.num_heads, self.prefix_tokens = num_heads, prefix_tokens
        if window_size is None:
            self.window_size = None
            self.register_parameter('relative_position_bias_table', None)
            self.register_buffer('relative_position_index', None)
            return
        self.window_size = pair_of(window_size, 'window_size')
        self.relative_position_bias_table = nn.Parameter(torch.empty(self._shape(self.window_size)))
        self.register_buffer('relative_position_index', torch.empty(0), persistent=False)
        RelPosTable.reset_parameters(self)
        RelPosTable.reset_constants(self)

    def _shape(self, window: Pair) -> Pair:
        return math.prod(table_size(window)) + 3 * self.prefix_tokens, self.num_heads

    def reset_parameters(self) -> None:
        """A table of small biases."""
        if self.window_size is not None:
            draw_normal(self.relative_position_bias_table, 0.02)

    def reset_constants(self) -> None:
        """Fills the index from pairs of tokens to entries of the table, which no checkpoint holds."""
        if self.window_size is not None:
            self.relative_position_index = relative_position_index(
                self.window_size, bool(self.prefix_tokens), self.relative_position_bias_table.device)

    def init_non_persistent_buffers(self) -> None:
        """`reset_constants`, by the name that transformers calls after it has loaded a checkpoint."""
        self.reset_constants()

    def resize(self, table: Tensor, window: Pair, shape: Sequence[int], old: Pair | None) -> Tensor:
        """A table of the window `old` for another one; see `resize_rel_pos_bias_table`."""
        return resize_rel_pos_bias_table(table, window, shape, old)

    def set_window_size(self, window_size: ImageSize) -> None:
        """Another window, with the table resampled by `resize`."""
        old, window = self.window_size, pair_of(window_size, 'window_size')
        if old is None or window == old:
            return
        self.window_size = window
        table, shape = self.relative_position_bias_table, self._shape(window)
        with torch.no_grad():
            new = table.new_empty(shape) if table.is_meta else self.resize(table, window, shape, old)
        self.relative_position_bias_table = nn.Parameter(new, table.requires_grad)
        self.reset_constants()

    @torch.no_grad()
    def adapt_table(self, state: dict[str, Tensor], prefix: str, old_window: Pair | None) -> None:
        """Resamples the table at `prefix` in a state dict for this window, where it is of another: of `old_window` if
        it has as many entries, else of a square one. An index beside it is left out.

        Raises:
            ValueError: it is of another window that is not square.
        """
        key = f'{prefix}relative_position_bias_table'
        state.pop(f'{prefix}relative_position_index', None)
        if key not in state or self.window_size is None:
            return
        entries, wanted = state[key].shape[0], self._shape(self.window_size)
        old = old_window if old_window and self._shape(old_window)[0] == entries else None
        if old or entries != wanted[0]:
            state[key] = self.resize(state[key], self.window_size, wanted, old)

    def bias(self, window: Pair | None = None) -> Tensor:
        """(heads, queries, keys), of the table's window or, with the table resampled, of another one."""
        table: Tensor = self.relative_position_bias_table
        index, own = self.relative_position_index, self.window_size
        if window is not None and own is not None and differs(window, own):
            offsets = math.prod(table_size(own))
            table = torch.cat([_resize(table[:offsets], own, window), table[offsets:]])
            index = relative_position_index(window, bool(self.prefix_tokens), table.device)
        return table[index].permute(2, 0, 1)


class RelPosBias(RelPosTable):
    """Adds to attention scores (…, heads, N, N) what a table has for the offsets in a window, of N tokens with those
    before it; see `RelPosTable`.

    Args:
        window_size: rows and columns. prefix_tokens: 1 for a class token before the window's.
    """

    def __init__(self, window_size: ImageSize, num_heads: int, prefix_tokens: int = 0) -> None:
        super().__init__()
        self.build_table(window_size, num_heads, prefix_tokens)

    def get_bias(self, window_size: Pair | None = None) -> Tensor:
        """(1, heads, N, N), of its own window or another one."""
        return self.bias(window_size).unsqueeze(0)

    def forward(self, attn: Tensor) -> Tensor:
        return attn + self.get_bias()


class RelPosBiasTf(nn.Module):
    """Adds to attention scores (…, heads, N, N) what a table of two dimensions has for the offset (rows, columns) from
    the query to the key, as MaxViT's authors (arXiv:2204.01697) keep it: `RelPosBias` with its signs turned round.

    Args:
        window_size: rows and columns.

    Raises:
        ValueError: tokens before those of the window, for which it has no entries.
    """

    undecayed = ('relative_position_bias_table',)
    row_lookup: Tensor                                              # (rows of queries, rows of keys, 2 rows - 1)
    column_lookup: Tensor

    def __init__(self, window_size: ImageSize, num_heads: int, prefix_tokens: int = 0) -> None:
        super().__init__()
        if prefix_tokens:
            raise ValueError('RelPosBiasTf has no entries for tokens before those of the window; RelPosBias has.')
        self.window_size, self.num_heads = pair_of(window_size, 'window_size'), num_heads
        self.relative_position_bias_table = nn.Parameter(torch.empty(num_heads, *table_size(self.window_size)))
        for name in ('row_lookup', 'column_lookup'):
            self.register_buffer(name, torch.empty(0), persistent=False)
        self.reset_parameters()
        self.reset_constants()

    def reset_parameters(self) -> None:
        """A table of small biases."""
        nn.init.normal_(self.relative_position_bias_table, std=0.02)

    def reset_constants(self) -> None:
        """Fills the lookups, which no checkpoint holds."""
        self.row_lookup, self.column_lookup = self._lookups(self.window_size)

    def init_non_persistent_buffers(self) -> None:
        """`reset_constants`, by the name that transformers calls after it has loaded a checkpoint."""
        self.reset_constants()

    def _lookups(self, window: Pair) -> tuple[Tensor, Tensor]:
        """For each row, and each column, of a query and of a key, 1 at the table's entry for them and 0 elsewhere."""
        like = self.relative_position_bias_table
        if like.is_meta:                                # arithmetic there would import PyTorch's compiler: 1.5 s
            rows, columns = (like.new_empty(side, side, 2 * side - 1) for side in window)
        else:
            rows, columns = ((places - places[:, None] + (side - 1))[..., None].eq(
                torch.arange(2 * side - 1, device=like.device)).to(like.dtype)
                for side in window for places in [torch.arange(side, device=like.device)])
        return rows, columns

    def set_window_size(self, window_size: ImageSize) -> None:
        """Another window, with the table resampled; see `resize_rel_pos_bias_table`."""
        old, self.window_size = self.window_size, pair_of(window_size, 'window_size')
        if self.window_size == old:
            return
        table = self.relative_position_bias_table
        with torch.no_grad():
            new = table.new_empty(self.num_heads, *table_size(self.window_size)) if table.is_meta else \
                _resize_maps(table, old, self.window_size)
        self.relative_position_bias_table = nn.Parameter(new, table.requires_grad)
        self.reset_constants()

    @torch.no_grad()
    def adapt_table(self, state: dict[str, Tensor], prefix: str, old_window: Pair | None) -> None:
        """Resamples the table at `prefix` in a state dict, whose shape says which window it is of, for this window."""
        key = f'{prefix}relative_position_bias_table'
        if key in state and state[key].ndim == 3:
            rows, columns = state[key].shape[1:]
            state[key] = _resize_maps(state[key], ((rows + 1) // 2, (columns + 1) // 2), self.window_size)

    def get_bias(self, window_size: Pair | None = None) -> Tensor:
        """(1, heads, N, N), of its own window or another one."""
        table: Tensor = self.relative_position_bias_table
        rows, columns = self.row_lookup, self.column_lookup
        if window_size is not None and differs(window_size, self.window_size):
            table = _resize_maps(table, self.window_size, window_size)
            rows, columns = self._lookups(window_size)
        by_row = torch.einsum('hrc,qkr->hqkc', table, rows.to(table.dtype))
        bias = torch.einsum('hqkc,plc->hqpkl', by_row, columns.to(table.dtype))
        return bias.flatten(3, 4).flatten(1, 2).unsqueeze(0)

    def forward(self, attn: Tensor) -> Tensor:
        return attn + self.get_bias()


class LogOffsets(nn.Module):
    """Base of layers that make biases of the logarithms of the offsets in a window, which fits windows of every size
    (Swin V2, arXiv:2111.09883, section 3.3). A subclass adds a small network and says with `of_offsets` which one.

    Attributes:
        mode: of `gen_relative_log_coords`; in 'swin' biases are 16 times a sigmoid, and so between 0 and 16, in 'cr'
            they are what the network gives.
        pretrained_window_size: for mode 'swin', the window in whose offsets it counts; (0, 0) for its own.
        by_pairs: the network runs on each pair of pixels, with a draw of its dropout for each, not on each offset.
    """

    by_pairs = False
    rel_coords_log: Tensor                                          # (2 rows - 1, 2 columns - 1, 2)
    relative_position_index: Tensor
    window_size: Pair

    def build_offsets(self, window_size: ImageSize, mode: str, pretrained_window_size: Pair = (0, 0)) -> None:
        """Adds the coordinates; the network is there already.

        Raises:
            ValueError: no such window or mode, or a pretrained window for mode 'cr'.
        """
        if mode not in MODES:
            raise ValueError(unknown('mode', mode, MODES))
        self.window_size = pair_of(window_size, 'window_size')
        self.mode, self.pretrained_window_size = mode, pretrained_window_size
        for name in ('rel_coords_log', 'relative_position_index'):
            self.register_buffer(name, torch.empty(0), persistent=False)
        self.reset_constants()

    def of_offsets(self, coordinates: Tensor) -> Tensor:
        """What the network makes of offsets (…, 2): (…, heads)."""
        raise NotImplementedError

    def reset_constants(self) -> None:
        """Fills the coordinates, and the index from pairs of tokens to them, which no checkpoint holds."""
        like = self.rel_coords_log                          # the network inside may be given memory later
        self.rel_coords_log = like.new_empty(*table_size(self.window_size), 2) if like.is_meta else \
            self._coordinates(self.window_size)
        self.relative_position_index = relative_position_index(self.window_size, device=like.device)

    def init_non_persistent_buffers(self) -> None:
        """`reset_constants`, by the name that transformers calls after it has loaded a checkpoint."""
        self.reset_constants()

    def _coordinates(self, window: Pair) -> Tensor:
        coordinates = gen_relative_log_coords(window, self.pretrained_window_size, self.mode, self.rel_coords_log.device)
        return coordinates.to(next(self.parameters()).dtype)

    def set_window_size(self, window_size: ImageSize) -> None:
        """Another window."""
        self.window_size = pair_of(window_size, 'window_size')
        self.reset_constants()

    def adapt_table(self, state: dict[str, Tensor], prefix: str, old_window: Pair | None) -> None:
        """Leaves out what a state dict has at `prefix` beside the network, whose weights fit every window."""
        for name in ('rel_coords_log', 'relative_coords_table', 'relative_position_index'):
            state.pop(f'{prefix}{name}', None)

    def bias(self, window: Pair | None = None) -> Tensor:
        """(heads, pixels, pixels), of its own window or another one."""
        coordinates, index = self.rel_coords_log, self.relative_position_index
        if window is not None and differs(window, self.window_size):
            coordinates = self._coordinates(window)
            index = relative_position_index(window, device=coordinates.device)
        coordinates = coordinates.flatten(0, 1)
        biases = self.of_offsets(coordinates[index] if self.by_pairs else coordinates)
        if self.mode == 'swin':
            biases = 16 * biases.sigmoid()
        return (biases if self.by_pairs else biases[index]).permute(2, 0, 1)


class RelPosMlp(LogOffsets):
    """Adds to attention scores (…, heads, N, N) what a network of two layers makes of the logarithms of the offsets in
    a window; see `LogOffsets`.

    Args:
        window_size: rows and columns.
        hidden_dim: width of the network's hidden layer.
        prefix_tokens: tokens before those of the window, of the N; their scores stay as they are.
        mode, pretrained_window_size: of `LogOffsets`.

    Raises:
        ValueError: no such window or mode, or a pretrained window for mode 'cr'.
    """

    def __init__(self, window_size: ImageSize, num_heads: int = 8, hidden_dim: int = 128, prefix_tokens: int = 0,
                 mode: str = 'cr', pretrained_window_size: Pair = (0, 0)) -> None:
        super().__init__()
        self.num_heads, self.prefix_tokens = num_heads, prefix_tokens
        self.mlp = Mlp(2, hidden_dim, num_heads, act_layer=nn.ReLU, bias=(True, mode == 'cr'), drop=(0.125, 0.0))
        self.build_offsets(window_size, mode, pretrained_window_size)

    def of_offsets(self, coordinates: Tensor) -> Tensor:
        """See `LogOffsets.of_offsets`."""
        return self.mlp(coordinates)

    def get_bias(self, window_size: Pair | None = None) -> Tensor:
        """(1, heads, N, N), of its own window or another one."""
        first = self.prefix_tokens
        return F.pad(self.bias(window_size), (first, 0, first, 0)).unsqueeze(0)

    def forward(self, attn: Tensor) -> Tensor:
        return attn + self.get_bias()


def differs(window: Sequence[int], fitted: Pair) -> bool:
    """Whether a window may be another than the one that a layer is fitted to; a symbolic size is not compared."""
    return not all(isinstance(side, int) for side in window) or tuple(window) != fitted


# --- tables of another size


def resize_rel_pos_bias_table(rel_pos_bias: Tensor, new_window_size: Pair, new_bias_shape: Sequence[int],
                              old_window_size: Pair | None = None,
                              interpolate: Callable[[Tensor, Pair, Pair], Tensor] | None = None) -> Tensor:
    """A table (offsets + extra, heads) for windows of another size, as BEiT (arXiv:2106.08254) fine-tunes at other
    sizes: the old offsets are laid on a grid whose steps grow geometrically away from the middle until they span the
    new offsets, and values in between are interpolated linearly. Extra entries, such as those of a class token, stay.

    Args:
        new_bias_shape: of the table that is wanted. old_window_size: of a square window, by default.
        interpolate: makes of the offsets' entries, of the old window and the new one those of the new, in another way.

    Raises:
        ValueError: the old table is of no square window, and `old_window_size` is not given or is not its.
    """
    extra = new_bias_shape[0] - math.prod(table_size(new_window_size))
    entries = rel_pos_bias.shape[0] - extra
    side = (math.isqrt(entries) + 1) // 2
    old = tuple(old_window_size) if old_window_size else (side, side)
    if math.prod(table_size((old[0], old[1]))) != entries:
        raise ValueError(f'A table of {entries} offsets is of no window of {old[0]}x{old[1]}: say which window_size it '
                         'was trained with.')
    if tuple(new_window_size) == old:
        return rel_pos_bias
    resized = (interpolate or _resize)(rel_pos_bias[:entries], (old[0], old[1]), new_window_size)
    return torch.cat([resized, rel_pos_bias[entries:]])


def _resize(table: Tensor, old: Pair, new: Pair) -> Tensor:
    """A table (offsets, heads) of a window for another one, whose size may be symbolic."""
    axes = [*zip(table_size(old), table_size(new))]
    same = torch.stack([torch.full((), new // 2) == old // 2 for old, new in axes]).all()
    weights = [_between(*sides, same).to(table.device, torch.float32) for sides in axes]
    resized = torch.einsum('yr,xc,rch->yxh', *weights, table.float().unflatten(0, table_size(old)))
    return resized.flatten(0, 1).to(table.dtype)


def _resize_maps(table: Tensor, old: Pair, new: Pair) -> Tensor:
    """A table (heads, 2 rows - 1, 2 columns - 1) of a window for another one; see `_resize`."""
    if not differs(new, old):
        return table
    return _resize(table.flatten(1).t(), old, new).t().unflatten(1, table_size(new))


def _between(old: int, new: int, same: Tensor) -> Tensor:
    """Weights (new, old) that interpolate linearly from the `old` offsets of one axis to the `new`, -(new // 2) …
    new // 2, among which the old lie at 0, 1, 1 + q, 1 + q + q² … on either side; with `same`, one by one."""
    half, reach = old // 2, new // 2
    if not half:
        return torch.ones(new, 1)
    growth = torch.where(same, 1.0, _growth(half, reach))
    right = (growth ** torch.arange(half, dtype=torch.float64)).cumsum(0)
    grid = torch.cat([-right.flip(0), right.new_zeros(1), right])
    place = (torch.arange(new, dtype=torch.float64) - reach).clamp(grid[0], grid[-1])
    left = ((grid <= place[:, None]).sum(1) - 1).clamp(0, old - 2)
    share = ((place - grid[left]) / (grid[left + 1] - grid[left]))[:, None]
    columns = torch.arange(old) - left[:, None]
    return (columns == 0) * (1 - share) + (columns == 1) * share


def _growth(half: int, reach: int) -> Tensor:
    """The q between 1.01 and 1.5 by which 1 + q + … of `half` terms is `reach`, to within the 2**18th part of what lies
    between them: the middle of that part, which is where the authors' bisection ends."""
    q, width = torch.full((), LEAST, dtype=torch.float64), MOST - LEAST
    for _ in range(2):
        width /= PARTS
        tried = q + width * torch.arange(1, PARTS, dtype=torch.float64)
        q = q + width * ((1 - tried ** half) / (1 - tried) <= reach).sum()
    return q + width / 2
