"""Find, list, glob and suggest model names. Reads the catalog's rows; imports no torch."""
from __future__ import annotations

import fnmatch
import functools
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import catalog
from .spec import Family, PretrainedCfg, nearest, unknown

ELSEWHERE = {'googlenet': 'inception_v3', 'inception_v1': 'inception_v3'}    # of other libraries -> the nearest here
_added: list[Family] = []                     # users' own, see `register_family`


def _find(name: str) -> Family | None:
    """The family whose rows hold an architecture; a user's own goes before zoo's, the last before earlier ones."""
    own = (family for family in reversed(_added) if name in family.variants)
    return next(own, None) or catalog.family_of(name)


@functools.cache
def _families() -> dict[str, Family]:
    """Every architecture -> the family whose rows hold it."""
    return {name: family for family in (*catalog.families(), *_added) for name in family.variants}


@functools.cache
def _former() -> dict[str, str]:
    return {old: new for family in (*catalog.families(), *_added) for old, new in family.former.items()}


def register_family(family: Family) -> None:
    """Adds a user's own networks to those that are listed and created by name, until the process ends.

    `family.network` makes them: a class whose constructor takes the rows' arguments, or a function that is called with
    `pretrained` and the caller's options and does everything itself. The class may be any `torch.nn.Module`; what an
    `ImageModel` is, offers all that zoo's own networks do. A row of weights has the name 'name.tag', and says where they
    lie (`file`, `hf_hub_id`, `url`).

    A name that there is already means the new network from now on, and a UserWarning says so.

    Raises:
        ValueError: a family without `network`, a name with a dot, or weights of a name that it does not have.
    """
    if family.network is None:
        raise ValueError("A user's own family says what makes its networks: network=, a class or a function.")
    for name in (*family.variants, *family.former):
        if not name or '.' in name or ':' in name:
            raise ValueError(f"A network's name is text without '.' and ':', which begin a tag or end a source; got {name!r}.")
    for full_name in family.weights:
        if split_model_name_tag(full_name)[0] not in family.variants:
            raise ValueError(unknown(f'Weights {full_name!r}: the network', full_name.partition('.')[0],
                                     family.variants))
    for name in family.variants:
        if _find(name):
            warnings.warn(f'The model name {name!r} was known; it means the network of {family.model} now.', UserWarning,
                          stacklevel=2)
    _added.append(family)
    _forget()


def unregister_family(family: Family) -> None:
    """Takes back a `register_family`.

    Raises:
        ValueError: the family is not registered.
    """
    if family not in _added:
        raise ValueError(f'The family of {family.model} is not registered.')
    _added.remove(family)
    _forget()


def _forget() -> None:
    for known in (_families, _former):
        known.cache_clear()


def split_model_name_tag(model_name: str, no_tag: str = '') -> tuple[str, str]:
    """Splits 'name.tag' at its first dot; `no_tag` stands in where there is no tag."""
    name, _, tag = model_name.partition('.')
    return name, tag or no_tag


@functools.cache
def names_of_timm() -> frozenset[str]:
    """The architectures of timm 1.0.31, those that zoo does not have included."""
    return frozenset((Path(__file__).parent / 'catalog' / 'timm_names.txt').read_text(encoding='utf-8').split())


def _split(model_name: str) -> tuple[str, str]:
    """Architecture and tag, in small letters and without the hub's 'timm/'."""
    name, tag = split_model_name_tag(model_name)
    if _find(name):                                # a user's own may have capital letters
        return name, tag
    return split_model_name_tag(model_name.lower().removeprefix('timm/'))


def resolve(model_name: str) -> tuple[Family, str, str]:
    """The family, architecture and tag that a name means; '' where the architecture has no tag at all.

    A former name resolves to today's with a DeprecationWarning; a name without a tag takes the default tag. Capital
    letters and the hub's 'timm/' in front make no difference.

    Raises:
        ValueError: no such architecture (timm may have it, or else the nearest names are given), or no such tag (the
            tags there are).
    """
    name, tag = _split(model_name)
    family = _find(name)
    if not family and name in _former():
        today = _former()[name]
        warnings.warn(f'The model name {name!r} is a former one; it is {today!r} today.', DeprecationWarning,
                      stacklevel=3)
        name, today_tag = split_model_name_tag(today)
        tag, family = tag or today_tag, _find(name)
    if not family:
        raise ValueError(_unknown_name(name))
    tags = family.tags(name)
    if tag and tag not in tags:
        raise ValueError(f'Model {name!r} has no weights tagged {tag!r}. Its tags: {", ".join(tags) or "none"}.')
    return family, name, tag or (tags[0] if tags else '')


