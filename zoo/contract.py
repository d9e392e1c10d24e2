"""What every network of zoo offers: `ImageModel`, the one base class.

A network says once what its submodules are for (`Parts`): a stem, stages, a final normalisation, a head, classifiers.
From that alone come the walk through its stages, which serves classification, feature maps and intermediates alike,
pruning, gradient checkpointing, the layers of an optimizer and what is frozen. What goes from one stage to the next, the
state, is the network's own: a map, tokens, several branches. `maps_of` and `prefix_of` translate it.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .layers.init import init_tensorflow
from .layers.pool import FAST, POOLS, GlobalPool
from .layers.recording import ATTENTION
from .layers.reparam import fuse_as, fuse_branches
from .layers.sizes import ImageSize, SizedLayer, pair_of
from .spec import Feature, Sizes, is_index, unknown, whole

Layer = TypeVar('Layer', bound=nn.Module)

OUTPUT_FORMATS = ('NCHW', 'NHWC', 'NLC')
LOCATIONS = ('bottleneck', 'expansion')
State = Any                                  # what goes from stage to stage: a Tensor, or a network's own record
Logits = Any                                 # a Tensor (B, num_classes), or a network's own record of several

NOT_SCRIPTED = ('torch.jit.script, which PyTorch has deprecated, is not supported. Use torch.export.export(model, '
                '(images,)) to save a program, torch.jit.trace(model, images) where it has to be a TorchScript file, '
                'or torch.compile(model) for speed.')


@dataclass(frozen=True)
class Parts:
    """What a network's submodules and parameters are for, by their paths, from the images to the logits.

    Attributes:
        stem: submodules and parameters before the stages. Those of a plain network run in this order.
        stages: a submodule each; or a tuple of several that run in this order; 'blocks.*' is every child of `blocks`.
        norm: the final normalisation, of the last stage's state.
        pre_head: submodules from there to what `forward_features` returns, in this order.
        head: submodules from there to the embedding, in this order; the first pools.
        classifier: linear layers, or 1x1 convolutions, on the embedding; none of an encoder that takes no classes.
    """

    stem: tuple[str, ...]
    stages: tuple[str | tuple[str, ...], ...]
    norm: str = ''
    pre_head: tuple[str, ...] = ()
    head: tuple[str, ...] = ('global_pool',)
    classifier: tuple[str, ...] = ('classifier',)


class ImageModel(nn.Module):
    """Base of all networks: images (B, in_chans, H, W) -> logits (B, num_classes). `torch.export`, `torch.compile`
    and `torch.jit.trace` take them, `torch.fx.symbolic_trace` those that take images of any size; `torch.jit.script`
    does not.

    A plain convolutional network names its `parts`, and in its constructor sets `feature_info`, `num_features` and
    `in_chans`, calls `build_head` and, at the end, `init_fresh`. Others override `run_stem`, `run_stage`, `maps_of`,
    `prefix_of` or `pre_head`.

    Attributes:
        parts: what its submodules are for; the class says those that are the same in all of its networks.
        num_classes: width of the logits; 0 for none.
        in_chans: channels of the images.
        num_features: channels of what `forward_features` returns.
        num_prefix_tokens: tokens before those of the image, such as the class token.
        output_fmt: how `forward_features` lays out what it returns: 'NCHW', 'NHWC', or tokens 'NLC'.
        img_size: (height, width) in pixels that the network is fitted to; None where its weights fit every size.
        dynamic_img_size: whether it takes images of any size.
        row: the submodule of a stage that holds its blocks, where the stage is not itself a row of them.
        default_out_indices: how many maps, the last ones, a backbone gives if nothing is said; None for all.
        feature_info: the feature maps that `forward_intermediates` and `features_only=True` give.
    """

    parts: Parts
    feature_info: list[Feature]
    num_classes: int
    in_chans: int
    num_features: int
    num_prefix_tokens = 0
    default_out_indices: ClassVar[int | None] = None
    output_fmt = 'NCHW'
    row: ClassVar[str] = 'blocks'
    img_size: tuple[int, int] | None = None
    dynamic_img_size = True
    grad_checkpointing = False
    pretrained_cfg: dict[str, Any]

    def __prepare_scriptable__(self) -> NoReturn:
        raise NotImplementedError(NOT_SCRIPTED)         # torch.jit.script asks for this

    # --- what a network may say of itself

    @staticmethod
    def draw(module: nn.Module) -> None:
        """Draws every parameter, and resets every buffer, of a module anew."""
        init_tensorflow(module)

    def run_stem(self, x: Tensor) -> State:
        """Images (B, in_chans, H, W) -> the state that goes into the first stage."""
        return self._run(self.parts.stem, x)

    def enter_stage(self, number: int, state: State) -> State:
        """The state that goes into the last submodule of stage `number`, which is the bulk of it: it runs by itself, so
        that nobody holds what came before (of a ResNet, the map before its pooling) while that runs."""
        return self._run(self.stage_names()[number][:-1], state)

    def run_stage(self, number: int, state: State) -> State:
        """The state after stage `number`, counted from 0: what its last submodule makes of what goes into that."""
        return self._run(self.stage_names()[number][-1:], state)

    def maps_of(self, state: State, step: int) -> list[Tensor]:
        """The feature maps (B, C, H, W) in the state after the stem (`step` 0) or a stage (from 1); `Feature.part` tells
        which of them is meant."""
        return [state.permute(0, 3, 1, 2) if self.output_fmt == 'NHWC' else state]

    def prefix_of(self, state: State) -> Tensor:
        """The prefix tokens (B, num_prefix_tokens, C) in a state."""
        raise ValueError(f'{type(self).__name__} has no tokens before those of the image.')

    def set_feature_location(self, location: str) -> None:
        """Chooses where in a stage's last block its map is taken: 'bottleneck', what comes out of it, or 'expansion',
        what its projection takes in. `feature_info` says so.

        Raises:
            ValueError: another place, or one that the network's blocks do not have.
        """
        if location not in LOCATIONS:
            raise ValueError(unknown('feature_location', location, LOCATIONS))
        if location != 'bottleneck':
            raise ValueError(f"feature_location={location!r} is for networks of block strings; the maps of "
                             f"{type(self).__name__} are what comes out of its stages: 'bottleneck'.")

    def hidden_of(self, state: State) -> Tensor:
        """The first of the hidden states, of the state after the stem, see `zoo.forward_outputs`."""
        return self.maps_of(state, 0)[0]

    def normalise(self, state: State) -> State:
        """The final normalisation, of a state that has its channels."""
        return self._run((self.parts.norm,), state) if self.parts.norm else state

    def pre_head(self, state: State) -> Tensor:
        """From the state after the last stage to what the head takes in."""
        return self._run(self.parts.pre_head, self.normalise(state))

    def init_weights(self) -> None:
        """Draws every parameter anew and resets every buffer, whatever was in them."""
        self.draw(self)

    def init_fresh(self) -> None:
        """`init_weights` at the end of construction, unless the network has no memory yet."""
        if not next(self.parameters()).is_meta:
            self.init_weights()

    # --- parts

    def stage_names(self) -> list[tuple[str, ...]]:
        """The submodules of each stage there is, in the order in which they run."""
        found: list[tuple[str, ...]] = []
        for stage in self.parts.stages:
            if isinstance(stage, str) and stage.endswith('.*'):
                container = stage.removesuffix('.*')
                found += [(f'{container}.{name}',) for name, _ in self.get_submodule(container).named_children()]
            else:
                found.append((stage,) if isinstance(stage, str) else stage)
        return found[:self._kept]

    _kept: int | None = None                 # how many stages are left, where they are not children of one submodule

    def layer_names(self, coarse: bool = False) -> list[list[str]]:
        """The submodules and parameters of each layer from the images to the embedding: the stem, the blocks or with
        `coarse` the stages, and with the last what comes between it and the classifiers."""
        found = [list(self.parts.stem)]
        for names in self.stage_names():
            found += [[*names]] if coarse else self._blocks_of(names)
        found[-1] += [name for name in (self.parts.norm, *self.parts.pre_head, *self.parts.head) if name]
        return found

    def _blocks_of(self, names: tuple[str, ...]) -> list[list[str]]:
        """A stage's layers: its blocks, the first with what comes before it."""
        layers: list[list[str]] = [[]]
        for name in names:
            module = self.get_submodule(name)
            inner = self.row if isinstance(module._modules.get(self.row), nn.Sequential) else ''
            blocks = module.get_submodule(inner)
            if not isinstance(blocks, nn.Sequential) or not any(child._modules for child in blocks.children()):
                layers[-1].append(name)
                continue
            layers[-1] += [f'{name}.{child}' for child in (*module._modules, *module._parameters) if inner and child != inner]
            path = f'{name}.{inner}'.rstrip('.')
            for child in blocks._modules:
                layers[-1].append(f'{path}.{child}')
                layers.append([])
            layers.pop()
        return layers

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Regular expressions over parameter names that sort them into `layer_names`; what none matches is the classifier,
        the last layer. Used for layer-wise learning rates."""
        stem, *rest = (rf'^(?:{"|".join(name.replace(".", chr(92) + ".") for name in layer)})\b'
                       for layer in self.layer_names(coarse))
        return dict(stem=stem, blocks=[(pattern, (number,)) for number, pattern in enumerate(rest)])

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that weight decay would harm, beyond biases and normalisation: those that a module lists
        in `undecayed`, its own or by their paths those inside it."""
        known = dict(self.named_parameters())
        names = {f'{path}.{name}'.lstrip('.') for path, module in self.named_modules()
                 for name in getattr(module, 'undecayed', ())}
        return {name for name in names if name in known}

    def _run(self, names: Iterable[str], x: Any) -> Any:
        for name in names:
            x = self.get_submodule(name)(x)
        return x

    def _set(self, path: str, module: nn.Module) -> None:
        """Puts a submodule at a dotted path."""
        parent, _, name = path.rpartition('.')
        setattr(self.get_submodule(parent), name, module)

    def _drop(self, paths: Iterable[str]) -> None:
        """Removes submodules: nothing is done in their place."""
        for path in paths:
            parent = self.get_submodule(path.rpartition('.')[0])
            if parent._modules.get(path.rpartition('.')[2]) is not None:
                self._set(path, nn.Identity())

    # --- sizes

    def set_input_size(self, img_size: ImageSize | None = None, patch_size: ImageSize | None = None,
                       window_size: ImageSize | None = None, *, dynamic_img_size: bool | None = None) -> None:
        """Fits the network to other sizes, with all that depends on them resampled; None leaves each as it is.
        `pretrained_cfg` has the image size then, for preprocessing to follow.

        Optimizers are made afterwards: a parameter whose shape changes is a new one.

        Args:
            img_size: of the images, a side in pixels or (height, width).
            patch_size: of the patches that tokens are made of, in pixels. window_size: of the windows that attention
                looks into, in tokens.
            dynamic_img_size: whether images of any other size are taken too.

        Raises:
            ValueError: no such size, or the network has nothing that depends on it.
        """
        size = None if img_size is None else pair_of(img_size)
        patch = None if patch_size is None else pair_of(patch_size, 'patch_size')
        window = None if window_size is None else pair_of(window_size, 'window_size')
        self.fit_to(Sizes(size, patch, window, dynamic_img_size))
        record = getattr(self, 'pretrained_cfg', None)
        if record and size:
            record['input_size'] = (self.in_chans, *size)
            record.pop('test_input_size', None)
        if record and dynamic_img_size is not None and self.img_size:
            record['fixed_input_size'] = not dynamic_img_size

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes in the network."""
        layers = [module for _, module in self._sized()]
        for name in ('patch_size', 'window_size'):
            if getattr(sizes, name) is not None and not any(name in layer.follows for layer in layers):
                raise ValueError(f'{type(self).__name__} has no {name} that could be changed.')
        for layer in layers:
            layer.fit(sizes)
        if any('img_size' in layer.follows for layer in layers):
            self.img_size = sizes.img_size or self.img_size
            self.dynamic_img_size = self.dynamic_img_size if sizes.dynamic is None else sizes.dynamic

    def adapt_state(self, state: Mapping[str, Tensor], source: Sizes = Sizes()) -> dict[str, Tensor]:
        """The state dict of this network as it was for other sizes, fitted to those it has now; weights are loaded
        through it. Of the network itself it needs the shapes alone. Layers that the state dict has fused (`fuse`) are
        fused in the network.

        Raises:
            ValueError: which size a tensor is of cannot be told.
        """
        state = dict(state)
        fuse_as(self, state)
        for name, layer in self._sized():
            layer.adapt_state(state, f'{name}.' if name else '', source)
        return state

    def _sized(self) -> Iterator[tuple[str, SizedLayer]]:
        return ((name, module) for name, module in self.named_modules() if isinstance(module, SizedLayer))

    # --- the walk

    def walk(self, x: Tensor, wanted: Iterable[int] = (), last: int | None = None) -> tuple[State, dict[int, State]]:
        """Runs the stem (step 0) and the stages (from 1) up to step `last` (None: all) and keeps the states after those
        `wanted`."""
        if isinstance(x, Tensor) and any(isinstance(side, int) and not side for side in x.shape[1:]):
            raise ValueError(f'An image without pixels: {tuple(x.shape)} is not (B, {self.in_chans}, H, W) with H and '
                             'W above 0.')
        state, kept = self.run_stem(x), {}
        count = len(self.stage_names())
        for step in range((count if last is None else last) + 1):
            if step:
                state = self.enter_stage(step - 1, state)
                state = self.advance(step - 1, state)
            if step in wanted:
                kept[step] = state
        return state, kept

    def advance(self, number: int, state: State) -> State:
        """`run_stage`, with its activations recomputed in the backward pass where that is asked for."""
        if self.grad_checkpointing and self.training:
            return checkpoint(partial(self.run_stage, number), state, use_reentrant=False)
        return self.run_stage(number, state)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / reduction, W / reduction), or as `output_fmt` says (B, H /
        reduction, W / reduction, num_features) or tokens (B, tokens, num_features), before pooling."""
        return self.pre_head(self.walk(x)[0])

    def forward_map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward_features` returns, and the same as a map (B, num_features, H / reduction, W / reduction), without
        prefix tokens."""
        state, _ = self.walk(x)
        features = self.pre_head(state)
        if self.output_fmt == 'NLC':
            return features, self.maps_of(self.normalise(state), len(self.stage_names()))[0]
        return features, features.permute(0, 3, 1, 2) if self.output_fmt == 'NHWC' else features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Logits:
        """The output of `forward_features` -> logits (B, num_classes), or with `pre_logits` the embedding that the
        classifier takes in (B, embedding_size)."""
        x = self._run(self.parts.head, x)
        if self.drop_rate:
            x = F.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.classify(x)

    def embeddings(self, x: Tensor) -> tuple[Tensor, ...]:
        """The output of `forward_features` -> what each classifier takes in."""
        return (self.forward_head(x, pre_logits=True),) * len(self.parts.classifier)

    def classify(self, embedding: Tensor) -> Tensor:
        """An embedding (B, embedding_size) -> logits (B, num_classes)."""
        return self._run(self.parts.classifier, embedding)

    def forward(self, x: Tensor) -> Logits:
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(self, x: Tensor, indices: int | Sequence[int] | None = None,
                              return_prefix_tokens: bool = False, norm: bool = False, stop_early: bool = False,
                              output_fmt: str = 'NCHW', intermediates_only: bool = False) -> Any:
        """Feature maps on the way, and what `forward_features` returns.

        Args:
            indices: entries of `feature_info`: a list in the order wanted, negative ones from the end; an int n for
                the last n; None for all.
            return_prefix_tokens: give (map, prefix tokens (B, num_prefix_tokens, C)) in place of each map.
            norm: apply the network's final normalisation to every map that it fits, those with its channels.
            stop_early: do not run past the last map wanted; the first result is then the map of that stage, or its
                state where that is no map.
            output_fmt: 'NCHW', 'NHWC', or 'NLC' (pixels in a row), of the maps.
            intermediates_only: return the maps alone, and run no further than they need.

        Raises:
            ValueError: an index out of range, another `output_fmt`, or prefix tokens of a network without any.
        """
        if output_fmt not in OUTPUT_FORMATS:
            raise ValueError(unknown('output_fmt', output_fmt, OUTPUT_FORMATS))
        if return_prefix_tokens and not self.num_prefix_tokens:
            raise ValueError(f'{type(self).__name__} has no tokens before those of the image: '
                             'return_prefix_tokens=True cannot give any.')
        features = [self.feature_info[i] for i in self.feature_indices(indices)]
        early = stop_early or intermediates_only
        steps = [feature['stage'] for feature in features]
        state, kept = self.walk(x, wanted=frozenset(steps), last=max(steps) if early else None)
        found = {}
        for step in kept:
            inside = [feature['num_chs'] for feature in self.feature_info if feature['stage'] == step]
            if norm and self.parts.norm and set(inside) == {self.norm_channels}:
                kept[step] = self.normalise(kept[step])
            found[step] = self.maps_of(kept[step], step)
        maps: list[Any] = [in_format(found[f['stage']][f.get('part', 0)], output_fmt) for f in features]
        if return_prefix_tokens:
            maps = [(m, self.prefix_of(kept[step])) for m, step in zip(maps, steps)]
        if intermediates_only:
            return maps
        return (state if early else self.pre_head(state)), maps

    @property
    def norm_channels(self) -> int:
        """Channels of the states that the final normalisation fits."""
        return self.feature_info[-1]['num_chs']

    def get_intermediate_layers(self, x: Tensor, n: int | Sequence[int] = 1, reshape: bool = False,
                                return_prefix_tokens: bool = False, norm: bool = False) -> list[Any]:
        """The maps of the last `n` stages, or of those listed: tokens (B, pixels, C), or with `reshape` maps (B, C, H,
        W); with `return_prefix_tokens` in pairs. See `forward_intermediates`."""
        maps: list[Any] = self.forward_intermediates(
            x, n, return_prefix_tokens, norm, output_fmt='NCHW' if reshape else 'NLC', intermediates_only=True)
        return maps

    def forward_attentions(self, x: Tensor) -> list[Tensor]:
        """The softmax weights of every attention layer in order, each (B, heads, queries, keys); they sum to 1 over the
        last dimension.

        Raises:
            ValueError: the network has no attention.
        """
        weights = ATTENTION.record(lambda: self.walk(x))
        if not weights:
            raise ValueError(f'{type(self).__name__} has no attention whose weights could be given.')
        return weights

    def hidden_modules(self) -> list[nn.Module]:
        """The modules whose outputs, after the stem's, are a network's hidden states, see `zoo.forward_outputs`."""
        return [self.get_submodule(names[-1]) for names in self.stage_names()]

    def feature_indices(self, indices: int | Sequence[int] | None = None) -> list[int]:
        """Entries of `feature_info` as non-negative numbers, in the order given; see `forward_intermediates`."""
        count = len(self.feature_info)
        if is_index(indices):
            if not 0 < indices <= count:
                raise ValueError(f'The last {indices} feature maps are out of range: it is the last 1 to {count}.')
            return list(range(count - indices, count))
        if indices is not None and not isinstance(indices, Iterable):
            raise ValueError(f'Feature indices are numbers from 0 to {count - 1} in a list, or how many of the last, '
                             f'not {indices!r}.')
        chosen = list(range(count) if indices is None else indices)
        for index in chosen:
            if not is_index(index) or not -count <= index < count:
                raise ValueError(f'Feature index {index!r} is out of range: there are {count} feature maps, '
                                 f'0 to {count - 1} (or -{count} to -1).')
        if not chosen:
            raise ValueError(f'No feature index was given; there are {count} feature maps, 0 to {count - 1}.')
        return [int(index) % count for index in chosen]

    def prune_intermediate_layers(self, indices: int | Sequence[int] = 1, prune_norm: bool = False,
                                  prune_head: bool = True) -> list[int]:
        """Drops the stages that the maps `indices` do not need, and returns these as non-negative numbers. `prune_norm`
        drops the final normalisation, `prune_head` all else after the stages; what follows the stages goes where the last
        stage goes, but for a normalisation that fits the maps left."""
        chosen = self.feature_indices(indices)
        kept = self.feature_info[:max(chosen) + 1]
        last = kept[-1]['stage']
        cut = len(kept) < len(self.feature_info)
        fits = kept[-1]['num_chs'] == self.norm_channels
        self.drop_stages(last)
        self.feature_info = kept
        if self.parts.norm and (prune_norm or cut and not fits):
            self._drop([self.parts.norm])
        if prune_head or cut:
            self._drop(self.parts.pre_head)
            self.num_features = self.pooled_channels = kept[-1]['num_chs']
            self.drop_head()
            self.keep_maps(range(len(kept)))
        return chosen

    def keep_maps(self, chosen: Iterable[int]) -> list[int]:
        """Of a network without its head, removes what none of the maps `chosen`, entries of `feature_info`, is made of
        although their stages run; returns the entries that are left."""
        return list(range(len(self.feature_info)))

    def drop_stages(self, last: int) -> None:
        """Removes the stages after step `last` of the walk."""
        stages = self.stage_names()
        for names in stages[last:]:
            self._drop(names)
        self._kept = last
        for stage in self.parts.stages:
            if isinstance(stage, str) and stage.endswith('.*'):
                container = stage.removesuffix('.*')
                kept = sum(names[0].startswith(f'{container}.') for names in stages[:last])
                row = self.get_submodule(container)
                if not isinstance(row, (nn.Sequential, nn.ModuleList)):
                    raise TypeError(f'{container} of {type(self).__name__} is a {type(row).__name__}, of which no stage '
                                    'can be left out: make it an nn.Sequential.')
                self._set(container, row[:kept])

    def drop_head(self) -> None:
        """Removes pooling and all that follows it."""
        self.reset_classifier(0, '')
        self._drop(self.parts.head[1:])

    # --- the head

    @property
    def pools(self) -> tuple[str, ...]:
        """The kinds of pooling that `reset_classifier` takes."""
        return POOLS

    @property
    def pool_layer(self) -> GlobalPool:
        """What pools: the first submodule of the head."""
        layer: Any = self.get_submodule(self.parts.head[0])         # or a user's own in its place
        pool: GlobalPool = layer
        return pool

    def build_head(self, width: int, num_classes: int, global_pool: str, drop_rate: float = 0.0) -> None:
        """Adds pooling and classifiers for maps, or tokens, of `width` channels."""
        self.pooled_channels, self.drop_rate = width, drop_rate
        self.reset_classifier(num_classes, global_pool)

    def get_classifier(self) -> Any:
        """The last layer, nn.Linear or a 1x1 convolution, or nn.Identity without classes; a tuple where there are
        several, or none."""
        found = tuple(self.get_submodule(name) for name in self.parts.classifier)
        return found[0] if len(found) == 1 else found

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Makes new classifiers, and pooling where `global_pool` names one.

        Raises:
            ValueError: classes without pooling or of a network without a classifier, or an unknown kind of pooling.
        """
        whole('num_classes', num_classes, 0)
        if num_classes and not self.parts.classifier:
            raise ValueError(f'{type(self).__name__} has no classifier: it takes num_classes=0, not {num_classes}.')
        if global_pool is not None:
            self.reset_pool(global_pool)
        if num_classes and not self.pool_layer.pool_type:
            raise ValueError(f"global_pool='' leaves feature maps, which a classifier of {num_classes} classes cannot "
                             'take: give num_classes=0 as well, or a kind of pooling.')
        self.num_classes = num_classes
        for name in self.parts.classifier:
            self._set(name, self.settled(self.make_classifier(num_classes)) if num_classes else nn.Identity())
        self.init_head()

    def settled(self, layer: Layer) -> Layer:
        """A new layer, moved to where the network's parameters lie, if it is not there (fake tensors cannot be moved)."""
        like = next(self.parameters(), None)
        if like is not None and any((own.device, own.dtype) != (like.device, like.dtype) for own in layer.parameters()):
            layer.to(like.device, like.dtype)
        return layer

    def reset_pool(self, global_pool: str) -> None:
        """Makes new pooling.

        Raises:
            ValueError: an unknown kind.
        """
        global_pool = FAST.get(global_pool, global_pool)
        if global_pool in POOLS and global_pool not in self.pools:
            raise ValueError(f'The head of this network is built for other pooling than global_pool={global_pool!r}: '
                             f'{", ".join(map(repr, self.pools))}. Build the network with it.')
        self._set(self.parts.head[0], GlobalPool(global_pool, self.output_fmt))

    def make_classifier(self, num_classes: int) -> nn.Module:
        """A layer from the embedding to logits."""
        return nn.Linear(self.embedding_size, num_classes)

    def init_head(self) -> None:
        """Draws the classifiers anew."""
        for name in self.parts.classifier:
            self.draw(self.get_submodule(name))

    @property
    def embedding_size(self) -> int:
        """The width of the embedding: of what `num_classes=0` and `forward_head(pre_logits=True)` return."""
        return self.pooled_channels * self.pool_layer.feat_mult

    @property
    def head_hidden_size(self) -> int:
        """The embedding's width under the name that programs built on timm read."""
        return self.embedding_size

    # --- training and inference

    def fuse(self) -> Self:
        """Folds branches that are trained side by side (RepVGG, MobileOne) into one convolution each, and standardises
        kernels (BiT, NFNet) for good, in place, as it is for inference: the same outputs in evaluation, sooner. Nothing
        is done where there are neither. Returns the network.

        Its state dict loads into a network that is fused as well, and by `create_model` into any. Such a network cannot
        be unfused; `zoo.optimize` and export fuse a copy.

        Raises:
            ValueError: the branches have another normalisation than batch normalisation.
        """
        fuse_branches(self)
        return self

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each stage in the backward pass instead of keeping its activations."""
        self.grad_checkpointing = enable


def in_format(x: Tensor, output_fmt: str) -> Tensor:
    """A map (B, C, H, W) laid out as 'NCHW', 'NHWC' (B, H, W, C) or 'NLC' (B, H W, C)."""
    if output_fmt == 'NCHW':
        return x
    x = x.permute(0, 2, 3, 1)
    return x.flatten(1, 2) if output_fmt == 'NLC' else x
