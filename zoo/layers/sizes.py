"""Image, patch and window sizes: what a network is fitted to, and the layers whose parameters depend on it."""
from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..spec import Pair, Sizes

ImageSize = int | Sequence[int]


def pair_of(size: ImageSize, name: str = 'img_size') -> Pair:
    """(height, width) in pixels, of one number for a square or of two.

    Raises:
        ValueError: neither, or not positive.
    """
    found = (size, size) if isinstance(size, int) else size
    if not isinstance(found, Sequence) or len(found) != 2 or not all(isinstance(n, int) and n > 0 for n in found):
        raise ValueError(f'{name} is a side in pixels or (height, width), not {size!r}.')
    return found[0], found[1]


def map_size(size: Pair, reduction: int) -> Pair:
    """Rows and columns of a map of so many pixels a pixel, the last ones begun counted: ceil(size / reduction)."""
    return -(-size[0] // reduction), -(-size[1] // reduction)


def patch_grid(size: Pair, patch_size: Pair, begun: bool) -> Pair:
    """Rows and columns of patches of an image (height, width); with `begun` the last ones count that are not whole."""
    (height, width), (rows, columns) = size, patch_size
    return (-(-height // rows), -(-width // columns)) if begun else (height // rows, width // columns)


def check_fitted(size: Sequence[int], img_size: Pair) -> None:
    """Checks that an image (height, width) is of the size that a network is fitted to.

    Raises:
        ValueError: it is not; the message says how a network is built for it.
    """
    if tuple(size) != img_size:
        raise ValueError(
            f'This network is fitted to images of {img_size[0]}x{img_size[1]} pixels (height x width); '
            f'this image has {size[0]}x{size[1]}. Build the network with img_size=(height, width), call '
            'set_input_size((height, width)), or build it with dynamic_img_size=True for images of any size.')


class SizedLayer(nn.Module):
    """Base of layers with parameters, or tables, that depend on sizes. `ImageModel.set_input_size` and loading go
    through all of a network's, the network itself among them where it is one.

    Attributes:
        follows: the fields of `Sizes` that it can be fitted to.
    """

    follows: tuple[str, ...] = ('img_size', 'dynamic')

    def fit(self, sizes: Sizes) -> None:
        """Changes the layer, with its parameters resampled, to the sizes that are given; a parameter whose shape
        changes is a new one.

        Raises:
            ValueError: it cannot be fitted to them; the message says which sizes are possible.
        """
        raise NotImplementedError

    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """Resamples its tensors at `prefix` in a state dict, in place, where they are of another size than the layer.

        Args:
            source: what the state dict's network was fitted to, as far as that is known beside the tensors' shapes.

        Raises:
            ValueError: which size they are of cannot be told.
        """
        raise NotImplementedError
