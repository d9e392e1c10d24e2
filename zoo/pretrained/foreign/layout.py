"""What a layout of checkpoints is: the names, and shapes, that one library gives the parameters of a kind of
network."""
from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

State = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]
Settings = Mapping[str, Any]
Position = tuple[int, int]                                  # stage, block in the stage
Described = tuple[str | None, dict[str, Any]]            # a network's name, arguments beside it
OUTSIDE = ('conv_stem', 'stem.conv1', 'stem.conv1.conv', 'classifier', 'head', 'head_dist')   # see NamedLayout.known


class Layout(ABC):
    """A layout, named 'library network'; converts state dicts both ways.

    Attributes:
        decisive: arguments of the network's class which change what it computes while all weights fit -> what its
            default, None, stands for. A checkpoint is refused where it implies another value than the network has.
        same_names: the names are ours, so that weights in it may as well be.
    """

    name: str
    decisive: ClassVar[Settings] = {}
    same_names: ClassVar[bool] = False

    @property
    def library(self) -> str:
        """Who wrote the checkpoints."""
        return self.name.partition(' ')[0]

    @abstractmethod
    def recognises(self, keys: Collection[str]) -> bool:
        """Whether these are names of a checkpoint in this layout, and in no other."""

    @abstractmethod
    def to_ours(self, state: State, model: nn.Module | None = None) -> dict[str, Tensor]:
        """The state dict under our names. What there is no rule for keeps its name, so that loading names it.

        Args:
            model: the network that it is for, where the names alone do not say which blocks make a stage.
        """

    @abstractmethod
    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """A state dict of ours under their names.

        Raises:
            ValueError: the layout has no place for some of it.
        """

    @abstractmethod
    def describe(self, state: State) -> Described:
        """The architecture of a state dict in this layout, and the arguments beside its name."""

    @abstractmethod
    def identify(self, state: State) -> Described:
        """The same of a state dict of ours."""

    def differences(self, state: State, settings: Settings, model: str) -> list[str]:
        """What a network built with `settings` would compute otherwise than the one that a state dict was made with.

        Args:
            model: the network's name, for the words.
        """
        return self.differing(self.describe(state)[1], settings, model)

    def differing(self, needed: Settings, settings: Settings, model: str) -> list[str]:
        """Where settings are not those needed, in words; of a mapping, such as `block_args`, what it has to have."""
        wrong = []
        for option, value in needed.items():
            if option in self.decisive:
                found = settings.get(option)
                found = self.decisive[option] if found is None else found
                same = found == value or isinstance(found, Mapping) and isinstance(value, Mapping) and all(
                    found.get(key) == part for key, part in value.items())
                if isinstance(found, (int, float, str, tuple, Mapping)) and not same:
                    wrong.append(f'it was made with {option}={value!r}, and {model} has {found!r}')
        return wrong

    def data(self, state: State) -> dict[str, Any]:
        """Fields of `zoo.spec.PretrainedCfg` that a state dict in this layout implies, beside its architecture's record:
        how images are prepared."""
        return {}


class SameNames(Layout):
    """A layout whose names are ours.

    Attributes:
        marks: keys that a checkpoint in this layout has.
    """

    same_names = True
    marks: ClassVar[tuple[str, ...]]

    def recognises(self, keys: Collection[str]) -> bool:
        """Whether all `marks` are among these names."""
        return all(mark in keys for mark in self.marks)

    def to_ours(self, state: State, model: nn.Module | None = None) -> dict[str, Tensor]:
        """The state dict as it is."""
        return dict(state)

    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """The state dict as it is.

        Raises:
            ValueError: it is of a network that the other library does not have.
        """
        if not self.recognises(state) or not self.identify(state)[0]:
            raise ValueError(f'The layout {self.name!r} has no place for a network of this shape.')
        return dict(state)

    def describe(self, state: State) -> Described:
        """See `Layout.describe`."""
        return self.identify(state)