def _unknown_name(name: str) -> str:
    """The text of an error about a name that no row has: who has it, or what is nearest."""
    if name in names_of_timm():
        return (f"zoo does not have the model {name!r} yet, which timm has. What it has is listed by zoo.list_models(), "
                'or by the command zoo list.')
    if name in ELSEWHERE:
        return f'zoo, as timm, has no model {name!r}. The nearest that it has is {ELSEWHERE[name]!r}.'
    close = nearest(name, [*_families(), *_former()])
    hint = f'Did you mean {", ".join(map(repr, close))}?' if close else \
        'zoo.list_models(), or the command zoo list, lists every name.'
    return f'There is no model named {name!r}. {hint}'


def get_pretrained_cfg(model_name: str, allow_unregistered: bool = True) -> PretrainedCfg | None:
    """The record of a model's weights: of the tag named, else of the default one.

    Raises:
        ValueError: as `resolve`, and with `allow_unregistered=False` also for an architecture without any tag.
    """
    family, name, tag = resolve(model_name)
    if tag or '' in family.tags(name):
        return family.pretrained_cfg(_full_name(name, tag))
    if allow_unregistered:
        return None
    raise ValueError(f'Model {name!r} has no pretrained config.')


def get_pretrained_cfg_value(model_name: str, cfg_key: str) -> Any:
    """One field of `get_pretrained_cfg`, or None where the model has no record."""
    return getattr(get_pretrained_cfg(model_name), cfg_key, None)


def get_arch_name(model_name: str) -> str:
    """The architecture that a name means, without its tag."""
    return resolve(model_name)[1]


def _today(model_name: str) -> tuple[str, str]:
    """Architecture and tag, a former name put in today's words without a warning."""
    name, tag = _split(model_name)
    today, today_tag = split_model_name_tag(name if _find(name) else _former().get(name, name))
    return today, tag or today_tag


def is_model(model_name: str) -> bool:
    """Whether the name's architecture is known, today's or a former name; its tag is not looked at."""
    return _find(_today(model_name)[0]) is not None


def is_model_in_modules(model_name: str, module_names: str | Iterable[str]) -> bool:
    """Whether the name's architecture is one of those in the modules named."""
    names = {module_names} if isinstance(module_names, str) else set(module_names)
    family = _find(_today(model_name)[0])
    return family is not None and family.module in names


def is_model_pretrained(model_name: str) -> bool:
    """Whether there are weights for the name: of the tag named, else of any tag."""
    name, tag = _today(model_name)
    family = _find(name)
    return family is not None and any(family.pretrained_cfg(_full_name(name, known)).has_weights
                                      for known in family.tags(name) if tag in ('', known))


def list_modules() -> list[str]:
    """The modules under zoo.models that rows name, and those of users' own networks, sorted."""
    return sorted({family.module for family in _families().values()})


def list_models(filter: str | Iterable[str] = '', module: str | Iterable[str] = '', pretrained: bool = False,
                exclude_filters: str | Iterable[str] = '', name_matches_cfg: bool = False,
                include_tags: bool | None = None) -> list[str]:
    """Model names in natural order (b2 before b10).

    Args:
        filter: wildcards (`*`, `?`, `[…]`) of which a name must match at least one; where tags are listed, one
            without a dot that matches an architecture takes all of its tags.
        module: only models of these modules (see `list_modules`).
        pretrained: only models, and tags, with weights.
        exclude_filters: wildcards of names to leave out.
        name_matches_cfg: only architectures whose record carries their own name.
        include_tags: list 'name.tag'; by default where `pretrained` is set.
    """
    with_tags = pretrained if include_tags is None else include_tags
    modules = {module} - {''} if isinstance(module, str) else set(module)
    names = [name for name, family in _families().items() if not modules or family.module in modules]
    if name_matches_cfg:
        names = [name for name in names if get_pretrained_cfg_value(name, 'architecture') == name]
    candidates = [_full_name(name, tag) for name in names for tag in _families()[name].tags(name)] if with_tags else names
    kept = _matching(candidates, filter) if filter else candidates
    dropped = set(_matching(candidates, exclude_filters))
    return sorted((name for name in kept if name not in dropped and (not pretrained or is_model_pretrained(name))),
                  key=_natural)


def list_pretrained(filter: str | Iterable[str] = '', exclude_filters: str | Iterable[str] = '') -> list[str]:
    """Every 'name.tag' with weights, in natural order; filters as in `list_models`."""
    return list_models(filter, pretrained=True, exclude_filters=exclude_filters, include_tags=True)


def _full_name(name: str, tag: str) -> str:
    return f'{name}.{tag}' if tag else name


def _matching(names: Iterable[str], filters: str | Iterable[str]) -> list[str]:
    """The names that any filter matches, in the order of `names`."""
    patterns = [p for p in ([filters] if isinstance(filters, str) else filters) if p]
    matchers = [re.compile(fnmatch.translate(p)).match for p in patterns]
    matchers += [re.compile(fnmatch.translate(p + '.*')).match for p in patterns if '.' not in p]
    return [name for name in names if any(match(name) for match in matchers)]


def _natural(name: str) -> list[tuple[int, int | str]]:
    """A sort key under which digits count as numbers."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r'(\d+)', name.lower()) if part]
