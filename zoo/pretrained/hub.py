"""Files of repositories on the Hugging Face hub: from its cache on disk, without any network, or downloaded.

A repository is 'user/name' or 'user/name@revision'. huggingface_hub is imported when a file is first asked for.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from ..spec import read_text

INDEX = '.index.json'           # the end of the name of a list of shards
LOG_IN = 'log in with `hf auth login`, or set HF_TOKEN'
Search = tuple[str, Callable[[], Path]]              # a name for people, and a search that raises Missing


class Missing(Exception):
    """Why one place does not have a file: words that read on after the name of the place."""


def first_of(places: Iterable[Search], what: str, name: str) -> tuple[str, Path]:
    """The first place that has the file, and the file.

    Raises:
        FileNotFoundError: none has; it says why of each, and which command fetches `name`.
    """
    looked = []
    for place, search in places:
        try:
            return place, search()
        except Missing as why:
            looked.append(f'\n  {place}: {why}')
    raise FileNotFoundError(f'Found no {what}. Looked in:{"".join(looked)}\n'
                            f'Where there is a network, this fetches it beforehand: zoo fetch {name}')


def places(repository: str, names: tuple[str, ...], cache_dir: str | Path | None = None) -> list[Search]:
    """The cache, then the hub; of the file names the first that there is counts."""
    from huggingface_hub import constants
    page = f'{constants.ENDPOINT}/{repository.partition("@")[0]}'

    def in_cache() -> Path:
        return _choose(names, lambda name: _cached(repository, name, cache_dir), f'nothing of {repository} named')

    def on_hub() -> Path:
        if offline():
            raise Missing('not asked, HF_HUB_OFFLINE is set')
        return _choose(names, lambda name: _download(repository, name, cache_dir), 'no file named')

    return [(f'Hugging Face cache {cache_dir or constants.HF_HUB_CACHE}', in_cache), (page, on_hub)]


def offline() -> bool:
    """Whether the environment forbids the network."""
    from huggingface_hub import constants
    return constants.HF_HUB_OFFLINE


def _choose(names: tuple[str, ...], get: Callable[[str], Path | None], nothing: str) -> Path:
    """The first file there is; of a list of shards, with all of them beside it."""
    for name in names:
        path = get(name)
        if path and (not name.endswith(INDEX) or all(map(get, shards(path)))):
            return path
    raise Missing(f'{nothing} {" or ".join(names)}')


def shards(index: Path) -> list[str]:
    """The files that a list of shards names.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return sorted(set(json.loads(read_text(index))['weight_map'].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{index} is no list of shards ({error!r}).') from error


def _cached(repository: str, filename: str, cache_dir: str | Path | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    name, _, revision = repository.partition('@')
    found = try_to_load_from_cache(name, filename, cache_dir=cache_dir, revision=revision or None)
    return Path(found) if isinstance(found, str) else None


def _download(repository: str, filename: str, cache_dir: str | Path | None) -> Path | None:
    """The file, downloaded into the cache; None where the repository has no such file."""
    from huggingface_hub import errors, get_hf_file_metadata, get_token, hf_hub_download, hf_hub_url
    name, _, revision = repository.partition('@')
    try:
        # hf_hub_download alone tries six times, for 23 s, before it says that there is no network
        get_hf_file_metadata(hf_hub_url(name, filename, revision=revision or None), token=get_token())
        return Path(hf_hub_download(name, filename, revision=revision or None, cache_dir=cache_dir))
    except errors.GatedRepoError:
        raise Missing(f'access is restricted: ask for it on that page, then {LOG_IN}') from None
    except errors.RepositoryNotFoundError:
        raise Missing(f'there is no such repository, or it is private: then {LOG_IN}') from None
    except errors.RevisionNotFoundError:
        raise Missing(f'the repository has no revision {revision!r}') from None
    except errors.LocalEntryNotFoundError as error:                 # the network went away in between
        raise Missing(f'the download failed: {error.__cause__ or error}') from error
    except errors.EntryNotFoundError:
        return None
    except Exception as error:                   # of requests or of httpx, by the version of huggingface_hub
        raise Missing(f'cannot be reached: {error}') from error