class NamedLayout(Layout):
    """A layout that is a renaming, with few changes of shape; networks are known by the number of their elements.

    Attributes:
        mark: a key that every checkpoint in this layout has, and none in one that its module lists later.
        known: elements of all tensors but the first convolution and the classifier -> the architecture, and the
            arguments beside its name that the library implies.
        first_conv, classifiers: the first convolution and the classifiers, under their names.
        eps: of its batch normalisation; None where that depends on the network.
        pads: values of `pad_type` that suit it; the first is exact at every size.
        prefix: start of all names of a network with a classifier but the classifier's.
        linear: modules of ours that are 1x1 convolutions, and there act on vectors.
        version: of the layout, where the library counts them.
        dropped: end of the names of tensors that ours have no need of.
        scale_dims: dimensions of size 1 that their layer scales (C, 1, 1) have beyond ours (C,).
    """

    mark: str
    known: Mapping[int, tuple[str, Settings]]
    first_conv: Any
    classifiers: Any
    eps: float | None
    pads: tuple[str, ...]
    prefix: str
    linear: frozenset[str]
    version: int
    dropped: str | None
    scale_dims: int
    decisive: ClassVar[Settings] = {'bn_eps': 1e-5, 'pad_type': ''}

    @abstractmethod
    def our_names(self, shapes: Shapes, places: list[Position] | None = None) -> dict[str, str]:
        """Modules or keys of theirs -> of ours, for a checkpoint with tensors of these shapes.

        Args:
            places: the stage and index of our blocks, in order, as far as they are known.
        """

    @abstractmethod
    def their_names(self, keys: Iterable[str]) -> dict[str, str]:
        """Modules or keys of ours -> of theirs, for a network with these keys.

        Raises:
            ValueError: this layout has no place for one.
        """

    @abstractmethod
    def implied(self, keys: Collection[str]) -> dict[str, Any]:
        """Arguments that these names imply beside those of `known`."""

    def recognises(self, keys: Collection[str]) -> bool:
        """Whether `mark` is among these names, with or without the prefix."""
        return any(mark in keys for mark in (self.mark, self.prefix + self.mark))

    def to_ours(self, state: State, model: nn.Module | None = None) -> dict[str, Tensor]:
        """See `Layout.to_ours`. Where blocks are numbered through all stages, `model` says how many a stage has; else
        the tensors' shapes do."""
        names = self.our_names({key: tuple(value.shape) for key, value in state.items()}, _places(model))
        kept = {key.removeprefix(self.prefix): value for key, value in state.items()
                if not self.dropped or not key.endswith(self.dropped)}
        renamed = {_new_name(key, names): value for key, value in kept.items()}
        return {key: self._shaped(key, value, ours=True) for key, value in renamed.items()}

    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """See `Layout.to_theirs`."""
        names = self.their_names(state)
        renamed = {_new_name(key, names): self._shaped(key, value, ours=False) for key, value in state.items()}
        if self.prefix and any(key.startswith(self.classifiers) for key in renamed):
            renamed = {key if key.startswith(self.classifiers) else self.prefix + key: value
                       for key, value in renamed.items()}
        renamed = OrderedDict(renamed)
        setattr(renamed, '_metadata', {'': {'version': self.version}})  # what load_state_dict of MNASNet insists on
        return renamed

    def describe(self, state: State) -> Described:
        """See `Layout.describe`."""
        implied = self.implied(state)
        known = self.known.get(count_elements(state, (self.first_conv, self.prefix + self.first_conv, *self.classifiers)))
        if known:
            return known[0], {**known[1], **implied}
        return None, implied if self.eps is None else {'bn_eps': self.eps, 'pad_type': self.pads[0]}

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        known = self.known.get(count_elements(state, OUTSIDE))
        return (known[0], dict(known[1])) if known else (None, {})

    def differences(self, state: State, settings: Settings, model: str) -> list[str]:
        """See `Layout.differences`: the eps of batch normalisation, and padding."""
        needed = self.describe(state)[1].get('bn_eps', self.eps)
        eps, pad = (settings.get(option) or default for option, default in self.decisive.items())
        wrong = []
        if needed and eps != needed:
            wrong.append(f'its batch normalisation has eps {needed:g}, and {model} {eps:g}')
        if pad not in self.pads:
            wrong.append(f'its padding is pad_type={self.pads[0]!r}, and that of {model} {pad!r}')
        return wrong

    def _shaped(self, key: str, value: Tensor, ours: bool) -> Tensor:
        """The tensor in the shape that it has in ours, or in the layout; `key` is our name."""
        module, _, parameter = key.rpartition('.')
        if module in self.linear and parameter == 'weight':
            return value.flatten(1)[:, :, None, None] if ours else value.flatten(1)
        if parameter == 'gamma':
            return value.flatten() if ours else value[(..., *[None] * self.scale_dims)]
        return value


def count_elements(state: State, outside: Collection[str]) -> int:
    """Elements of all floating point tensors but those of the modules `outside`."""
    return sum(value.numel() for key, value in state.items()
               if value.is_floating_point() and key.rpartition('.')[0] not in outside)


def headless(state: State, head: str = 'head.fc') -> dict[str, Any]:
    """The argument that a state dict of ours without a classifier, called `head`, needs."""
    return {} if f'{head}.weight' in state else {'num_classes': 0}


def staged_shape(state: State, stages: str, kernel: str = 'patch_embed.proj.weight',
                 ) -> tuple[int, tuple[int, ...]] | None:
    """The channels of the first convolution and the blocks of each stage of a state dict of ours; None without them.

    Args:
        stages: what the stages are called. kernel: name of the convolution's weight.
    """
    found = {(int(match[1]), int(match[2])) for key in state
             if (match := re.match(rf'{stages}\.(\d+)\.blocks\.(\d+)\.', key))}
    depths = tuple(sum(stage == number for stage, _ in found) for number in range(len({stage for stage, _ in found})))
    return (state[kernel].shape[0], depths) if kernel in state and depths else None


def _new_name(key: str, names: Mapping[str, str]) -> str:
    """By a rule for the key, else by one for its module, else as it is."""
    module, _, parameter = key.rpartition('.')
    return names.get(key) or (f'{names[module]}.{parameter}' if module in names else key)


def _places(model: nn.Module | None) -> list[Position] | None:
    """Stage and index of the blocks of one of our networks, in order."""
    if model is None:
        return None
    found = (re.match(r'blocks\.(\d+)\.(\d+)\.', key) for key in model.state_dict())
    return list(dict.fromkeys((int(match[1]), int(match[2])) for match in found if match))
