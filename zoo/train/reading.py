"""Recipes as YAML: read strictly, changed by `section.key=value`, written back.

The YAML is plain YAML 1.2: `1e-3` is a number and a date is a text. `yes`, `no`, `on` and `off` are booleans as well,
and a key that stands twice is an error. So is a key that nothing reads, unless it stands in a file and only an override
made it idle: then it is left at its default.
"""
from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import yaml

from ..spec import nearest, read_text, unknown
from .recipe import Recipe
from .rules import check_recipe, idle_keys, rivals
from .shipped import find_recipe

TYPES = {section.name: get_type_hints(section.default_factory) for section in dataclasses.fields(Recipe)}
SECTION_OF = {key: section for section, keys in TYPES.items() for key in keys}


class Given(NamedTuple):
    """A value of a recipe.

    Attributes:
        where: where it was given: 'file.yaml:12', or the words of the command line.
        yields: whether it is left at its default where an override makes it idle.
    """

    value: Any
    where: str
    yields: bool = False


def read_recipe(path: str | Path | None, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe of a YAML file with `overrides` put in, each 'section.key=value' or 'key=value'.

    `path` may also name a recipe that comes with zoo, such as 'folder/finetune' (see `zoo.train.list_recipes`).
    Without a file the overrides change the defaults. 'section.key.name=value' sets one entry of a dictionary.

    Raises:
        ValueError: a section or key that does not exist (the message names the nearest), is given twice, or has a value
            of the wrong type or out of its range.
        FileNotFoundError: there is no such file.
    """
    return build_recipe(read_sources(path, overrides))


def read_sources(path: str | Path | None, overrides: Iterable[str] = ()) -> dict[str, Given]:
    """What `read_recipe` reads, not yet put together: 'section.key' -> the value and where it was given."""
    found = _read_file(find_recipe(path)) if path else {}
    changes = _read_overrides(overrides, found)
    if changes:
        alone = _put_together(found)
        own = {one.name for one in (*idle_keys(alone), *rivals(alone))}     # the file's own mistakes
        found = {name: source._replace(yields=name not in own) for name, source in found.items()}
    return found | changes


def build_recipe(sources: Mapping[str, Given]) -> Recipe:
    """The recipe with these values, but for idle ones of a file, and defaults elsewhere.

    Raises:
        ValueError: values that do not go together, or out of their range.
    """
    idle = idle_sources(sources)
    recipe = _put_together({name: source for name, source in sources.items() if name not in idle})
    check_recipe(recipe, {name: source.where for name, source in sources.items()})
    return recipe


def idle_sources(sources: Mapping[str, Given]) -> dict[str, str]:
    """'section.key' of the values of a file that overrides made idle -> why, as in 'needs run.amp: true'."""
    left = dict(sources)
    idle: dict[str, str] = {}
    while True:
        recipe = _put_together(left)
        found = {one.name: one.why for one in idle_keys(recipe)}
        found |= {one.name: one.why for one in rivals(recipe) if not any(left[name].yields for name in one.beside)}
        found = {name: why for name, why in found.items() if left[name].yields}
        if not found:
            return idle
        idle |= found
        left = {name: source for name, source in left.items() if name not in found}


def _put_together(sources: Mapping[str, Given]) -> Recipe:
    """The recipe with these values, unchecked."""
    sections = {}
    for section in dataclasses.fields(Recipe):
        given = {key: sources[f'{section.name}.{key}'].value for key in TYPES[section.name]
                 if f'{section.name}.{key}' in sources}
        make: Any = section.default_factory                     # every section has its class there
        sections[section.name] = make(**given)
    return Recipe(**sections)


def write_recipe(recipe: Recipe) -> str:
    """The recipe as YAML with every key, which `read_recipe` reads as an equal recipe."""
    return '\n'.join(f'{section}:\n' + ''.join(f'  {key}: {write_yaml(getattr(getattr(recipe, section), key))}\n'
                                                for key in keys) for section, keys in TYPES.items())


def write_yaml(value: Any) -> str:
    """A value in one line of YAML."""
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.removesuffix('\n').removesuffix('\n...').strip()


# YAML

_FLOAT = re.compile(r'[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)')
_NULL = re.compile(r'~|null|Null|NULL|')
_BOOLEANS = {'true': True, 'yes': True, 'on': True, 'false': False, 'no': False, 'off': False}


class _Dumper(yaml.SafeDumper):
    """Also quotes texts that only `_scalar` would take for numbers."""


_Dumper.add_implicit_resolver('tag:yaml.org,2002:float', re.compile(rf'^(?:{_FLOAT.pattern})$'), list('-+.0123456789'))


def _scalar(text: str) -> Any:
    """What a scalar without quotation marks means."""
    if _NULL.fullmatch(text):
        return None
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if re.fullmatch(r'[-+]?\d+', text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(re.sub(r'\.(?=[a-zA-Z])', '', text))
    return text


def _value(node: yaml.Node, name: str) -> Any:
    """What a node of the YAML tree stands for; `name` is the file, for errors."""
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else _scalar(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, name) for item in node.value]
    return {key: _value(item, name) for key, item in _pairs(node, name)}


def _pairs(node: yaml.MappingNode, name: str) -> list[tuple[str, yaml.Node]]:
    """The keys of a mapping, each a text that stands once, and their nodes."""
    seen: dict[str, yaml.Node] = {}
    for key, item in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f'{_at(key, name)}: a key is a word, not a list or a mapping.')
        if key.value in seen:
            raise ValueError(f'{_at(key, name)}: the key {key.value!r} stands twice, first in line '
                             f'{seen[key.value].start_mark.line + 1}.')
        seen[key.value] = key
    return [(key.value, item) for key, item in node.value]


def _tree(text: str, name: str) -> yaml.Node | None:
    """The tree of YAML nodes, without tags and references, which a recipe has no use for."""
    try:
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            odd = f'the tag {event.tag}' if getattr(event, 'tag', None) else 'a reference (*)' if isinstance(
                event, yaml.AliasEvent) else ''
            if odd:
                raise ValueError(f'{_at(event, name)}: {odd} has no meaning in a recipe.')
        return yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(f'{name} is not YAML: {" ".join(str(error).split())}') from error


def _at(node: yaml.Node | yaml.Event, name: str) -> str:
    return f'{name}:{node.start_mark.line + 1}'


# Files and overrides

def _read_file(path: Path) -> dict[str, Given]:
    name = str(path)
    tree = _tree(read_text(path), name)
    if tree is None or (isinstance(tree, yaml.ScalarNode) and not tree.value):
        return {}
    if not isinstance(tree, yaml.MappingNode):
        raise ValueError(f'{name}: a recipe consists of the sections {", ".join(TYPES)}.')
    found = {}
    for section, keys in _pairs(tree, name):
        where = _at(keys, name)
        if section not in TYPES:
            if section in SECTION_OF:
                raise ValueError(f'{where}: the key {section!r} belongs into the section {SECTION_OF[section]!r}.')
            raise ValueError(f'{where}: {unknown("The section", section, TYPES)}')
        if isinstance(keys, yaml.ScalarNode) and _NULL.fullmatch(keys.value):
            continue
        if not isinstance(keys, yaml.MappingNode):
            mean = f' Did you mean {section}.{section}?' if section in TYPES[section] else ''
            raise ValueError(f'{where}: {section!r} is a section, with keys and values below it.{mean}')
        for key, node in _pairs(keys, name):
            where = _at(node, name)
            _known(section, key, where)
            found[f'{section}.{key}'] = Given(_checked(section, key, _value(node, name), where), where)
    return found


def _read_overrides(overrides: Iterable[str], base: Mapping[str, Given]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for override in overrides:
        name, sign, text = override.partition('=')
        if not sign:
            raise ValueError(f'{override!r} changes nothing: write section.key=value.')
        section, key, entry = _parts(name, override)
        full = f'{section}.{key}'
        if entry:
            before = found.get(full) or base.get(full)
            entries = {**(before.value if before else {}), entry: _plain(text, override)}
            found[full] = Given(_checked(section, key, entries, override), override)
            continue
        value = _checked(section, key, _from_text(text, TYPES[section][key], override), override)
        if full in found and found[full].value != value:
            raise ValueError(f'{full} is given twice: {found[full].where} and {override}.')
        found[full] = Given(value, override)
    return found


def _parts(name: str, where: str) -> tuple[str, str, str]:
    """'section.key', 'section.key.entry' or 'key' in its parts."""
    first, *rest = name.split('.', 2)
    if first in SECTION_OF and (not rest or first not in TYPES):
        return _parts(f'{SECTION_OF[first]}.{name}', where) if rest else (SECTION_OF[first], first, '')
    if not rest:
        _known(None, first, where)
    if first not in TYPES:
        raise ValueError(f'{where}: {unknown("The section", first, TYPES)}')
    key, entry = rest[0], rest[1] if len(rest) > 1 else ''
    _known(first, key, where)
    if entry and get_origin(TYPES[first][key]) is not dict:
        raise ValueError(f'{where}: {first}.{key} has no entries.')
    return first, key, entry


def _known(section: str | None, key: str, where: str) -> None:
    """Refuses a key that the section does not have."""
    if section and key in TYPES[section]:
        return
    if section and key in SECTION_OF:
        raise ValueError(f'{where}: the key {key!r} belongs into the section {SECTION_OF[key]!r}, not {section!r}.')
    close = nearest(key, SECTION_OF)
    hint = (f'Did you mean {" or ".join(f"{SECTION_OF[k]}.{k}" for k in close)}?' if close
            else f'Keys of {section!r}: {", ".join(TYPES[section])}.' if section else f'Sections: {", ".join(TYPES)}.')
    raise ValueError(f'{where}: there is no key {key!r}{f" in {section!r}" if section else ""}. {hint}')


def _from_text(text: str, kind: Any, where: str) -> Any:
    """The value of an override: a text is taken as it stands; 'none' is None where a key may be unset."""
    kinds = _alternatives(kind)
    if type(None) in kinds and text.lower() in ('', '~', 'null', 'none'):
        return None
    if str in kinds or any(get_origin(k) is Literal for k in kinds):
        return text
    return _plain(text, where)


def _plain(text: str, where: str) -> Any:
    """YAML in a line."""
    tree = _tree(text, where)
    return None if tree is None else _value(tree, where)


# Types

def _alternatives(kind: Any) -> Sequence[Any]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _checked(section: str, key: str, value: Any, where: str) -> Any:
    """The value as the record holds it.

    Raises:
        ValueError: it is of no type that the key takes.
    """
    kinds = _alternatives(TYPES[section][key])
    for kind in kinds:
        fits, converted = _fit(value, kind)
        if fits:
            return converted
    words = next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())
    if words and isinstance(value, str):
        raise ValueError(f'{where}: {unknown(f"{section}.{key}", value, words)}')
    allowed = ' or '.join('nothing (null)' if kind is type(None) else _words(kind) for kind in kinds)
    raise ValueError(f'{where}: {section}.{key} is {_shown(value)}; it takes {allowed}.')


def _fit(value: Any, kind: Any) -> tuple[bool, Any]:
    """Whether the value is of the kind, and the value of exactly that kind."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in inner and type(value) is str, value
    if origin is dict:
        return isinstance(value, dict), value
    if origin is tuple:
        if not isinstance(value, (list, tuple)) or not value or (inner[-1] is not ... and len(value) != len(inner)):
            return False, value
        items = [_fit(item, inner[0]) for item in value]
        return all(fits for fits, _ in items), tuple(item for _, item in items)
    if kind is float:
        number = type(value) in (int, float) and math.isfinite(value)
        return number, float(value) if number else value
    return type(value) is kind, value


def _words(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ', '.join(inner)
    if origin is tuple:
        what = 'texts' if inner[0] is str else 'numbers'
        return f'a list of {what}' if inner[-1] is ... else f'a list of {len(inner)} {what}'
    return {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a text'}.get(kind, 'keys and values')


def _shown(value: Any) -> str:
    """The value as YAML has it, and what it is where that is easily mistaken."""
    text = write_yaml(value)
    if isinstance(value, str):
        return f'the text {value!r}'
    return f'{text} (quote it to have a text)' if isinstance(value, (bool, int, float)) else text
